"""The two edges of a path, as narrow protocols, and their in-memory fakes for tests.

A `Source` is read and a `Sink` is written; both answer at once. The real ones are in `edges`.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import NamedTuple, Protocol

from shaper.packet.frame import parse_all

# Chosen: a batch of full frames is 50 us of work or so, well inside a jiffy of 1 ms; larger ones
# save nothing that can be measured.
MAX_BATCH = 64


class Outcome(Enum):
    """What became of a frame that was handed to the master."""

    SENT = "sent"
    BLOCKED = "blocked"  # try again when the socket is writable; the frame is still ours
    NOBUFS = "nobufs"
    OVERSIZE = "oversize"
    GONE = "master"  # the master is down or gone: this frame is lost, later ones wait
    PROTOCOL = "protocol"
    ERROR = "error"


class Measure(NamedTuple):
    """The size of a batch on the wire, each segment of an offload frame with its headers."""

    packets: int
    wire_bytes: int
    last_bytes: int  # of its last frame
    largest_bytes: int  # of its largest


class Batch(Protocol):
    """Frames that have been read and may leave without being queued.

    They are good until the next batch is read.
    """

    count: int
    is_drained: bool  # nothing more waited

    def measure(
        self, header_bytes_removed: int, *, keeps_neighbours: bool = False
    ) -> Measure | None:
        """Return its size; None if some of it may not leave. There must be a frame in it."""
        ...

    def take(self) -> list[bytes]:
        """Return its frames as objects that last, each a virtio-net header and a frame."""
        ...


class Source(Protocol):
    """Where frames come from: the TAP."""

    is_gone: bool  # the device was deleted: there is nothing to wait for any more
    lost: int  # frames that could not be read, ever

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        ...

    def read(self, limit: int) -> list[bytes]:
        """Return up to `limit` reads, each a virtio-net header and a frame.

        Fewer mean that nothing waits any more.
        """
        ...

    def read_one(self) -> bytes | None:
        """Return one of those reads, or None if nothing waits."""
        ...

    def fill(self, limit: int) -> Batch:
        """Return up to `limit` frames of those that wait."""
        ...

    def absorb(self) -> None:
        """Take in everything that waits, before room for it is taken away; `read` gives it."""
        ...

    def close(self) -> None:
        """Let go of the descriptor."""
        ...


class Sink(Protocol):
    """Where frames go: the packet socket of the master."""

    removed_bytes: int  # of a frame's link-layer header, which the master does not have
    keeps_neighbours: bool  # frames were taken from a device, and so are its ARP and the like

    def fileno(self) -> int:
        """Return the descriptor to wait on for room."""
        ...

    def write(self, batch: list[bytes]) -> tuple[int, Outcome]:
        """Send virtio-net headers and frames, in order, at most `MAX_BATCH` of them.

        Returns how many were sent, and what became of the one after them; SENT if all were.
        """
        ...

    def write_one(self, data: bytes) -> Outcome:
        """Send a single frame; return what became of it."""
        ...

    def write_batch(self, batch: Batch) -> tuple[int, Outcome]:
        """Send a batch as `write` would."""
        ...

    def close(self) -> None:
        """Let go of the descriptor."""
        ...


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

    def take(self) -> list[bytes]:
        """Return the frames."""
        return self._frames


class MemorySource:
    """A TAP whose frames are put in by a test."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.is_gone = False
        self.lost = 0
        self.is_closed = False

    def fileno(self) -> int:
        """Return a number no epoll will be asked about."""
        return -1

    def read(self, limit: int) -> list[bytes]:
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
        self._offered = 0
        self.is_closed = False

    def fileno(self) -> int:
        """Return a number no epoll will be asked about."""
        return -1

    def write(self, batch: list[bytes]) -> tuple[int, Outcome]:
        """Keep the frames if they are to be sent."""
        for sent, data in enumerate(batch):
            outcome = self.refuse.pop(self._offered, self.outcome)
            if outcome is not Outcome.BLOCKED:
                self._offered += 1
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
