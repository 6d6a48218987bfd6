"""What the tests of delay and fairness share: bulk traffic, probes beside it, and their figures.

Both ends are on one machine and so on one clock. A probe bears the time at which it was sent and
the peer's kernel stamps its arrival: the difference is what it waited on the way, in the TAP's
ring, in the queue and in front of the processor. That last part is not the shaper's doing, so
tests take the best of a few attempts (`shaping.hold`).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from bench.lab.capture import FrameCapture, Recording
from bench.lab.datagrams import Course, Datagrams, Pit, flooding
from bench.lab.errors import LabError
from bench.lab.filters import HEADERS, NETWORK_AT, Wanted
from bench.lab.law import BITS_PER_BYTE, NS_PER_SECOND, Frame
from bench.lab.task import Task
from bench.lab.topology import NIC, REMOTE, Pair
from bench.lab.traffic import Flow, Load, Sender, Sink
from bench.lab.wait import wait_until
from tests.kernel.steps import NS_PER_MS, NUMBER, PORT, Listener, now_ns

# Chosen.
BULK_PORT = PORT + 1
FLOOD_PORT = PORT + 2
FLOOD_FRAME_BYTES = 1514
BULK_S = 30.0  # much longer than anybody looks at it
SETTLE_S = 0.6  # in which TCP fills whatever there is to fill
PROBE_S = 0.008  # between two probes
LAST_PROBE_S = 0.5  # longer than any queue of these tests

CE = 0b11  # RFC 3168, 5
IPV4_HEADER = struct.Struct("!10H")


@dataclass(frozen=True)
class Waits:
    """How long probes waited.

    Attributes:
        waits_ms: of those that arrived, the shortest first.
        lost: how many did not.

    """

    waits_ms: list[float]
    lost: int

    def percentile(self, percent: int) -> float:
        """Return the milliseconds that so many percent of the probes waited at most."""
        return self.waits_ms[(len(self.waits_ms) - 1) * percent // 100]


@contextlib.contextmanager
def bulk(pair: Pair, connections: int, address: str = REMOTE) -> Iterator[None]:
    """Keep so many TCP connections filled, from long enough ago that they fill a queue."""
    flow = Flow("tcp", address, BULK_PORT)
    # Else a connection begins with what another one learnt of the path.
    pair.host.sysctl("net/ipv4/tcp_no_metrics_save", 1)
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(Sink(pair.peer, flow))
        # A sender that ends leaves what is unsent to its kernel, which then sends that, unless
        # there is nobody any more to receive it.
        stack.callback(sink.close)
        for _ in range(connections):
            stack.enter_context(Sender(pair.host, flow, Load(seconds=BULK_S)))
        time.sleep(SETTLE_S)
        yield


@contextlib.contextmanager
def flood(pair: Pair, pace_bits: int, *, frame_bytes: int = FLOOD_FRAME_BYTES) -> Iterator[None]:
    """Send datagrams that nobody asked for and no loss slows down."""
    target = (REMOTE, FLOOD_PORT)
    pit = Pit(pair.peer, target)
    datagrams = Datagrams([Course(target, frame_bytes, pace_bits)], flooding(BULK_S))
    try:
        with Task(pair.host, datagrams):
            yield
    finally:
        pit.close()


def probe(pair: Pair, seconds: float, address: str = REMOTE) -> Waits:
    """Send small datagrams for a time, and tell how long each was on the way."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with Listener(pair.peer) as listener:
        with pair.host.enter():
            sender = socket.socket(family, socket.SOCK_DGRAM)
        sent = 0
        with sender:
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                sender.sendto(NUMBER.pack(now_ns()), (address, PORT))
                sent += 1
                time.sleep(PROBE_S)
                # What came before the kernel had begun to stamp is stamped when it is read.
                listener.arrivals()
        with contextlib.suppress(LabError):
            wait_until(lambda: len(listener.arrivals()) >= sent, "all probes", LAST_PROBE_S)
        arrivals = listener.arrivals()
    waits_ms = sorted((arrived_ns - sent_ns) / NS_PER_MS for arrived_ns, sent_ns in arrivals)
    return Waits(waits_ms, sent - len(arrivals))


def bulk_capture(pair: Pair, address: str = REMOTE) -> FrameCapture:
    """Begin to record the frames of bulk traffic where they arrive."""
    return FrameCapture(pair.peer, NIC, Wanted(address, "tcp", BULK_PORT))


def share(frames: list[Frame], rate_bits: int, start_ns: int, end_ns: int) -> float:
    """Return which part of a rate some frames took between two moments."""
    sent_bits = sum(size for at_ns, size in frames if start_ns < at_ns < end_ns) * BITS_PER_BYTE
    return sent_bits * NS_PER_SECOND / ((end_ns - start_ns) * rate_bits)


def bytes_by_flow(recording: Recording, version: int) -> list[int]:
    """Return the wire bytes of each connection, told apart by the sender's port."""
    port_at = NETWORK_AT + HEADERS[version][3] - 2
    sizes: Counter[bytes] = Counter()
    for index, size in enumerate(recording.wire_bytes):
        sizes[recording.header(index)[port_at : port_at + 2]] += size
    return sorted(sizes.values())


def marked(recording: Recording, version: int) -> int:
    """Return how many frames say that they have met congestion."""
    headers = (recording.header(index) for index in range(len(recording.wire_bytes)))
    return sum(_codepoint(header, version) == CE for header in headers)


def wrong_checksums(recording: Recording) -> int:
    """Return how many IPv4 headers do not add up (RFC 791, 3.1)."""
    return sum(
        sum(IPV4_HEADER.unpack_from(recording.header(index), NETWORK_AT)) % 0xFFFF != 0
        for index in range(len(recording.wire_bytes))
    )


def _codepoint(header: bytes, version: int) -> int:
    """Return the ECN bits: the lowest of the second byte, or four bits to the left of there."""
    return header[NETWORK_AT + 1] >> (0 if version == 4 else 4) & CE
