"""What happened to shapers from one look to the next: rates and drops a second. Pure.

The daemon tells sums that only grow; the reader differences them. Sums that shrank begin
anew: the shaper was removed and made again, and a rate of that moment would be nonsense.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from shapecfg.reply import Shaper

# Chosen: as wide as a graph can be.
HISTORY = 240

_BITS = 8
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Moment:
    """One shaper between two looks.

    Attributes:
        sent_bits: a second, on the wire.
        dropped: frames a second, by reason; only those there were.
        delay_ns: how long the last frame waited; None where that is not told.
        delay_p99_ns: and 99 of 100 frames of the last seconds.
    """

    sent_bits: float
    dropped: dict[str, float]
    delay_ns: int | None
    delay_p99_ns: int | None


@dataclass
class ShaperSeries:
    """A shaper over time.

    Attributes:
        shaper: as it was told last.
        rates: bits a second, the latest at the end.
        moment: between the last two looks; None before the second.
    """

    shaper: Shaper
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    moment: Moment | None = None


class Series:
    """All shapers over time, in the order in which the daemon tells of them.

    Attributes:
        tracks: by name.
    """

    def __init__(self) -> None:
        self.tracks: dict[str, ShaperSeries] = {}
        self._looked_ns: int | None = None

    def add(self, shapers: Iterable[Shaper], *, now_ns: int) -> None:
        """Take in a look; shapers it does not show any more are forgotten."""
        before, self.tracks = self.tracks, {}
        elapsed_ns = 0 if self._looked_ns is None else now_ns - self._looked_ns
        self._looked_ns = now_ns
        for shaper in shapers:
            track = before.get(shaper["ifname"])
            if track is None or elapsed_ns <= 0 or _began_anew(track.shaper, shaper):
                track = ShaperSeries(shaper)
            else:
                track.moment = _between(track.shaper, shaper, elapsed_ns)
                track.rates.append(track.moment.sent_bits)
                track.shaper = shaper
            self.tracks[shaper["ifname"]] = track


def _began_anew(before: Shaper, after: Shaper) -> bool:
    is_another = before["ifindex"] != after["ifindex"]
    return is_another or after["stats"]["sent_bytes"] < before["stats"]["sent_bytes"]


def _between(before: Shaper, after: Shaper, elapsed_ns: int) -> Moment:
    seconds = elapsed_ns / _NANOSECONDS
    old, new = before["stats"], after["stats"]
    more = {
        reason: (count - old["dropped"].get(reason, 0)) / seconds
        for reason, count in new["dropped"].items()
    }
    return Moment(
        (new["sent_bytes"] - old["sent_bytes"]) * _BITS / seconds,
        {reason: rate for reason, rate in more.items() if rate > 0},
        new["delay_ns"],
        new["delay_p99_ns"],
    )
