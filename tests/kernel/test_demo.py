"""The demonstration's edges: what it says when something is missing, and what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.demo import is_disturbed, is_good
from bench.lab.meters import processors
from bench.lab.namespaces import ROOT, environment
from bench.results import Measurement
from bench.workload import spell_rate

DEMO = [sys.executable, "-m", "bench.demo"]


def refusal(shell: str, **variables: str) -> tuple[int, str]:
    """Run the demonstration after some shell commands, in a mount namespace of their own."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{shell}; exec "$@"', "sh", *DEMO],
        env=environment(variables),
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_missing_tun_device_is_named() -> None:
    """Without /dev/net/tun it says so in one line, and exits with 2."""
    status, said = refusal("mount -t tmpfs tmpfs /dev/net")
    assert status == 2
    assert said.count("\n") == 1
    assert "/dev/net/tun cannot be opened" in said


def test_a_missing_ip_command_is_named(tmp_path: Path) -> None:
    """Without iproute2 it says what to install, and exits with 2."""
    nothing = tmp_path / "nothing"
    nothing.touch()
    hide = (
        "for each in /usr/sbin/ip /usr/bin/ip /sbin/ip /bin/ip; do "
        'if [ -x "$each" ]; then mount --bind "$NOTHING" "$each"; fi; done'
    )
    status, said = refusal(hide, NOTHING=str(nothing))
    assert status == 2
    assert said == "make run: the ip command is missing: install iproute2\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Stopped in the middle, it ends as one stopped by that signal, without files or processes."""
    with subprocess.Popen(
        DEMO,
        env=environment({"TMPDIR": str(tmp_path)}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as demo:
        assert demo.stdout is not None
        while "sending" not in (line := demo.stdout.readline()):
            assert line, "it ended before it sent anything"
        assert list(tmp_path.iterdir())
        demo.send_signal(number)
        _, said = demo.communicate(timeout=20)
    assert demo.returncode == 128 + number
    assert said == ""
    assert list(tmp_path.iterdir()) == []
    assert not [pid for pid in processes() if str(tmp_path) in command_line(pid)]


def processes() -> list[int]:
    """Return the ids of all processes."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def command_line(pid: int) -> str:
    """Return a process's arguments; nothing once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("error_percent", "stolen_s", "good", "disturbed"),
    [
        (0.99, 0.0, True, False),
        (-1.01, 0.0, False, False),
        # Two per cent of three seconds are 60 ms; half of that stolen is a disturbance.
        (-2.0, 0.029, False, False),
        (-2.0, 0.031, False, True),
    ],
)
def test_only_a_machine_that_stood_still_is_an_excuse(
    error_percent: float, stolen_s: float, good: bool, disturbed: bool
) -> None:
    """More than one per cent is off, whatever the reason; the reason decides on a repeat."""
    found = Measurement("shaper", 10_000_000, "UDP 1000 B", "capture", True, 3.0)
    found.ends_error_percent = error_percent
    found.steal_percent = 100 * stolen_s / (3.0 * processors())
    assert (is_good(found), is_disturbed(found)) == (good, disturbed)


@pytest.mark.parametrize(
    ("bits", "form", "text"),
    [(64_000, "g", "64 kbit/s"), (63_999.6, ".4f", "63.9996 kbit/s"), (10**8, "g", "100 Mbit/s")],
)
def test_rates_are_written_with_their_unit(bits: float, form: str, text: str) -> None:
    """The unit is the largest in which the rate is at least one."""
    assert spell_rate(bits, form) == text
