"""Output that cannot be written: both commands end without a word of the interpreter's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.fake_daemon import FakeDaemon, answer, shaper

# Of the commands that ask the daemon the tests of the command line itself have more.
COMMANDS = [
    ("shapecfg", "show"),
    ("shapecfg", "--help"),
    ("shapecfg", "--version"),
    ("shapecfg", "show", "--help"),
    ("shapecfg", "nonsense"),
    ("shaper.daemon", "--help"),
    ("shaper.daemon", "--version"),
]


def run(
    socket: str, redirection: str, command: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    """Run a command with its output redirected by a shell, and buffered as usual."""
    environment = {**os.environ, "SHAPER_SOCKET": socket}
    environment.pop("PYTHONUNBUFFERED", None)
    words = " ".join([sys.executable, "-m", *command])
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words} {redirection}"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("redirection", ["> /dev/full", ">&-", "| head -c0", "> /dev/full 2>&1"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_output_that_cannot_be_written_ends_quietly(
    tmp_path: Path, redirection: str, command: tuple[str, ...]
) -> None:
    """One sentence at most, and a status of ours: 1 for what is not written, 3 for no daemon."""
    done = run(str(tmp_path / "none"), redirection, command)
    assert "Exception" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1
    assert done.returncode in (0, 1, 3)


@pytest.mark.parametrize("redirection", ["> /dev/full", ">&-", "| head -c0"])
def test_an_answer_that_cannot_be_written_ends_quietly(tmp_path: Path, redirection: str) -> None:
    """So it is with what the daemon has answered."""
    with FakeDaemon(tmp_path / "socket", answer(shapers=[shaper()] * 100)) as daemon:
        done = run(daemon.path, redirection, ("shapecfg", "-j", "show"))
    assert "Exception" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)
