"""The fifo queue: first in, first out, with a limit in frames.

A frame that arrives when `limit_packets` or more wait is dropped and counted as `limit`; one
offload frame may overshoot the limit by its own segments. A change of settings keeps every frame:
those too large for the new rate are cut into their segments.
"""

from __future__ import annotations

from collections import deque

from shaper.discipline.base import FirstComeFirstServed
from shaper.model import Settings
from shaper.packet.frame import Frame
from shaper.packet.segment import split


class Fifo(FirstComeFirstServed):
    """Frames in the order in which they came; see `base.PacketQueue` for the contract.

    Args:
        settings: limit and largest frame.
    """

    # Its drops hit every flow alike, here or in the ring. Traffic that responds to loss meets its
    # losses here, where they are counted; the rest of a flood is cheaper to drop in the ring.
    shed_factor = 1

    def __init__(self, settings: Settings) -> None:
        self.backlog_bytes = 0
        self.backlog_packets = 0
        self.dropped: dict[str, int] = {"limit": 0}
        self._frames: deque[Frame] = deque()
        self._settings = settings

    @property
    def room(self) -> int:
        """How many more wire frames it takes; 0 or less when it is full."""
        return self._settings.limit_packets - self.backlog_packets

    def enqueue_batch(self, frames: list[Frame], *, now: int) -> None:
        """Join the tail in order; those that find the queue full are dropped as `limit`."""
        unit_bytes = self._settings.unit_bytes
        room = self.room
        for frame in frames:
            _, wire_bytes, packets = frame
            if room <= 0:
                self.dropped["limit"] += packets
            elif wire_bytes > unit_bytes and packets > 1:
                self._append_all(split(frame))
            else:
                self._frames.append(frame)
                self.backlog_bytes += wire_bytes
                self.backlog_packets += packets
            room -= packets

    def inherit(self, frames: list[Frame], *, now: int) -> None:
        """Join the tail, all of them: the queue drains to its limit."""
        self._append_all(frames)
        self._recut()

    def take(self, budget_bytes: int, *, now: int, limit: int) -> tuple[list[Frame], int]:
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
        return leaving, left_bytes

    def found_empty(self) -> None:
        """Change nothing: an empty queue has no state."""

    def configure(self, settings: Settings, *, now: int) -> None:
        """Change limit and largest frame.

        A new limit below the backlog drops nothing: the queue drains to it.
        """
        self._settings = settings
        self._recut()

    def drain(self) -> list[Frame]:
        """Give back everything that waits, in order."""
        frames = list(self._frames)
        self._frames.clear()
        self.backlog_bytes = self.backlog_packets = 0
        return frames

    def _recut(self) -> None:
        for frame in self.drain():
            fits = frame.wire_bytes <= self._settings.unit_bytes
            self._append_all([frame] if fits else split(frame))

    def _append_all(self, frames: list[Frame]) -> None:
        for frame in frames:
            self._frames.append(frame)
            self.backlog_bytes += frame.wire_bytes
            self.backlog_packets += frame.packets
