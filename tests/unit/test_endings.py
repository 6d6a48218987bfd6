"""How a process ended, in words."""

from __future__ import annotations

import signal

import pytest

from shaper.supervisor.process import how_it_ended


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (1, "exit status 1"),
        (-signal.SIGKILL, "signal SIGKILL"),
        (
            -signal.SIGSYS,
            "signal SIGSYS: a system call that its filter does not allow, see the kernel's log",
        ),
    ],
)
def test_the_log_tells_how_a_forwarder_died(status: int, sentence: str) -> None:
    """An exit status, a signal by its name, and what it means that the filter ended it."""
    assert how_it_ended(status) == sentence
