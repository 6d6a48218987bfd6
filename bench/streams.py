"""TCP: connections kept filled by one process, and emptied by another."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.lab.law import NS_PER_SECOND
from bench.lab.namespaces import Namespace
from bench.lab.pump import ABORT
from bench.task import Ready, Stopped

Target = tuple[str, int]  # address and port

# Chosen.
CONGESTION = b"cubic"  # RFC 9438, most systems' default: it fills what queue there is
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
        since_ns: from when on it was counted (monotonic).
        first_ns, last_ns: when the first of the counted bytes came, and the last.
        payload_bytes: what came after the first, up to the last.

    """

    target: Target
    since_ns: int = 0
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


def share_bits(streams: Sequence[Stream], end_ns: int) -> float:
    """Return the payload a second from when they were counted to `end_ns`, silence included."""
    return sum(
        stream.payload_bytes * 8 * NS_PER_SECOND / (end_ns - stream.since_ns)
        for stream in streams
        if end_ns > stream.since_ns
    )


@dataclass
class Receiver:
    """Empties every connection made to any of its targets, until it is stopped.

    Attributes:
        warm_ups_s: by target, for how long after it is made a connection is not counted.

    """

    warm_ups_s: Mapping[Target, float]
    _streams: list[Stream] = field(default_factory=list)

    def __call__(self, ready: Ready) -> Emptied:
        """Work (in a task)."""
        poll = selectors.EpollSelector()
        for target in self.warm_ups_s:
            entrance = socket.create_server(target, backlog=BACKLOG)
            entrance.setblocking(False)
            poll.register(entrance, selectors.EVENT_READ, target)
        ready()
        with contextlib.suppress(Stopped):
            self._serve(poll)
        return Emptied(self._streams, time.process_time())

    def _serve(self, poll: selectors.BaseSelector) -> None:
        """Accept and read, counting from the end of each connection's warm-up on."""
        buffer = bytearray(RECEIVE_BYTES)
        while True:
            for key, _ in poll.select():
                source = key.fileobj
                if not isinstance(key.data, Stream):
                    connection, _ = source.accept()
                    warm_up_ns = int(self.warm_ups_s[key.data] * NS_PER_SECOND)
                    self._streams.append(Stream(key.data, time.monotonic_ns() + warm_up_ns))
                    poll.register(connection, selectors.EVENT_READ, self._streams[-1])
                    continue
                now = time.monotonic_ns()
                size = _take(source, buffer)
                if not size:
                    poll.unregister(source)
                    source.close()
                elif now >= key.data.since_ns:
                    key.data.add(now, size)


def _take(source: socket.socket, buffer: bytearray) -> int:
    """Take what is there without copying it; 0 when the connection has ended."""
    with contextlib.suppress(OSError):
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
            poll.register(_connect(target), selectors.EVENT_WRITE, target)
        chunk = memoryview(bytes(CHUNK_BYTES))
        with contextlib.suppress(Stopped):
            while (left_s := end_s - time.monotonic()) > 0:
                for key, _ in poll.select(left_s):
                    if not _fill(key.fileobj, chunk):
                        poll.unregister(key.fileobj)
                        key.fileobj.close()
                        poll.register(_connect(key.data), selectors.EVENT_WRITE, key.data)
        for key in list(poll.get_map().values()):
            key.fileobj.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            key.fileobj.close()
        return time.process_time()


def open_stream() -> socket.socket:
    """Return a socket of TCP with the congestion control wanted, or else the machine's own."""
    handle = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Of the socket: a namespace may not choose one by sysctl that the first has not released.
    with contextlib.suppress(OSError):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION)
    return handle


def congestion_control(namespace: Namespace) -> str:
    """Return by what congestion control TCP will be sent in a namespace."""
    with namespace.enter(), open_stream() as handle:
        name = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    return name.rstrip(b"\0").decode()


def _connect(target: Target) -> socket.socket:
    """Begin a connection; it becomes writable once it is made."""
    handle = open_stream()
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    handle.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        handle.connect(target)
    return handle


def _fill(handle: socket.socket, chunk: memoryview) -> bool:
    """Write as much as there is room for now; return whether the connection still stands."""
    try:
        handle.send(chunk)
    except BlockingIOError:
        pass
    except OSError:
        # Given up: where a rate is shared by dozens of flows, some starve until it times out.
        return False
    return True
