"""The two edges of a path, as narrow protocols, and their in-memory fakes for tests.

A `Source` is read and a `Sink` is written; both answer at once. The real ones are in `edges`.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Protocol


class Outcome(Enum):
    """What became of a frame that was handed to the master."""

    SENT = "sent"
    BLOCKED = "blocked"  # try again when the socket is writable; the frame is still ours
    NOBUFS = "nobufs"
    OVERSIZE = "oversize"
    GONE = "master"  # the master is down or gone: this frame is lost, later ones wait
    PROTOCOL = "protocol"
    ERROR = "error"


class Source(Protocol):
    """Where frames come from: the TAP."""

    is_gone: bool  # the device was deleted: there is nothing to wait for any more

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        ...

    def read(self) -> bytes | None:
        """Return one virtio-net header and frame, or None when nothing waits."""
        ...

    def close(self) -> None:
        """Let go of the descriptor."""
        ...


class Sink(Protocol):
    """Where frames go: the packet socket of the master."""

    removed_bytes: int  # of a frame's link-layer header, which the master does not have

    def fileno(self) -> int:
        """Return the descriptor to wait on for room."""
        ...

    def write(self, data: bytes) -> Outcome:
        """Send one virtio-net header and frame."""
        ...

    def close(self) -> None:
        """Let go of the descriptor."""
        ...


class MemorySource:
    """A TAP whose frames are put in by a test."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.is_gone = False
        self.is_closed = False

    def fileno(self) -> int:
        """Return a number no epoll will be asked about."""
        return -1

    def read(self) -> bytes | None:
        """Return the next frame put in."""
        return self.frames.popleft() if self.frames else None

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


class MemorySink:
    """A master that keeps what it was sent and answers as a test tells it to."""

    removed_bytes = 0

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.outcome = Outcome.SENT
        self.is_closed = False

    def fileno(self) -> int:
        """Return a number no epoll will be asked about."""
        return -1

    def write(self, data: bytes) -> Outcome:
        """Keep the frame if it is to be sent."""
        if self.outcome is Outcome.SENT:
            self.frames.append(data)
        return self.outcome

    def close(self) -> None:
        """Note it."""
        self.is_closed = True
