"""The two edges of a path, as narrow protocols.

A `FrameSource` is read and a `FrameSink` is written; both answer at once. The real ones are in
`edges`, those for tests in `shaper.testing.memory_ports`. Another way of moving frames is one more
file beside `edges`.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from shaper.forwarder.ring_meter import RingMeter

# Chosen: a batch of full frames is 50 us of work or so, well inside a jiffy of 1 ms; larger ones
# save nothing that can be measured.
MAX_BATCH = 64

# Specified: the virtio-net header, and the largest offload frame with its headers (gso_max_size is
# 64 kB); a multiple of a cache line.
READ_BYTES = 10 + 65536 + 64 + 54


class Outcome(Enum):
    """What became of a frame that was handed to the master."""

    SENT = "sent"
    BLOCKED = "blocked"  # try again when the socket is writable; the frame is still ours
    NOBUFS = "nobufs"
    OVERSIZE = "oversize"
    GONE = "master"  # the master is down or gone: this frame is lost, later ones wait
    PROTOCOL = "protocol"
    UNREACHABLE = "unreachable"
    MALFORMED = "malformed"
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

    def send(self, descriptor: int) -> tuple[int, int]:
        """Send its frames; return how many the socket took, and the errno that stopped it or 0."""
        ...


class Room(Batch, Protocol):
    """Where a source reads batches to; each one takes the place of the last."""

    def fill(self, descriptor: int, limit: int) -> int:
        """Read at most `limit` frames; return the errno that ended it, 0 if it is full."""
        ...

    def put(self, frames: list[bytes]) -> None:
        """Take frames that were read before, at most `MAX_BATCH` of them."""
        ...

    def release(self, descriptor: int) -> None:
        """Let go of a descriptor, which is closed next."""
        ...


class FrameSource(Protocol):
    """Where frames come from: the TAP."""

    is_gone: bool  # a read failed: it is not read again until this is set to False
    is_failing: bool  # ... nor has one succeeded since, so that a further failure is no news
    failure: int  # errno of the last read that failed
    lost: int  # frames that could not be read, and have not been counted yet
    meter: RingMeter | None  # is told of every read

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        ...

    def read(self, limit: int, *, until_empty: bool = False) -> list[bytes]:
        """Return up to `limit` reads, each a virtio-net header and a frame.

        Fewer mean that nothing waits any more; what comes meanwhile may be left for the next
        time, unless it reads `until_empty`.
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


class FrameSink(Protocol):
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
