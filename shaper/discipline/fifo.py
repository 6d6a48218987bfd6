"""The fifo discipline: first in, first out, behind a token bucket, with a limit in frames.

The law is the bucket's (see `bucket`). A frame that arrives when `limit_packets` or more wait is
dropped and counted as `limit`; one offload frame may overshoot the limit by its own segments. A
change of settings keeps every frame: those too large for the new rate are cut into their segments.
"""

from __future__ import annotations

from collections import deque

from shaper.discipline import jiffies
from shaper.discipline.base import FirstComeFirstServed
from shaper.discipline.bucket import Bucket
from shaper.model import Settings
from shaper.packet.frame import Frame
from shaper.packet.segment import split


class Fifo(FirstComeFirstServed):
    """A queue of frames and its bucket; see `base.Discipline` for the contract.

    Args:
        settings: rate, bucket and limit.
        now: the current jiffy.
        opens_at: see `Bucket`; for a queue that takes over from another.
    """

    def __init__(self, settings: Settings, *, now: int, opens_at: int | None = None) -> None:
        self.backlog_bytes = 0
        self.backlog_packets = 0
        self.overlimits = 0
        self.dropped: dict[str, int] = {"limit": 0}
        self._frames: deque[Frame] = deque()
        self._settings = settings
        self._bucket = Bucket.make(settings, now=now, opens_at=opens_at)

    @property
    def room(self) -> int:
        """How many more wire frames it takes; 0 or less when it is full."""
        return self._settings.limit_packets - self.backlog_packets

    @property
    def busy_bytes(self) -> int:
        """Wire bytes handed out since the rate was last set."""
        return self._bucket.busy_bytes

    @property
    def busy_ns(self) -> int:
        """Nanoseconds for which the rate was in use since it was last set."""
        return self._bucket.busy_ns

    def enqueue(self, frame: Frame, *, now: int) -> None:
        """Join the tail, or be dropped as `limit`."""
        self.enqueue_batch([frame], now=now)

    def enqueue_batch(self, frames: list[Frame], *, now: int) -> None:
        """Join the tail in order; those that find the queue full are dropped as `limit`."""
        if not self._frames:
            self._bucket.rest(now)
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

    def admit(self, wire_bytes: int, last_bytes: int, now: int, *, has_waited: bool) -> bool:
        """Pay for frames that leave at once, if the bucket allows it."""
        return self._bucket.admit(wire_bytes, last_bytes, now, has_waited=has_waited)

    def inherit(self, frames: list[Frame], *, now: int) -> None:
        """Join the tail, all of them: the queue drains to its limit."""
        self._append_all(frames)
        self._recut()

    def dequeue(self, *, now: int) -> Frame | None:
        """Hand out the head if the bucket is open."""
        frames = self.dequeue_batch(now=now, limit=1)
        return frames[0] if frames else None

    def dequeue_batch(self, *, now: int, limit: int) -> list[Frame]:
        """Hand out frames from the head for as long as the bucket stays open."""
        waiting = self._frames
        if not waiting:
            return []
        self._bucket.accrue(now)
        budget_bytes = self._bucket.budget_bytes
        if budget_bytes < 0:
            self.overlimits += 1
            return []
        leaving: list[Frame] = []
        left_bytes = left_packets = 0
        while waiting and left_bytes <= budget_bytes and len(leaving) < limit:
            frame = waiting.popleft()
            leaving.append(frame)
            left_bytes += frame[1]
            left_packets += frame[2]
        self._bucket.charge(left_bytes)
        self.backlog_bytes -= left_bytes
        self.backlog_packets -= left_packets
        return leaving

    def left_late(self, wire_bytes: int, *, now: int) -> None:
        """Grant no credit twice for frames that left later than they were handed out."""
        self._bucket.left_late(wire_bytes, now)

    def deadline(self) -> int | None:
        """Return the jiffy in which the bucket opens, if something waits for it."""
        return self._bucket.opens_at() if self._frames else None

    def opens_at(self) -> int:
        """Return the jiffy in which what has left so far is paid for."""
        return self._bucket.opens_at()

    def configure(self, settings: Settings, *, now: int) -> None:
        """Change rate, bucket, limit or HZ at jiffy `now` of the old HZ; lose nothing.

        A new limit below the backlog drops nothing either: the queue drains to it.
        """
        if self._frames:
            self._bucket.accrue(now)
        else:
            self._bucket.rest(now)
        old_hz, self._settings = self._settings.hz, settings
        new_now = jiffies.from_ns(jiffies.to_ns(now, old_hz), settings.hz)
        self._bucket = self._bucket.successor(settings, now=new_now)
        self._recut()

    def flush(self, reason: str) -> None:
        """Drop everything that waits and count it under `reason`."""
        lost = sum(frame.packets for frame in self.drain())
        self.dropped[reason] = self.dropped.get(reason, 0) + lost

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
