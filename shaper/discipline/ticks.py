"""Time in ticks: integer steps of a monotonic clock, `ticks_per_second` of them a second.

Every discipline counts in ticks, and each is told how long they are. A tick of the classic queue
is a jiffy of 1996, HZ of them a second; a tick of the others is a microsecond, so that only
wake-ups are as coarse as HZ makes them.

The clock itself is read by the forwarder's loop; here are only the two conversions, and the
directions in which they round. Both round so that nothing leaves early: an instant belongs to
the tick that has begun, and a tick's deadline is the first nanosecond that lies in it.
"""

from __future__ import annotations

NANOSECONDS = 1_000_000_000


def from_ns(now_ns: int, ticks_per_second: int) -> int:
    """Return the tick that has begun at `now_ns`."""
    return now_ns * ticks_per_second // NANOSECONDS


def to_ns(tick: int, ticks_per_second: int) -> int:
    """Return the first nanosecond of `tick`."""
    return -(-tick * NANOSECONDS // ticks_per_second)


def convert(tick: int, old_ticks_per_second: int, ticks_per_second: int) -> int:
    """Return the tick of another clock that has begun when this one does."""
    return from_ns(to_ns(tick, old_ticks_per_second), ticks_per_second)
