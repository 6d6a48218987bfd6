"""What is told of a shaper beside its counters."""

from __future__ import annotations

from dataclasses import dataclass

from shaper.desired.history import Achieved

NOTHING = Achieved(None, 0)


@dataclass(frozen=True)
class Truth:
    """What is told of a shaper beside its counters.

    Attributes:
        busy_ns: time in which the rate was in use, since the shaper was made.
        busy_bytes: what left in that time.
        lately: what was achieved in the last ten seconds.
        worst_bits: the least that a busy second of the last hour achieved.
        total: what was achieved since the speed was set.
        since: when that was, in seconds since the epoch; None: it is not known yet.
        alarms: those it is in: kind, sentence, and since when.
    """

    busy_ns: int
    busy_bytes: int
    lately: Achieved = NOTHING
    worst_bits: int | None = None
    total: Achieved = NOTHING
    since: int | None = None
    alarms: tuple[tuple[str, str, int], ...] = ()
