"""The edges of a path in memory: a TAP that is filled and a master that is watched by a test."""

from __future__ import annotations

import errno
from collections import deque

from shaper.forwarder.ports import Batch, Measure, Outcome
from shaper.forwarder.ring_meter import RingMeter
from shaper.packet.frame import parse_all


class MemoryBatch:
    """A batch of frames put in by a test."""

    def __init__(self, frames: list[bytes], *, is_drained: bool) -> None:
        self.count = len(frames)
        self.is_drained = is_drained
        self._frames = frames

    def measure(
        self, header_bytes_removed: int, *, keeps_neighbours: bool = False
    ) -> Measure | None:
        """Return the size of the frames."""
        frames, neighbours = parse_all(
            self._frames, header_bytes_removed, keeps_neighbours=keeps_neighbours
        )
        wire = [frame.wire_bytes for frame in frames]
        if neighbours:
            return None
        return Measure(sum(frame.packets for frame in frames), sum(wire), wire[-1], max(wire))

    def frames(self) -> list[bytes]:
        """Return the frames."""
        return self._frames

    def send(self, descriptor: int) -> tuple[int, int]:
        """Send nothing: a fake sink takes the frames themselves."""
        return 0, errno.EBADF

    def take(self) -> list[bytes]:
        """Return the frames."""
        return self._frames


class MemorySource:
    """A TAP that a test puts frames into."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.is_gone = self.is_failing = False
        self.failure = 0
        self.lost = 0
        self.meter: RingMeter | None = None
        self.is_closed = False

    def fileno(self) -> int:
        """Return a number no epoll will be asked about."""
        return -1

    def read(self, limit: int, *, until_empty: bool = False) -> list[bytes]:
        """Return the next frames put in."""
        return [self.frames.popleft() for _ in range(min(limit, len(self.frames)))]

    def read_one(self) -> bytes | None:
        """Return the next frame put in."""
        return self.frames.popleft() if self.frames else None

    def fill(self, limit: int) -> MemoryBatch:
        """Return the next frames put in, as a batch."""
        frames = self.read(limit)
        return MemoryBatch(frames, is_drained=len(frames) < limit)

    def absorb(self) -> None:
        """Keep what was put in, for which there is always room."""

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


class MemorySink:
    """A master that keeps what it was sent and answers as a test tells it to."""

    removed_bytes = 0

    def __init__(self) -> None:
        self.keeps_neighbours = False
        self.frames: list[bytes] = []
        self.outcome = Outcome.SENT  # of every frame
        self.refuse: dict[int, Outcome] = {}  # of single frames, by their number
        self.offered = 0
        self.is_closed = False

    def fileno(self) -> int:
        """Return a number no epoll will be asked about."""
        return -1

    def write(self, batch: list[bytes]) -> tuple[int, Outcome]:
        """Keep the frames if they are to be sent."""
        for sent, data in enumerate(batch):
            outcome = self.refuse.pop(self.offered, self.outcome)
            if outcome is not Outcome.BLOCKED:
                self.offered += 1
            if outcome is not Outcome.SENT:
                return sent, outcome
            self.frames.append(data)
        return len(batch), Outcome.SENT

    def write_one(self, data: bytes) -> Outcome:
        """Keep a frame if it is to be sent."""
        return self.write([data])[1]

    def write_batch(self, batch: Batch) -> tuple[int, Outcome]:
        """Keep the frames of a batch if they are to be sent."""
        return self.write(batch.take())

    def close(self) -> None:
        """Note it."""
        self.is_closed = True
