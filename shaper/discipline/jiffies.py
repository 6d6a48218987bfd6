"""Time in jiffies: integer ticks of a monotonic clock, HZ of them a second.

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
