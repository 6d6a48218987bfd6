"""The fifo discipline: first in, first out, behind a token bucket, with a limit in frames.

The law is the bucket's (see `bucket`). A frame that arrives when `limit_packets` or more wait is
dropped and counted as `limit`; one offload frame may overshoot the limit by its own segments. A
change of settings keeps every frame: those too large for the new rate are cut into their segments.
"""

from __future__ import annotations

from collections import deque

from shaper.discipline import jiffies
from shaper.discipline.base import Frame
from shaper.discipline.bucket import Bucket
from shaper.discipline.segment import split
from shaper.model import Settings


class Fifo:
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
        self._bucket = Bucket(
            rate_bits=settings.rate_bits,
            hz=settings.hz,
            unit_bytes=settings.unit_bytes,
            burst_bytes=settings.burst_bytes,
            now=now,
            opens_at=opens_at,
        )

    @property
    def is_full(self) -> bool:
        """Whether the next enqueue would drop a frame."""
        return self.backlog_packets >= self._settings.limit_packets

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
        if self.is_full:
            self.dropped["limit"] += frame.packets
            return
        if not self._frames:
            self._bucket.rest(now)
        if frame.wire_bytes > self._settings.unit_bytes and frame.packets > 1:
            self._append_all(split(frame))
        else:
            self._frames.append(frame)
            self.backlog_bytes += frame.wire_bytes
            self.backlog_packets += frame.packets

    def dequeue(self, *, now: int) -> Frame | None:
        """Hand out the head if the bucket is open."""
        if not self._frames:
            return None
        bucket = self._bucket
        bucket.accrue(now)
        if not bucket.is_open:
            self.overlimits += 1
            return None
        frame = self._frames.popleft()
        bucket.charge(frame.wire_bytes)
        self.backlog_bytes -= frame.wire_bytes
        self.backlog_packets -= frame.packets
        return frame

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
        self._bucket = self._bucket.successor(
            rate_bits=settings.rate_bits,
            hz=settings.hz,
            unit_bytes=settings.unit_bytes,
            burst_bytes=settings.burst_bytes,
            now=jiffies.from_ns(jiffies.to_ns(now, self._settings.hz), settings.hz),
        )
        self._settings = settings
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
