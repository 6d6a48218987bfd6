"""How long frames have waited, over the last ten seconds: a histogram that forgets.

How it works. A sojourn is counted in one of a fixed number of cells: up to 31 ticks one each,
beyond that sixteen to the octave, so that what is read is at most a sixteenth too small. There is
such a row of cells for each of the last ten seconds, and the oldest is used anew. Counting costs
the same whatever has been seen, and so does the memory. When a second has passed, its row is added
to the sum of the others and its own percentile is kept, so that reading looks at two rows only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from operator import add, sub

# Specified: what is told of a second by itself.
SECOND_PERCENT = 99

# Chosen.
_WINDOW_SECONDS = 10
EXACT = 32  # ticks that have cells of their own
_OCTAVE_CELLS = 16
_SHIFT = _OCTAVE_CELLS.bit_length() - 1
_MAX_BITS = 34  # four hours of microseconds; what is longer is counted as this
_CELLS = (_MAX_BITS - _SHIFT + 1) * _OCTAVE_CELLS


class DelayHistogram:
    """Sojourns in ticks, counted by the caller: a call would cost a frame as much again.

    Attributes:
        cells: the counts of the current second. One is added to that of the sojourn itself if it
            is less than `EXACT`, and to that of its `index` otherwise.
        turns_at: the tick in which the current second ends: `turn` before counting then.
    """

    def __init__(self, *, ticks_per_second: int, now: int) -> None:
        self.cells = [0] * _CELLS
        self.turns_at = now + ticks_per_second
        self._ticks_per_second = ticks_per_second
        self._seconds = [self.cells] + [[0] * _CELLS for _ in range(_WINDOW_SECONDS - 1)]
        self._passed = [0] * _CELLS  # the sum of the seconds but the current one
        # What SECOND_PERCENT of each did not exceed; None of those in which nothing left.
        self._worst: list[int | None] = [None] * _WINDOW_SECONDS
        self._current = 0

    def turn(self, now: int) -> None:
        """Begin the second that `now` lies in, and forget what is ten seconds old by it."""
        seconds = (now - self.turns_at) // self._ticks_per_second + 1
        self.turns_at += seconds * self._ticks_per_second
        if seconds >= _WINDOW_SECONDS:
            self._clear()
            return
        worst = self._worst[self._current] = _percentile(self.cells, SECOND_PERCENT)
        if worst is not None:
            self._passed = list(map(add, self._passed, self.cells))
        for _ in range(seconds):
            self._current = (self._current + 1) % _WINDOW_SECONDS
            self.cells = self._seconds[self._current]
            if self._worst[self._current] is not None:
                self._passed = list(map(sub, self._passed, self.cells))
                self.cells[:] = [0] * _CELLS
                self._worst[self._current] = None

    def percentile(self, percent: int, *, now: int) -> int | None:
        """Return the sojourn that `percent` of the frames did not exceed; None if none left."""
        if now >= self.turns_at:
            self.turn(now)
        return _percentile(map(add, self._passed, self.cells), percent)

    def worst_second(self) -> int:
        """Return what `SECOND_PERCENT` of the frames of the worst second did not exceed.

        As of the last call of `percentile`; 0 if none left.
        """
        current = _percentile(self.cells, SECOND_PERCENT)
        return max(each or 0 for each in (*self._worst, current))

    def _clear(self) -> None:
        """Forget everything."""
        for cells in self._seconds:
            cells[:] = [0] * _CELLS
        self._passed = [0] * _CELLS
        self._worst = [None] * _WINDOW_SECONDS


def index(sojourn: int) -> int:
    """Return the cell of a sojourn of `EXACT` ticks or more."""
    bits = sojourn.bit_length()
    if bits > _MAX_BITS:
        return _CELLS - 1
    shift = bits - 1 - _SHIFT
    return shift * _OCTAVE_CELLS + (sojourn >> shift)


def _sojourn(cell: int) -> int:
    """Return the shortest sojourn that is counted in a cell."""
    if cell < EXACT:
        return cell
    shift = cell // _OCTAVE_CELLS - 1
    return (cell - shift * _OCTAVE_CELLS) << shift


def _percentile(counts: Iterable[int], percent: int) -> int | None:
    seen = list(accumulate(counts))
    rank = -(-seen[-1] * percent // 100)
    return _sojourn(bisect_left(seen, rank)) if rank else None
