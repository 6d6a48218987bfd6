"""The command shaperd: what it says of its options and its configuration before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from shaper.daemon import shaperd
from tests.runner import make_runner


@pytest.mark.parametrize(
    ("speed", "warning"), [("10mbps", "was understood as 80Mbit"), ("10mbit", "")]
)
def test_check_warns_of_what_may_have_been_meant_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, speed: str, warning: str
) -> None:
    """A file that is good all the same passes, with the warnings a start with it would give."""
    path = tmp_path / "shaper.toml"
    path.write_text(f"[device.shaper0]\nspeed = '{speed}'\n")
    done = make_runner().invoke(shaperd, ["--check", "--config", str(path)])
    assert (done.exit_code, done.output) == (0, "")
    assert [warning in record.message for record in caplog.records] == [True] * bool(warning)


def test_check_refuses_a_file_in_one_sentence(tmp_path: Path) -> None:
    """Status 1, the name of the program and the file, and no error number."""
    done = make_runner().invoke(shaperd, ["--check", "--config", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stderr == f"shaperd: cannot read {tmp_path}: Is a directory\n"


def test_check_prints_nothing_that_moves_the_cursor(tmp_path: Path) -> None:
    """A file is somebody else's, and what it says is told."""
    path = tmp_path / "shaper.toml"
    path.write_text('[device.shaper0]\nseed = "1 \\u001b[2J"\n')
    done = make_runner().invoke(shaperd, ["--check", str(path)])
    assert done.stderr == f"shaperd: {path}: device.shaper0: seed 1 ?[2J: one value is enough\n"
