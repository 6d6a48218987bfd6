"""Who sends: sources that respond to loss as TCP does, and others that do not.

A source is asked once a jiffy what it sends, and told a round trip later what has arrived. All of
it is integer arithmetic without chance, so a simulation gives the same every time.
"""

from __future__ import annotations

from typing import Protocol

from shaper.packet.frame import Frame
from tests.unit.simulation.stamped_frames import SentFrame, make_frame

FRAME_BYTES = 1514
_TIMEOUT_ROUND_TRIPS = 20  # far beyond any queue that is worth a simulation


class Source(Protocol):
    """One flow."""

    flow: int
    round_trip: int  # jiffies, without the queue

    def send(self, now: int) -> list[Frame]:
        """Return what is sent in this jiffy."""
        ...

    def acknowledge(self, sent: SentFrame, now: int) -> None:
        """Learn that a frame has arrived, as the round trip is over."""
        ...


class Tcp:
    """Slow start, then one frame more a round trip, and half as many after a loss or a mark.

    What is lost is not sent again: only the amount matters. As a flow is never reordered, a gap
    is a loss.
    """

    def __init__(
        self, flow: int, *, round_trip: int, start: int = 0, has_ecn: bool = False
    ) -> None:
        self.flow = flow
        self.round_trip = round_trip
        self._start = start
        self._has_ecn = has_ecn
        self._window = 10
        self._threshold = 1 << 30
        self._next = 0
        self._expected = 0
        self._acknowledged = 0  # frames since the window grew
        self._recovers_at = 0  # a second loss before this sequence is part of the first
        self._last_heard = start

    def send(self, now: int) -> list[Frame]:
        """Fill the window; start over if nothing has been heard for long."""
        if now < self._start:
            return []
        if now - self._last_heard > _TIMEOUT_ROUND_TRIPS * max(self.round_trip, 50):
            self._expected = self._next
            self._window = 2
            self._last_heard = now
        frames = []
        while self._next - self._expected < self._window:
            frames.append(make_frame(self.flow, self._next, now=now, has_ecn=self._has_ecn))
            self._next += 1
        return frames

    def acknowledge(self, sent: SentFrame, now: int) -> None:
        """Open the window, or halve it once a round trip."""
        is_congested = sent.is_marked or sent.sequence > self._expected
        self._expected = sent.sequence + 1
        self._last_heard = now
        if is_congested and sent.sequence >= self._recovers_at:
            self._window = self._threshold = max(2, self._window // 2)
            self._recovers_at = self._next
        elif self._window < self._threshold:
            self._window += 1
        else:
            self._acknowledged += 1
            if self._acknowledged >= self._window:
                self._acknowledged = 0
                self._window += 1


class Unresponsive:
    """So many frames every so many jiffies, whatever becomes of them."""

    round_trip = 0

    def __init__(
        self, flow: int, *, frames: int, every: int, wire_bytes: int = FRAME_BYTES
    ) -> None:
        self.flow = flow
        self._frames = frames
        self._every = every
        self._wire_bytes = wire_bytes
        self._next = 0

    def send(self, now: int) -> list[Frame]:
        """Send on time."""
        if now % self._every:
            return []
        first, self._next = self._next, self._next + self._frames
        return [
            make_frame(self.flow, sequence, now=now, wire_bytes=self._wire_bytes)
            for sequence in range(first, self._next)
        ]

    def acknowledge(self, sent: SentFrame, now: int) -> None:
        """Do not care."""
