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


@pytest.mark.parametrize("redirection", ["> /dev/full", ">&-", "| head -c0", "<&- >&-"])
@pytest.mark.parametrize("words", ["-j show", "-s show", "-br", "watch --looks 2 --seconds 0.1"])
def test_an_answer_that_cannot_be_written_ends_quietly(
    tmp_path: Path, words: str, redirection: str
) -> None:
    """So it is with what the daemon has answered."""
    with FakeDaemon(tmp_path / "socket", answer(shapers=[shaper()] * 100)) as daemon:
        done = run(daemon.path, redirection, ("shapecfg", *words.split()))
    assert "Exception" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)


def test_what_says_nothing_needs_no_output(tmp_path: Path) -> None:
    """A service or a script may have closed all it has."""
    with FakeDaemon(tmp_path / "socket", answer(warnings=[])) as daemon:
        done = run(daemon.path, "<&- >&- 2>&-", ("shapecfg", "detach", "shaper0"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("- <&-", "cannot read standard input: Bad file descriptor"),
        ("- < /dev/null", "standard input is empty: 'shapecfg del' removes shapers"),
        ("/dev/null", "/dev/null is empty: 'shapecfg del' removes shapers"),
        ("/dev/zero", "/dev/zero is larger than 3 MiB"),
    ],
)
def test_nothing_is_restored_from_what_is_no_file(
    tmp_path: Path, words: str, sentence: str
) -> None:
    """What is empty is left from a save that failed, and would remove every shaper."""
    with FakeDaemon(tmp_path / "socket", answer(warnings=[])) as daemon:
        done = run(daemon.path, words, ("shapecfg", "restore"))
        assert daemon.requests == []
    assert (done.returncode, done.stderr) == (1, f"shapecfg: {sentence}\n")
