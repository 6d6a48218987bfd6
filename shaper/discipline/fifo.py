"""The fifo queue: first in, first out, with a limit in frames.

A frame that arrives when `limit_packets` or more wait is dropped and counted as `limit`. What is
of use only as a whole may overshoot the limit: an offload frame by its own segments, a datagram by
its fragments, as long as they follow one another. At 64 kbit/s ten frames wait, and a datagram may
have 45 fragments: without the rule it would never arrive. A change of settings keeps every frame:
those too large for the new rate are cut into their segments.
"""

from __future__ import annotations

from collections import deque

from shaper.discipline.base import FirstComeFirstServed
from shaper.discipline.delay_histogram import EXACT, DelayHistogram, index
from shaper.discipline.ticks import convert
from shaper.model import DATAGRAM_FRAMES, Settings
from shaper.packet.fragment import position, unfinished
from shaper.packet.frame import Frame
from shaper.packet.segment import split

# Chosen: the largest IP datagram, in fragments with their headers.
_DATAGRAM_BYTES = 69_000


class Fifo(FirstComeFirstServed):
    """Frames in the order in which they came; see `base.PacketQueue` for the contract.

    Args:
        settings: limit, length of a tick and largest frame.
        now: the tick in which it is made.

    Attributes:
        delay_now: ticks that the frame handed out last has waited.
    """

    tells_delays = True

    def __init__(self, settings: Settings, *, now: int = 0) -> None:
        self.backlog_bytes = 0
        self.backlog_packets = 0
        self.dropped: dict[str, int] = {"limit": 0}
        self.delay_now = 0
        self._frames: deque[Frame] = deque()
        # When they came, and how many then: a batch is one entry, so that it costs as one.
        self._arrivals: deque[tuple[int, int]] = deque()
        self._delays = DelayHistogram(ticks_per_second=settings.ticks_per_second, now=now)
        self._settings = settings
        self._beyond_bytes = 0

    @property
    def shed_factor(self) -> int:
        """Bytes that may be read and dropped for each byte sent while it is full.

        Its drops hit every flow alike, here or in the ring. Traffic that responds to loss meets
        its losses here, where they are counted; the rest of a flood is cheaper to drop in the
        ring. The ring of a short queue is longer than that, and must not add its delay.
        """
        return 16 if self._settings.limit_packets < DATAGRAM_FRAMES else 1

    @property
    def room(self) -> int:
        """How many more wire frames it takes; 0 or less when it is full."""
        return self._settings.limit_packets - self.backlog_packets

    def enqueue_batch(self, frames: list[Frame], *, now: int) -> None:
        """Join the tail in order; those that find the queue full are dropped as `limit`."""
        unit_bytes = self._settings.unit_bytes
        room = self.room
        before = len(self._frames)
        if room > 0:
            self._beyond_bytes = 0
        for frame in frames:
            data, wire_bytes, packets = frame
            if room <= 0 and not self._follows(data, wire_bytes):
                self.dropped["limit"] += packets
            elif wire_bytes > unit_bytes and packets > 1:
                self._append_all(split(frame))
            else:
                self._frames.append(frame)
                self.backlog_bytes += wire_bytes
                self.backlog_packets += packets
            room -= packets
        if came := len(self._frames) - before:
            self._arrivals.append((now, came))

    def passed(self, frames: int, now: int) -> None:
        """Record a delay of 0 for each."""
        self.delay_now = 0
        delays = self._delays
        if now >= delays.turns_at:
            delays.turn(now)
        delays.cells[0] += frames

    def delay_percentile(self, percent: int, *, now: int) -> int | None:
        """Return the ticks that `percent` of the last ten seconds' frames waited at most."""
        return self._delays.percentile(percent, now=now)

    def delay_worst_second(self) -> int:
        """Return how long 99 of 100 frames of the worst of the last ten seconds waited at most."""
        return self._delays.worst_second()

    def inherit(self, frames: list[Frame], *, now: int) -> None:
        """Join the tail, all of them, as if they came now: the queue drains to its limit."""
        self._append_cut(frames, now)

    def next_bytes(self) -> int:
        """Return the wire bytes of the frame at the head."""
        return self._frames[0].wire_bytes

    def take(
        self, budget_bytes: int, *, now: int, limit: int, beyond_bytes: int = 0
    ) -> tuple[list[Frame], int]:
        """Hand out frames from the head."""
        waiting = self._frames
        leaving: list[Frame] = []
        left_bytes = left_packets = 0
        while waiting and left_bytes <= budget_bytes and len(leaving) < limit:
            frame = waiting.popleft()
            leaving.append(frame)
            left_bytes += frame[1]
            left_packets += frame[2]
        self.backlog_bytes -= left_bytes
        self.backlog_packets -= left_packets
        self._count_delays(len(leaving), now)
        return leaving, left_bytes

    def _count_delays(self, left: int, now: int) -> None:
        """Count how long so many frames at the head have waited."""
        delays, arrivals = self._delays, self._arrivals
        if now >= delays.turns_at:
            delays.turn(now)
        while left:
            came_at, count = arrivals[0]
            sojourn = self.delay_now = now - came_at
            if count > left:
                arrivals[0] = came_at, count - left
                count = left
            else:
                arrivals.popleft()
            delays.cells[sojourn if sojourn < EXACT else index(sojourn)] += count
            left -= count

    def found_empty(self) -> None:
        """Change nothing: an empty queue has no state."""

    def configure(self, settings: Settings, *, now: int) -> None:
        """Change limit, largest frame or length of a tick, at tick `now` of the old length.

        A new limit below the backlog drops nothing: the queue drains to it.
        """
        before, after = self._settings.ticks_per_second, settings.ticks_per_second
        self._settings = settings
        if before != after:
            new = convert(now, before, after)
            self._delays = DelayHistogram(ticks_per_second=after, now=new)
            self.delay_now = convert(self.delay_now, before, after)
        arrivals = [(convert(at, before, after), count) for at, count in self._arrivals]
        frames = self.drain()
        start = 0
        for came_at, count in arrivals:
            self._append_cut(frames[start : start + count], came_at)
            start += count

    def drain(self) -> list[Frame]:
        """Give back everything that waits, in order."""
        frames = list(self._frames)
        self._frames.clear()
        self._arrivals.clear()
        self.backlog_bytes = self.backlog_packets = 0
        return frames

    def _follows(self, data: bytes, wire_bytes: int) -> bool:
        """Whether a frame beyond the limit is a fragment like the one at the tail, and next to it.

        `_beyond_bytes` bounds what joins in this way until there is room again.
        """
        if not self._frames or self._beyond_bytes + wire_bytes > _DATAGRAM_BYTES:
            return False
        last = unfinished(self._frames[-1].data)
        if last is None or (found := position(data)) is None:
            return False
        if found[0] != last[0] or found[1] <= last[1]:
            return False
        self._beyond_bytes += wire_bytes
        return True

    def _append_cut(self, frames: list[Frame], came_at: int) -> None:
        """Join the tail in frames that the rate allows to leave whole."""
        before = len(self._frames)
        for frame in frames:
            fits = frame.wire_bytes <= self._settings.unit_bytes
            self._append_all([frame] if fits else split(frame))
        if came := len(self._frames) - before:
            self._arrivals.append((came_at, came))

    def _append_all(self, frames: list[Frame]) -> None:
        for frame in frames:
            self._frames.append(frame)
            self.backlog_bytes += frame.wire_bytes
            self.backlog_packets += frame.packets
