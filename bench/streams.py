"""TCP: connections kept filled by one process, and emptied by another."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.lab.law import NS_PER_SECOND
from bench.lab.pump import ABORT
from bench.task import Ready, Stopped

Target = tuple[str, int]  # address and port

# Chosen.
CHUNK_BYTES = 1 << 18  # of a write
RECEIVE_BYTES = 1 << 22  # of a read, which copies nothing
BACKLOG = 256
UNSENT_BYTES = (
    1 << 17
)  # that wait in a sender's socket without being in flight (TCP_NOTSENT_LOWAT)


@dataclass
class Stream:
    """What one connection received after the warm-up.

    Attributes:
        first_ns, last_ns: when the counting began and when the last bytes came (monotonic).
        payload_bytes: between the two.

    """

    target: Target
    first_ns: int = 0
    last_ns: int = 0
    payload_bytes: int = 0

    def add(self, now: int, size: int) -> None:
        """Count; what came with the first read only starts the clock, as in `law.rate_bits`."""
        if self.first_ns:
            self.payload_bytes += size
        else:
            self.first_ns = now
        self.last_ns = now


@dataclass(frozen=True)
class Emptied:
    """What a receiver reports."""

    streams: list[Stream]
    cpu_s: float


def goodput_bits(streams: Sequence[Stream]) -> float:
    """Return the payload a second of all streams together."""
    counted = [stream for stream in streams if stream.last_ns > stream.first_ns]
    if not counted:
        return 0.0
    elapsed_ns = max(s.last_ns for s in counted) - min(s.first_ns for s in counted)
    return sum(s.payload_bytes for s in counted) * 8 * NS_PER_SECOND / elapsed_ns


@dataclass
class Receiver:
    """Empties every connection made to any of its targets, until it is stopped."""

    targets: Sequence[Target]
    warm_up_s: float
    _streams: list[Stream] = field(default_factory=list)

    def __call__(self, ready: Ready) -> Emptied:
        """Work (in a task)."""
        poll = selectors.EpollSelector()
        for target in self.targets:
            entrance = socket.create_server(target, backlog=BACKLOG)
            entrance.setblocking(False)
            poll.register(entrance, selectors.EVENT_READ, target)
        ready()
        with contextlib.suppress(Stopped):
            self._serve(poll)
        return Emptied(self._streams, time.process_time())

    def _serve(self, poll: selectors.BaseSelector) -> None:
        """Accept and read, counting from the warm-up after the first connection on."""
        buffer = bytearray(RECEIVE_BYTES)
        counting_ns = 0
        while True:
            for key, _ in poll.select():
                source = key.fileobj
                if not isinstance(key.data, Stream):
                    connection, _ = source.accept()
                    self._streams.append(Stream(key.data))
                    poll.register(connection, selectors.EVENT_READ, self._streams[-1])
                    continue
                now = time.monotonic_ns()
                counting_ns = counting_ns or now + int(self.warm_up_s * NS_PER_SECOND)
                size = _take(source, buffer)
                if not size:
                    poll.unregister(source)
                    source.close()
                elif now >= counting_ns:
                    key.data.add(now, size)


def _take(source: socket.socket, buffer: bytearray) -> int:
    """Take what is there without copying it; 0 when the connection has ended."""
    with contextlib.suppress(ConnectionError):
        # MSG_TRUNC: the kernel throws the payload away and only tells its length.
        return source.recv_into(buffer, RECEIVE_BYTES, socket.MSG_TRUNC)
    return 0


@dataclass(frozen=True)
class Filler:
    """Opens connections to targets and keeps them filled for a time; then cuts them off."""

    targets: Sequence[Target]
    seconds: float

    def __call__(self, ready: Ready) -> float:
        """Work (in a task); return the processor time used, in seconds."""
        poll = selectors.EpollSelector()
        ready()
        end_s = time.monotonic() + self.seconds
        for target in self.targets:
            poll.register(_connect(target), selectors.EVENT_WRITE)
        chunk = memoryview(bytes(CHUNK_BYTES))
        with contextlib.suppress(Stopped):
            while (left_s := end_s - time.monotonic()) > 0:
                for key, _ in poll.select(left_s):
                    _fill(key.fileobj, chunk)
        for key in list(poll.get_map().values()):
            key.fileobj.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            key.fileobj.close()
        return time.process_time()


def _connect(target: Target) -> socket.socket:
    """Begin a connection; it becomes writable once it is made."""
    handle = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    handle.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        handle.connect(target)
    return handle


def _fill(handle: socket.socket, chunk: memoryview) -> None:
    """Write as much as there is room for now."""
    with contextlib.suppress(BlockingIOError, ConnectionError):
        handle.send(chunk)
