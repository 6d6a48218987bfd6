"""The largest burst of the last ten seconds, as it left.

A burst is what the law bounds by B: the most that left in any window beyond what the rate earned
in it. The excess of all windows that end now is kept, as one number: it grows by what is sent,
shrinks by what the rate earns, and is never negative. Its unit is a billionth of a bit, so that a
rate times nanoseconds is exact.

Each second has a place for its largest excess, and the oldest is used anew. They are the
forwarder's, because it never misses the end of a second: the supervisor's looks come late at
times, so it is told the largest of all places.
"""

from __future__ import annotations

from shaper.model import Settings
from shaper.trace import Playback

_BYTE = 8 * 10**9  # units
_SECOND_NS = 10**9
_MICROSECOND_NS = 1000

# Chosen.
_WINDOW_SECONDS = 10


class Burst:
    """The largest burst of a path, which tells what leaves, once a run.

    Args:
        rate_bits: what it is held against.
    """

    def __init__(self, rate_bits: int) -> None:
        self._rate_bits = rate_bits
        self._excess = 0
        self._sent_ns = 0  # the run that something left in last
        self._largest = 0  # of this second
        self._second = 0
        self._seconds = [0] * _WINDOW_SECONDS

    def sent(self, wire_bytes: int, now_ns: int) -> None:
        """Take in what a run has sent."""
        excess = self._excess - (now_ns - self._sent_ns) * self._rate_bits
        if excess < 0:
            excess = 0
        self._excess = excess = excess + wire_bytes * _BYTE
        self._sent_ns = now_ns
        if excess > self._largest:
            self._largest = excess

    def left_late(self, wire_bytes: int, now_ns: int) -> None:
        """Correct for what the last run sent, which left only at this time."""
        earned = (now_ns - self._sent_ns) * self._rate_bits
        self._excess = max(wire_bytes * _BYTE, self._excess - earned)
        self._sent_ns = now_ns

    def lately_bytes(self, now_ns: int) -> int:
        """Return the largest of the last ten seconds, to be asked a few times a second."""
        second = now_ns // _SECOND_NS
        places = self._seconds
        for passed in range(max(self._second, second - _WINDOW_SECONDS) + 1, second + 1):
            places[passed % _WINDOW_SECONDS] = 0
        self._second = second
        at = second % _WINDOW_SECONDS
        places[at] = max(places[at], self._largest)
        self._largest = 0
        return -(-max(places) // _BYTE)


class TracedBurst(Burst):
    """The same of a path with a rate that follows a trace.

    Args:
        playback: the trace, and when it began.
    """

    def __init__(self, playback: Playback) -> None:
        super().__init__(0)
        self._playback = playback

    def sent(self, wire_bytes: int, now_ns: int) -> None:
        """Take in what a run has sent."""
        self._excess = max(0, self._excess - self._offered(now_ns))
        super().sent(wire_bytes, now_ns)

    def left_late(self, wire_bytes: int, now_ns: int) -> None:
        """Correct for what the last run sent, which left only at this time."""
        self._excess -= self._offered(now_ns)
        super().left_late(wire_bytes, now_ns)

    def _offered(self, now_ns: int) -> int:
        """Return what the trace has offered since something left."""
        elapsed_us, trace = self._playback.elapsed_us, self._playback.trace
        end_us = elapsed_us(now_ns // _MICROSECOND_NS)
        millionths, until_us = trace.offered(elapsed_us(self._sent_ns // _MICROSECOND_NS), end_us)
        return (millionths + (end_us - until_us) * trace.mean_bits) * _MICROSECOND_NS


def make_burst(settings: Settings) -> Burst:
    """Return what measures a path with these settings."""
    if settings.playback is None:
        return Burst(settings.rate_bits)
    return TracedBurst(settings.playback)
