"""The work of the processes that make and take traffic: functions for `bench.lab.task`."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.lab.flow import Flow, Load, Sent
from bench.lab.law import BITS_PER_BYTE, NS_PER_SECOND
from bench.lab.namespaces import Namespace
from bench.lab.task import Ready

SO_RCVBUFFORCE = 33  # asm-generic/socket.h
ABORT = struct.pack("=ii", 1, 0)  # struct linger: close with a reset and drop what is unsent

# Chosen.
CONGESTION = b"cubic"  # RFC 9438, most systems' default: it fills what queue there is
CHUNK_BYTES = 1 << 18  # of a write
RECEIVE_BYTES = 1 << 22  # of a read, which copies nothing
BATCH = 256  # datagrams read of one socket before others are looked at
BACKLOG = 256
SINK_BUFFER_BYTES = 8 << 20  # so that a receiver of UDP need not run for every frame
UNSENT_BYTES = 1 << 17  # that wait in a socket without being in flight (TCP_NOTSENT_LOWAT)
RETRY_S = 0.002  # after an error, so that a path that is down is not hammered


@dataclass
class ReceivedStream:
    """What one connection, or one socket of datagrams, received after the warm-up."""

    flow: Flow
    since_ns: int = 0  # from when on it was counted (monotonic)
    first_ns: int = 0  # when the first of the counted bytes came
    last_ns: int = 0  # and the last
    first_bytes: int = 0  # what came with the first read
    payload_bytes: int = 0  # what came after it
    datagrams: int = 0  # how many messages there were, if there are any

    def add(self, now: int, size: int) -> None:
        """Count; what came with the first read only starts the clock, as in `law.rate_bits`."""
        if self.first_ns:
            self.payload_bytes += size
        else:
            self.first_ns, self.first_bytes = now, size
        self.last_ns = now


@dataclass(frozen=True)
class Emptied:
    """What a receiver reports."""

    streams: list[ReceivedStream]
    cpu_s: float


def goodput_bits(streams: Sequence[ReceivedStream]) -> float:
    """Return the payload a second of all streams together."""
    counted = [stream for stream in streams if stream.last_ns > stream.first_ns]
    if not counted:
        return 0.0
    elapsed_ns = max(s.last_ns for s in counted) - min(s.first_ns for s in counted)
    return sum(s.payload_bytes for s in counted) * BITS_PER_BYTE * NS_PER_SECOND / elapsed_ns


def share_bits(streams: Sequence[ReceivedStream], end_ns: int) -> float:
    """Return the payload a second from when they were counted to `end_ns`, silence included."""
    return sum(
        stream.payload_bytes * BITS_PER_BYTE * NS_PER_SECOND / (end_ns - stream.since_ns)
        for stream in streams
        if end_ns > stream.since_ns
    )


@dataclass
class Receiver:
    """Takes all of some flows until it is told to stop, and then what has already arrived."""

    warm_ups_s: Mapping[Flow, float]  # for how long after it is made a connection is not counted
    _streams: list[ReceivedStream] = field(default_factory=list)
    _buffer: bytearray = field(default_factory=lambda: bytearray(RECEIVE_BYTES))

    def __call__(self, ready: Ready) -> Emptied:
        """Work."""
        poll = selectors.EpollSelector()
        for flow in self.warm_ups_s:
            data = flow if flow.protocol == "tcp" else self._begin(flow)
            poll.register(_entrance(flow), selectors.EVENT_READ, data)
        over = poll.register(ready(), selectors.EVENT_READ)
        timeout = None
        while events := poll.select(timeout):
            for key, _ in events:
                if key == over:
                    poll.unregister(over.fileobj)
                    timeout = 0
                elif isinstance(key.data, Flow):
                    self._accept(poll, key)
                elif not self._take(key.fileobj, key.data):
                    poll.unregister(key.fileobj)
                    key.fileobj.close()
        return Emptied(self._streams, time.process_time())

    def _begin(self, flow: Flow) -> ReceivedStream:
        since_ns = time.monotonic_ns() + int(self.warm_ups_s[flow] * NS_PER_SECOND)
        self._streams.append(ReceivedStream(flow, since_ns))
        return self._streams[-1]

    def _accept(self, poll: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = key.fileobj.accept()
            connection.setblocking(False)
            poll.register(connection, selectors.EVENT_READ, self._begin(key.data))

    def _take(self, source: socket.socket, stream: ReceivedStream) -> bool:
        """Take what is there without copying it; return whether more may come."""
        is_stream = stream.flow.protocol == "tcp"
        now, size = time.monotonic_ns(), 0
        with contextlib.suppress(BlockingIOError):
            for _ in range(1 if is_stream else BATCH):
                try:
                    # MSG_TRUNC: the kernel throws the payload away and only tells its length.
                    more = source.recv_into(self._buffer, RECEIVE_BYTES, socket.MSG_TRUNC)
                except ConnectionError:
                    return False
                if is_stream and not more:
                    return False
                size += more
                stream.datagrams += not is_stream
        if size and now >= stream.since_ns:
            stream.add(now, size)
        return True


def _entrance(flow: Flow) -> socket.socket:
    """Return the socket at which a flow arrives."""
    entrance = flow.socket()
    entrance.setblocking(False)
    entrance.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    entrance.bind(flow.target)
    if flow.protocol == "tcp":
        entrance.listen(BACKLOG)
    else:
        # Older kernels refuse this inside a user namespace; the default has to do there.
        with contextlib.suppress(PermissionError):
            entrance.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SINK_BUFFER_BYTES)
    return entrance


class PumpSource:
    """What every sender counts, and when it is over."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._sent = Sent()
        self._start_ns = 0

    def __call__(self, ready: Ready) -> Sent:
        """Work."""
        ready()
        self._start_ns = time.monotonic_ns()
        self._send()
        self._sent.cpu_s = time.process_time()
        return self._sent

    def _send(self) -> None:
        """Send until it is over."""
        raise NotImplementedError

    def _elapsed_ns(self) -> int:
        return time.monotonic_ns() - self._start_ns

    def _left_s(self) -> float:
        """Return how much of the time is left."""
        return self._load.seconds - self._elapsed_ns() / NS_PER_SECOND

    def _note(self, error: OSError) -> None:
        """Count an attempt that failed."""
        self._sent.failures += 1
        self._sent.error = str(error)

    def _fail(self, error: OSError) -> None:
        """Count an attempt that failed, and let some time go by."""
        self._note(error)
        time.sleep(RETRY_S)


class Filler(PumpSource):
    """Keeps connections filled for a time and then cuts them off; what is bounded arrives whole.

    A connection that breaks is made again: where dozens share a rate, some starve until they
    time out.

    Args:
        flows: a connection for each.
        load: `total_bytes` is of each; once written it is closed in order.

    """

    def __init__(self, flows: Sequence[Flow], load: Load) -> None:
        super().__init__(load)
        self._wanted = list(flows)  # that are not connected
        self._chunk = memoryview(bytes(CHUNK_BYTES))

    def _send(self) -> None:
        poll = selectors.EpollSelector()
        while (left_s := self._left_s()) > 0 and (self._wanted or poll.get_map()):
            wanted, self._wanted = self._wanted, []
            for flow in wanted:
                self._connect(poll, flow)
            for key, _ in poll.select(0 if self._wanted else left_s):
                self._serve(poll, key)
        for key in list(poll.get_map().values()):
            key.fileobj.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            key.fileobj.close()

    def _connect(self, poll: selectors.BaseSelector, flow: Flow) -> None:
        """Begin a connection; it becomes writable once it is made."""
        handle = open_stream(flow)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        handle.setblocking(False)
        try:
            with contextlib.suppress(BlockingIOError):
                handle.connect(flow.target)
        except OSError as error:
            handle.close()
            self._wanted.append(flow)
            self._fail(error)
        else:
            poll.register(handle, selectors.EVENT_WRITE, ReceivedStream(flow))

    def _serve(self, poll: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        """Write as much as there is room for now, or see the end of what is written."""
        total = self._load.total_bytes
        try:
            with contextlib.suppress(BlockingIOError):
                if key.events == selectors.EVENT_READ:
                    key.fileobj.recv(1)  # nothing, once the receiver has read all and closed
                    poll.unregister(key.fileobj)
                    key.fileobj.close()
                    return
                left = total - key.data.payload_bytes if total else CHUNK_BYTES
                size = key.fileobj.send(self._chunk[:left])
                self._sent.units += not key.data.payload_bytes
                self._sent.payload_bytes += size
                key.data.payload_bytes += size
                if total and key.data.payload_bytes >= total:
                    key.fileobj.shutdown(socket.SHUT_WR)
                    poll.modify(key.fileobj, selectors.EVENT_READ, key.data)
        except OSError as error:
            poll.unregister(key.fileobj)
            key.fileobj.close()
            self._wanted.append(key.data.flow)
            self._fail(error)


def open_stream(flow: Flow) -> socket.socket:
    """Return a socket of TCP with the congestion control wanted, or else the machine's own."""
    handle = flow.socket()
    # Of the socket: a namespace may not choose one by sysctl that the first has not released.
    with contextlib.suppress(OSError):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION)
    return handle


def congestion_control(namespace: Namespace) -> str:
    """Return by what congestion control TCP will be sent in a namespace."""
    with namespace.enter(), open_stream(Flow("tcp", "127.0.0.1", 0)) as handle:
        name = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    return name.rstrip(b"\0").decode()
