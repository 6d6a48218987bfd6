"""What a shaper achieved, lately and in all, and the alarms it is in: what `show` tells."""

from __future__ import annotations

from dataclasses import dataclass

from shaper.desired.history import Achieved

NOTHING_ACHIEVED = Achieved(None, 0)


@dataclass(frozen=True)
class Worst:
    """The largest value of the last hour, and since the speed was set; None: not known yet."""

    of_hour: int | None
    in_all: int | None


UNKNOWN = Worst(None, None)


@dataclass(frozen=True)
class Performance:
    """What a shaper achieved, and the alarms it is in.

    Attributes:
        busy_ns: time in which the rate was in use, since the shaper was made.
        busy_bytes: what left in that time.
        lately: what was achieved in the last ten seconds.
        worst_bits: the least that a busy second of the last hour achieved.
        bursts: the largest ones, in bytes.
        delays: what 99 of 100 frames of the worst second did not exceed, in nanoseconds.
        total: what was achieved since the speed was set.
        since: when that was, in seconds since the epoch; None: it is not known yet.
        alarms: those it is in: kind, sentence, and since when.
    """

    busy_ns: int
    busy_bytes: int
    lately: Achieved = NOTHING_ACHIEVED
    worst_bits: int | None = None
    bursts: Worst = UNKNOWN
    delays: Worst = UNKNOWN
    total: Achieved = NOTHING_ACHIEVED
    since: int | None = None
    alarms: tuple[tuple[str, str, int], ...] = ()
