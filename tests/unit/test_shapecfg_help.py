"""Help, version and colours of the command."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from shapecfg import view
from shapecfg.cli import cli
from shaper import __version__
from tests.unit.fake_daemon import SHAPER, FakeDaemon, answer
from tests.unit.test_shapecfg_cli import run


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_verbs_and_completion(tmp_path: Path, flag: str) -> None:
    """Help needs no daemon, and says how to have names completed."""
    done = run(tmp_path / "absent", flag)
    assert done.exit_code == 0
    for word in ("attach", "speed", "SHAPER_SOCKET", "_SHAPECFG_COMPLETE=bash_source shapecfg"):
        assert word in done.stdout


@pytest.mark.parametrize("verb", sorted(cli.commands))
def test_help_says_in_a_line_what_each_verb_does(verb: str) -> None:
    """No sentence of the list is cut short on a terminal of 80 columns."""
    columns = 80 - 2 - 6 - max(map(len, cli.commands))
    assert not cli.commands[verb].get_short_help_str(columns).endswith("...")


def test_help_of_set_keeps_its_lines(tmp_path: Path) -> None:
    """The table of settings is not run together into a paragraph."""
    assert "\n  limit  frames that may wait: 100, 100p, or default\n" in (
        run(tmp_path / "absent", "set", "-h").stdout
    )


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version_is_that_of_the_package(tmp_path: Path, flag: str) -> None:
    """One number for both programs, asked for as from iproute2 or in full."""
    assert run(tmp_path / "absent", flag).stdout == f"shapecfg {__version__}\n"


@pytest.mark.parametrize(
    ("wanted", "environ", "is_terminal", "is_colored"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {}, True, False),
    ],
)
def test_colour_is_for_terminals(
    wanted: str, environ: dict[str, str], is_terminal: bool, is_colored: bool
) -> None:
    """Or as asked for, which counts more than NO_COLOR."""
    output = io.StringIO()
    output.isatty = lambda: is_terminal  # type: ignore[method-assign]
    assert view.has_color(wanted, output, environ) is is_colored


def test_colours_are_those_of_ip(tmp_path: Path) -> None:
    """The device in cyan, a state that is good in green and any other in red."""
    away = {**SHAPER, "state": "detached"}
    with FakeDaemon(tmp_path / "s", answer(shapers=[SHAPER, away])) as daemon:
        good, bad = run(daemon.path, "-c", "show").stdout.splitlines()
        assert "\x1b" not in run(daemon.path, "show").stdout
    assert good.startswith("\x1b[36mshaper0@eth1\x1b[0m: <UP>")
    assert good.endswith("\x1b[32mactive\x1b[0m")
    assert bad.endswith("\x1b[31mdetached\x1b[0m")
