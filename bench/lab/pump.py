"""The processes that make and take traffic; `bench.lab.traffic` is how to ask for them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import selectors
import socket
import struct
import sys
import time

from bench.lab import worker
from bench.lab.traffic import Flow, Load, Received, Sent

NS_PER_SECOND = 10**9
BITS_PER_BYTE = 8
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
ABORT = struct.pack("=ii", 1, 0)  # struct linger: close with a reset and drop what is unsent

# Chosen.
CHUNK_BYTES = 1 << 16  # of a TCP write
RECEIVE_BYTES = 1 << 20  # of a read
BATCH = 256  # reads of one socket before others are looked at
BACKLOG = 64
SINK_BUFFER_BYTES = 8 << 20  # so that a UDP sink need not run for every frame
RETRY_S = 0.002  # after an error, so that a path that is down is not hammered
PACE_S = 0.001  # how long a paced sender that is ahead sleeps


def _socket(flow: Flow) -> socket.socket:
    """Open a socket of the flow's kind."""
    family = socket.AF_INET if flow.version == 4 else socket.AF_INET6
    return socket.socket(
        family, socket.SOCK_STREAM if flow.protocol == "tcp" else socket.SOCK_DGRAM
    )


class Drain:
    """Counts what arrives for one flow and throws it away."""

    def __init__(self, flow: Flow) -> None:
        self._is_tcp = flow.protocol == "tcp"
        self._buffer = bytearray(RECEIVE_BYTES)
        self._payload_bytes = 0
        self._units = 0
        self._selector = selectors.DefaultSelector()
        self._entrance = _socket(flow)
        self._open(flow)
        self._selector.register(0, selectors.EVENT_READ)
        self._selector.register(self._entrance, selectors.EVENT_READ)

    def _open(self, flow: Flow) -> None:
        """Make the flow's address receive."""
        self._entrance.setblocking(False)
        self._entrance.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._entrance.bind((flow.address, flow.port))
        if self._is_tcp:
            self._entrance.listen(BACKLOG)
            return
        # Older kernels refuse this inside a user namespace; the default has to do there.
        with contextlib.suppress(PermissionError):
            self._entrance.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SINK_BUFFER_BYTES)

    def run(self) -> Received:
        """Count until standard input ends, and then what has already arrived."""
        is_ended = False
        while ready := self._selector.select(0 if is_ended else None):
            for key, _ in ready:
                if key.fileobj == 0:
                    is_ended = worker.input_ended()
                    self._selector.unregister(0)
                elif self._is_tcp and key.fileobj is self._entrance:
                    self._accept()
                else:
                    self._read(key.fileobj)
        return Received(self._payload_bytes, self._units)

    def _accept(self) -> None:
        """Take a new connection."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._entrance.accept()
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ)
            self._units += 1

    def _read(self, source: socket.socket) -> None:
        """Read what one socket has; a connection that has ended is closed."""
        try:
            for _ in range(BATCH):
                # MSG_TRUNC: the kernel throws the payload away and only tells its length.
                size = source.recv_into(self._buffer, RECEIVE_BYTES, socket.MSG_TRUNC)
                if self._is_tcp and not size:
                    raise ConnectionError
                self._payload_bytes += size
                self._units += not self._is_tcp
        except BlockingIOError:
            return
        except ConnectionError:
            self._selector.unregister(source)
            source.close()


class Source:
    """Sends one flow until its time or its bytes are used up."""

    def __init__(self, flow: Flow, load: Load) -> None:
        self._flow = flow
        self._load = load
        self._start_ns = time.monotonic_ns()
        self._payload_bytes = 0
        self._units = 0
        self._failures = 0
        self._error = ""

    def run(self) -> Sent:
        """Send, and tell what was sent."""
        if self._flow.protocol == "tcp":
            self._send_stream()
        else:
            self._send_datagrams()
        return Sent(self._payload_bytes, self._units, self._failures, self._error)

    def _elapsed_ns(self) -> int:
        """Return the time since the start."""
        return time.monotonic_ns() - self._start_ns

    def _remaining_s(self) -> float:
        """Return how much of the time is left, never nothing: that would mean not to block."""
        return max(0.001, self._load.seconds - self._elapsed_ns() / NS_PER_SECOND)

    def _is_over(self) -> bool:
        """Whether the time or the bytes are used up."""
        total = self._load.total_bytes
        is_late = self._elapsed_ns() >= self._load.seconds * NS_PER_SECOND
        return is_late or bool(total and self._payload_bytes >= total)

    def _fail(self, error: OSError) -> None:
        """Count an attempt that failed, and let some time go by."""
        self._failures += 1
        self._error = str(error)
        time.sleep(RETRY_S)

    def _is_ahead(self) -> bool:
        """Whether a paced sender has sent what its rate has earned so far."""
        frame_cost = self._load.frame_bytes * BITS_PER_BYTE * NS_PER_SECOND
        return self._units * frame_cost > self._load.pace_bits * self._elapsed_ns()

    def _send_datagrams(self) -> None:
        """Send datagrams, paced or as fast as the socket takes them."""
        payload = bytes(self._flow.payload_bytes(self._load.frame_bytes))
        target = (self._flow.address, self._flow.port)
        with _socket(self._flow) as handle:
            while not self._is_over():
                if self._load.pace_bits and self._is_ahead():
                    time.sleep(PACE_S)
                    continue
                try:
                    self._payload_bytes += handle.sendto(payload, target)
                    self._units += 1
                except OSError as error:
                    self._fail(error)

    def _send_stream(self) -> None:
        """Connect, as often as it takes, and fill one connection."""
        while not self._is_over() and not self._units:
            with _socket(self._flow) as handle:
                if self._load.send_buffer_bytes:
                    size = self._load.send_buffer_bytes
                    handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
                handle.settimeout(self._remaining_s())
                try:
                    handle.connect((self._flow.address, self._flow.port))
                    self._units = 1
                    self._fill(handle)
                except OSError as error:
                    self._fail(error)

    def _fill(self, handle: socket.socket) -> None:
        """Write until all is written, then close in order; or until time is up, then abort."""
        chunk = bytes(CHUNK_BYTES)
        while not self._is_over():
            handle.settimeout(self._remaining_s())
            left = self._load.total_bytes - self._payload_bytes
            with contextlib.suppress(TimeoutError):
                self._payload_bytes += handle.send(chunk[:left] if left > 0 else chunk)
        if self._load.total_bytes and self._payload_bytes >= self._load.total_bytes:
            handle.shutdown(socket.SHUT_WR)
            handle.settimeout(self._remaining_s())
            handle.recv(1)  # nothing, once the sink has read all and closed
        else:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)


def main() -> None:
    """Be a sink, or send, as the arguments say, and write the report."""
    role, flow = sys.argv[1], Flow(**json.loads(sys.argv[2]))
    if role == "sink":
        drain = Drain(flow)
        worker.announce_ready()
        report: Received | Sent = drain.run()
    else:
        worker.announce_ready()
        report = Source(flow, Load(**json.loads(sys.argv[3]))).run()
    print(json.dumps(dataclasses.asdict(report)))


if __name__ == "__main__":
    main()
