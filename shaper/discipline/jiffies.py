"""Time in jiffies: integer steps of a monotonic clock, `hz` of them a second.

Every discipline counts in such steps, and each is told how long they are. The classic queue counts
in the jiffies of 1996, HZ of them a second; the others in microseconds, so that only the moments
of waking up are as coarse as HZ makes them.

The clock itself is read by the forwarder's loop; here are only the two conversions, and the
directions in which they round. Both round so that nothing leaves early: an instant belongs to
the jiffy that has begun, and a jiffy's deadline is the first nanosecond that lies in it.
"""

from __future__ import annotations

NANOSECONDS = 1_000_000_000


def from_ns(now_ns: int, hz: int) -> int:
    """Return the jiffy that has begun at `now_ns`."""
    return now_ns * hz // NANOSECONDS


def to_ns(jiffy: int, hz: int) -> int:
    """Return the first nanosecond of `jiffy`."""
    return -(-jiffy * NANOSECONDS // hz)


def convert(jiffy: int, old_hz: int, hz: int) -> int:
    """Return the jiffy of another clock that has begun when this one does."""
    return from_ns(to_ns(jiffy, old_hz), hz)
