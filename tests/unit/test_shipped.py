"""The unit that a wheel brings starts the program beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shaper.errors import InvalidValue
from shaper.shipped import HOMES, PLACES, UNIT, obstacle, unit


def test_the_unit_names_this_program(tmp_path: Path) -> None:
    """Every path of the template is the program's; what else was shipped is listed before it."""
    (tmp_path / UNIT).parent.mkdir()
    (tmp_path / UNIT).write_text("[Service]\nExecStart=@PREFIX@/sbin/shaperd --x\n")
    lines = unit(tmp_path, Path("/opt/x/bin/shaperd")).splitlines()
    assert lines[-2:] == ["[Service]", "ExecStart=/opt/x/bin/shaperd --x"]
    assert all(line.startswith("#") for line in lines[:-2])
    assert len(lines) == len(PLACES) + 3


def test_an_installation_without_one_says_so(tmp_path: Path) -> None:
    """A checkout has no package data: the refusal names the directory that is missing."""
    with pytest.raises(InvalidValue, match=str(tmp_path / "share")):
        unit(tmp_path / "share")


@pytest.mark.parametrize("home", HOMES)
def test_an_installation_the_service_cannot_reach_is_told(home: str) -> None:
    """The unit hides home directories: a program or an interpreter in one would not start."""
    hidden = Path(home, "venv/bin/python")
    assert str(hidden) in (obstacle([Path("/usr/bin/python3"), hidden]) or "")
    assert obstacle([Path("/opt/pipx/bin/python"), Path(f"{home}stead/bin/python")]) is None
