"""The words of a rate that changes over time: what a trace offers, and when.

A trace is steps: from when on, how many bits a second. It repeats after `length_us`, or goes on
with its last rate. Times are whole microseconds since it began. What it offers is counted in
millionths of a bit, so that it is exact: a rate times microseconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

_MICROSECONDS = 1_000_000

# Chosen: steps that are looked at for one answer, half a millisecond's work.
_MOST_STEPS = 2000


@dataclass(frozen=True)
class Trace:
    """A rate for every moment.

    Attributes:
        starts_us: when each step begins, increasing, the first at 0.
        rates_bits: bits a second in each step; 0: nothing leaves.
        length_us: when the trace ends.
        repeats: whether it begins again then; else its last rate stays.
    """

    starts_us: Sequence[int]
    rates_bits: Sequence[int]
    length_us: int
    repeats: bool = True

    @cached_property
    def mean_bits(self) -> int:
        """The mean rate over its length, in bits a second."""
        ends = (*self.starts_us[1:], self.length_us)
        steps = zip(self.starts_us, ends, self.rates_bits, strict=True)
        return sum((end - start) * rate for start, end, rate in steps) // self.length_us

    @cached_property
    def peak_bits(self) -> int:
        """The highest rate."""
        return max(self.rates_bits)

    @cached_property
    def least_bits(self) -> int:
        """The lowest rate at which anything leaves."""
        return min(rate for rate in self.rates_bits if rate)

    def rate_at(self, time_us: int) -> int:
        """Return the rate in bits a second at a time since the trace began."""
        return self.rates_bits[self._step(self._within(time_us))]

    def offered(self, start_us: int, end_us: int) -> tuple[int, int]:
        """Return what it offers from a time on, in millionths of a bit, and until when.

        That is `end_us`, unless it is thousands of steps away.
        """
        offered = 0
        for from_us, until_us, rate_bits in self._steps(start_us):
            if until_us is None or until_us >= end_us:
                return offered + (end_us - from_us) * rate_bits, end_us
            offered += (until_us - from_us) * rate_bits
            start_us = until_us
        return offered, start_us

    def offers_at(self, start_us: int, wanted: int) -> int | None:
        """Return when so many millionths of a bit more have been offered; None: never.

        Where that is thousands of steps away, the answer is early.
        """
        for from_us, until_us, rate_bits in self._steps(start_us):
            if rate_bits:
                needed_us = -(-wanted // rate_bits)
                if until_us is None or from_us + needed_us <= until_us:
                    return from_us + needed_us
                wanted -= (until_us - from_us) * rate_bits
            elif until_us is None:
                return None
            start_us = until_us
        return start_us

    def flows_at(self, start_us: int) -> int | None:
        """Return from when on the rate is not 0; None: never."""
        return self.offers_at(start_us, 0)

    def _steps(self, time_us: int) -> Iterator[tuple[int, int | None, int]]:
        """Yield from when, until when and at which rate each of the next steps is."""
        within_us = self._within(time_us)
        step = self._step(within_us)
        starts, rates, count = self.starts_us, self.rates_bits, len(self.starts_us)
        base_us = time_us - within_us
        for _ in range(_MOST_STEPS):
            following = step + 1
            if following < count:
                until_us = base_us + starts[following]
            elif self.repeats:
                until_us = base_us + self.length_us
            else:
                yield time_us, None, rates[step]
                return
            yield time_us, until_us, rates[step]
            time_us, step = until_us, following
            if step == count:
                base_us, step = until_us, 0

    def _within(self, time_us: int) -> int:
        return time_us % self.length_us if self.repeats else time_us

    def _step(self, within_us: int) -> int:
        return bisect_right(self.starts_us, within_us) - 1


@dataclass(frozen=True)
class Playback:
    """A trace, and when it began.

    Attributes:
        began_us: by CLOCK_MONOTONIC; 0: it has not.
    """

    trace: Trace
    began_us: int = 0

    def elapsed_us(self, now_us: int) -> int:
        """Return how far it is; 0 until it begins."""
        return max(0, now_us - self.began_us)
