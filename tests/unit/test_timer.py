"""The timer is readable once its time has come, and only then."""

from __future__ import annotations

import select
import time

import pytest

from shaper.forwarder.timer import Timer

FAR_NS = 10**12  # a quarter of an hour
SECONDS = 5.0


def is_readable(timer: Timer, seconds: float = 0) -> bool:
    """Whether the timer goes off within this time."""
    readable, _, _ = select.select([timer.fileno()], [], [], seconds)
    return bool(readable)


@pytest.mark.parametrize("deadline_ns", [0, 1])
def test_a_time_that_has_passed_is_now(deadline_ns: int) -> None:
    """A deadline of long ago, the origin of the clock included, fires at once."""
    timer = Timer()
    timer.arm(deadline_ns)
    assert is_readable(timer, SECONDS)


def test_it_fires_when_its_time_has_come() -> None:
    """Not before, to the nanosecond of the monotonic clock."""
    timer = Timer()
    deadline_ns = time.monotonic_ns() + 5_000_000
    timer.arm(deadline_ns)
    assert is_readable(timer, SECONDS)
    assert time.monotonic_ns() >= deadline_ns


def test_a_later_time_silences_it() -> None:
    """Armed for another time, or for none, a timer that went off is not readable."""
    timer = Timer()
    for deadline_ns in (time.monotonic_ns() + FAR_NS, None):
        timer.arm(1)
        assert is_readable(timer, SECONDS)
        timer.fired()
        timer.arm(deadline_ns)
        assert not is_readable(timer)


def test_the_same_time_fires_again() -> None:
    """Once it went off, arming it for the time it was armed for is no repetition."""
    timer = Timer()
    for _ in range(2):
        timer.arm(1)
        assert is_readable(timer, SECONDS)
        timer.fired()


def test_what_went_off_unseen_is_silenced() -> None:
    """None silences a timer that nobody has noticed to have fired."""
    timer = Timer()
    timer.arm(1)
    assert is_readable(timer, SECONDS)
    timer.arm(None)
    assert not is_readable(timer)
