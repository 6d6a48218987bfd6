"""When the program on a TAP rings for a frame of a sparse flow (`kernel.ring_bell`).

It rings once each time that it is set. So that no crowd of such flows wakes the forwarder for each
of their frames, a ring is paid for: each departure earns a half, and a few are saved. Where rings
come late, as on a kernel that has no interrupts for that (user-mode Linux), it is not set for a
while.
"""

from __future__ import annotations

from shaper.model import RingWord

# Chosen. In halves of a ring: what is saved at most, and what one costs.
_MOST_RINGS = 32
_RING = 2
_LATE_NS = 500_000
_MOST_LATE = 8  # more of them than others
_MOST_LATE_AT_FIRST = 1
_REST_NS = 10_000_000_000

_BELL = int(RingWord.BELL)


class BellPull:
    """What sets the bell of one TAP.

    Args:
        row: the words of its ring. A predecessor may have left the bell set.
        is_there: the forwarder has been given the bell.
    """

    def __init__(self, row: memoryview, *, is_there: bool) -> None:
        row[_BELL] = 0
        self._is_there = is_there
        self._row = row
        self._is_set = False  # as far as it has not rung
        self._rings = _MOST_RINGS
        self._late = _MOST_LATE - _MOST_LATE_AT_FIRST
        self._rests_until_ns = 0

    def set(self, now_ns: int) -> bool:
        """Have the next frame of a sparse flow ring; return whether one will."""
        if not self._is_there or self._rings < _RING or now_ns < self._rests_until_ns:
            return False
        self._row[_BELL] = 1
        self._is_set = True
        return True

    def mute(self) -> None:
        """Let nothing ring."""
        if self._is_set:
            self._row[_BELL] = 0
            self._is_set = False

    def departed(self) -> None:
        """Earn half a ring."""
        if self._rings < _MOST_RINGS:
            self._rings += 1

    def rang(self, at_ns: int, now_ns: int) -> None:
        """Pay for a ring; if most come late, wait for none for a while."""
        self._rings -= _RING
        is_late = now_ns - at_ns > _LATE_NS
        self._late = self._late + 1 if is_late else max(0, self._late - 1)
        if self._late > _MOST_LATE:
            self._late = _MOST_LATE - _MOST_LATE_AT_FIRST
            self._rests_until_ns = now_ns + _REST_NS
