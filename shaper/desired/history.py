"""What a shaper achieved lately: sums that only grow, differenced over windows of time.

`busy_ns` is how long the rate was in use, `busy_bytes` what left in that time (see
`discipline.bucket`). Their quotient over a window is the rate achieved while there was work; an
idle second adds nothing to either. With too little work a quotient says nothing about the shaper,
and none is given: one ping at 1 Gbit/s is busy for a microsecond.

Bursts and delays are told of the last ten seconds by the forwarder. So a sample that comes late
misses none, and one that comes within ten seconds of the beginning tells of what was before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_NANOSECONDS = 1_000_000_000
_BITS = 8

# Chosen.
WINDOW_NS = 10 * _NANOSECONDS
_HOUR_NS = 3600 * _NANOSECONDS
_SLICE_NS = 60 * _NANOSECONDS  # one value is kept for each: the hour has up to one more
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
        burst_bytes: the largest burst of the last ten seconds.
        delay_ns: what 99 of 100 frames of the worst of these seconds did not exceed.
    """

    now_ns: int
    busy_ns: int
    busy_bytes: int
    packets: int
    burst_bytes: int = 0
    delay_ns: int = 0


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


class Extreme:
    """The least or the largest value of the last hour, and of all time.

    Args:
        choose: which: `min` or `max`.

    Attributes:
        ever: of all time; None before there was any.
    """

    def __init__(self, choose: Callable[[int, int], int]) -> None:
        self._choose = choose
        self._slices: deque[tuple[int, int]] = deque()  # when each began, and its value
        self.ever: int | None = None

    def add(self, now_ns: int, value: int) -> None:
        """Take in a value of now."""
        self.ever = value if self.ever is None else self._choose(self.ever, value)
        slice_ns = now_ns - now_ns % _SLICE_NS
        if self._slices and self._slices[-1][0] == slice_ns:
            self._slices[-1] = slice_ns, self._choose(self._slices[-1][1], value)
        else:
            self._slices.append((slice_ns, value))

    def of_hour(self, now_ns: int) -> int | None:
        """Return that of the last hour; None if there was none."""
        while self._slices and self._slices[0][0] + _SLICE_NS <= now_ns - _HOUR_NS:
            self._slices.popleft()
        values = [value for _, value in self._slices]
        return self._choose(min(values), max(values)) if values else None


class History:
    """The last ten seconds of a shaper, and the worst second of its last hour.

    A change of speed or a new forwarder begins anew (`restart`): what was achieved of another
    rate does not count.

    Args:
        first: the sums when it begins.

    Attributes:
        since_ns: when it began.
        bursts: the largest bursts.
        delays: what 99 of 100 frames of the worst second did not exceed.
    """

    def __init__(self, first: Sample) -> None:
        self.restart(first)

    def restart(self, first: Sample) -> None:
        """Forget what was, and begin with these sums."""
        self._window: deque[Sample] = deque([first])
        self._rates = Extreme(min)
        self.bursts, self.delays = Extreme(max), Extreme(max)
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
                self._rates.add(sample.now_ns, second.bits)
        if sample.now_ns - self.since_ns >= WINDOW_NS:
            self.bursts.add(sample.now_ns, sample.burst_bytes)
            self.delays.add(sample.now_ns, sample.delay_ns)
        self._window.append(sample)
        while len(self._window) > 2 and self._window[1].now_ns <= sample.now_ns - WINDOW_NS:
            self._window.popleft()

    def lately(self) -> Achieved:
        """Return what was achieved in the last ten seconds."""
        return achieved(self._window[0], self._window[-1])

    def worst_bits(self, now_ns: int) -> int | None:
        """Return the least that a busy second of the last hour achieved; None without one."""
        return self._rates.of_hour(now_ns)
