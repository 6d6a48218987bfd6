"""The command as a process: broken pipes, full disks, and how fast it starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fake_daemon import SHAPER, FakeDaemon, answer

COMMAND = "from shapecfg.cli import main; main()"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """Answer with one shaper."""
    with FakeDaemon(tmp_path / "socket", answer(shapers=[SHAPER])) as started:
        yield started


def run(
    daemon: FakeDaemon, program: str = COMMAND, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program of this interpreter that asks the daemon."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "SHAPER_SOCKET": daemon.path, "PYTHONPATH": root}
    argv = [sys.executable, "-c", program]
    return subprocess.run(argv, env=environment, text=True, timeout=30, check=False, **options)


def best_seconds(daemon: FakeDaemon, program: str) -> float:
    """Return the least time a program takes in several runs, so that load does not count."""
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        run(daemon, program, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def test_reader_that_went_away_is_silent(daemon: FakeDaemon) -> None:
    """`shapecfg | head -0` leaves no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    done = run(daemon, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert daemon.requests != []
    assert done.stderr == ""


def test_full_disk_is_a_sentence(daemon: FakeDaemon) -> None:
    """Output that cannot be written is an error, and told as one."""
    with open("/dev/full", "w", encoding="ascii") as full:
        done = run(daemon, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "shapecfg: the output cannot be written: No space left on device\n"


def test_nothing_slow_is_imported(daemon: FakeDaemon) -> None:
    """The packages that take longer to import than all the rest stay out of the command."""
    slow = {"asyncio", "asyncvarlink", "pyroute2", "rich", "scapy", "importlib.metadata"}
    program = (
        "import sys; from shapecfg.cli import cli\n"
        "cli(['-s'], prog_name='shapecfg', standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = run(daemon, program, capture_output=True)
    assert done.stdout.startswith("shaper0@eth1: <UP>")
    assert "shapecfg.render" in done.stderr.split()
    assert not slow & set(done.stderr.split())


def test_show_starts_in_seven_times_an_empty_program(daemon: FakeDaemon) -> None:
    """150 ms where an empty program takes 20, on a machine of whatever speed."""
    empty_seconds = best_seconds(daemon, "pass")
    assert best_seconds(daemon, COMMAND) < 7.5 * empty_seconds
