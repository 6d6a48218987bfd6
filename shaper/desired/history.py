"""What a shaper achieved lately: sums that only grow, differenced over windows of time.

`busy_ns` is how long the rate was in use, `busy_bytes` what left in that time (see
`discipline.bucket`). Their quotient over a window is the rate achieved while there was work; an
idle second adds nothing to either. With too little work a quotient says nothing about the shaper,
and none is given: one ping at 1 Gbit/s is busy for a microsecond.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_NANOSECONDS = 1_000_000_000
_BITS = 8

# Chosen.
WINDOW_NS = 10 * _NANOSECONDS
_HOUR_NS = 3600 * _NANOSECONDS
_SLICE_NS = 60 * _NANOSECONDS  # of the hour, one worst second is kept for each
_LEAST_FRAMES = 20  # fewer say more about when they came than about the shaper
_LEAST_BUSY_NS = 50_000_000
# A second that is mostly idle has its edges measured, not its rate.
_BUSY_SECOND_NS = _NANOSECONDS // 2


@dataclass(frozen=True)
class Sample:
    """Sums at one moment.

    Attributes:
        now_ns: when they were read.
        busy_ns: time in which the rate was in use.
        busy_bytes: wire bytes that left in that time.
        packets: wire frames sent.
    """

    now_ns: int
    busy_ns: int
    busy_bytes: int
    packets: int


@dataclass(frozen=True)
class Achieved:
    """The rate achieved while there was work.

    Attributes:
        bits: per second; None where there was too little work to tell.
        packets: wire frames that it is told from.
    """

    bits: int | None
    packets: int


def achieved(before: Sample, after: Sample) -> Achieved:
    """Return what was achieved between two samples."""
    busy_ns = after.busy_ns - before.busy_ns
    packets = after.packets - before.packets
    if packets < _LEAST_FRAMES or busy_ns < _LEAST_BUSY_NS:
        return Achieved(None, packets)
    return Achieved(
        (after.busy_bytes - before.busy_bytes) * _BITS * _NANOSECONDS // busy_ns, packets
    )


class History:
    """The last ten seconds of a shaper, and the worst second of its last hour.

    A change of speed or a new forwarder begins anew (`restart`): what was achieved of another
    rate does not count.

    Args:
        first: the sums when it begins.
    """

    def __init__(self, first: Sample) -> None:
        self._window: deque[Sample] = deque([first])
        self._worst: deque[tuple[int, int]] = deque()  # when its slice began, and the least rate
        self.since_ns = first.now_ns

    def restart(self, first: Sample) -> None:
        """Forget what was, and begin with these sums."""
        self._window = deque([first])
        self._worst.clear()
        self.since_ns = first.now_ns

    def add(self, sample: Sample) -> None:
        """Add the sums of a moment, about once a second; smaller ones than before begin anew."""
        last = self._window[-1]
        if sample.busy_ns < last.busy_ns or sample.packets < last.packets:
            self.restart(sample)
            return
        if sample.busy_ns - last.busy_ns >= _BUSY_SECOND_NS:
            second = achieved(last, sample)
            if second.bits is not None:
                self._note(sample.now_ns, second.bits)
        self._window.append(sample)
        while len(self._window) > 2 and self._window[1].now_ns <= sample.now_ns - WINDOW_NS:
            self._window.popleft()

    def lately(self) -> Achieved:
        """Return what was achieved in the last ten seconds."""
        return achieved(self._window[0], self._window[-1])

    def worst_bits(self, now_ns: int) -> int | None:
        """Return the least that a busy second of the last hour achieved; None without one."""
        while self._worst and self._worst[0][0] <= now_ns - _HOUR_NS:
            self._worst.popleft()
        return min((bits for _, bits in self._worst), default=None)

    def _note(self, now_ns: int, bits: int) -> None:
        slice_ns = now_ns - now_ns % _SLICE_NS
        if self._worst and self._worst[-1][0] == slice_ns:
            self._worst[-1] = slice_ns, min(bits, self._worst[-1][1])
        else:
            self._worst.append((slice_ns, bits))
