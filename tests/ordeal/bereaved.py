"""A forwarder of a thousand shapers dies: when each of them carries frames again.

One of them is in use: a stream tells when it stood still. Nothing has ever left by the others. So
right after the death a frame is put into the ring of each, by a packet socket, and the time at
which it arrives at the peer is when its shaper has been handed over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from dataclasses import dataclass

from bench.lab.namespaces import Namespace
from bench.lab.topology import HOST, NIC, REMOTE_NETWORK, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import (
    BUFFER_BYTES,
    NS_PER_SECOND,
    SO_RCVBUFFORCE,
    SO_TIMESTAMPNS,
    TIMESPEC,
    Listener,
    Stream,
    now_ns,
)
from tests.ordeal.campaign import Trial, campaign
from tests.ordeal.forwarder_deaths import (
    MANY,
    NS_PER_MS,
    SETTLED_S,
    forwarder_of,
    many,
    passes_again,
)

FIRST_NS, ALL_NS = 300_000_000, 1_000_000_000  # specified: until they pass again
_WAIT_S = 10.0

# IEEE 802: an EtherType for experiments.
_EXPERIMENTAL = 0x88B5
_KNOCK = struct.Struct("!6s6sHH42x")
_EVERYBODY, _NOBODY = b"\xff" * 6, b"\x02" * 6


class Knocks:
    """A frame through each of many shapers, and when it arrives; a context manager.

    Args:
        pair: where the shapers are, and where the frames arrive.
        count: how many shapers there are.
    """

    def __init__(self, pair: Pair, count: int) -> None:
        self._count = count
        self._sender = _packet_socket(pair.host)
        self._receiver = _packet_socket(pair.peer)
        self._receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self._receiver.bind((NIC, _EXPERIMENTAL))
        self._receiver.setblocking(False)
        self._arrivals: dict[int, int] = {}

    def __enter__(self) -> Knocks:
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.close()
        self._receiver.close()

    def send(self) -> None:
        """Put a frame into the ring of each."""
        for number in range(self._count):
            frame = _KNOCK.pack(_EVERYBODY, _NOBODY, _EXPERIMENTAL, number)
            self._sender.sendto(frame, (f"shaper{number}", _EXPERIMENTAL))

    def arrivals(self) -> dict[int, int]:
        """Return when the frames have arrived, by the shapers' numbers."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, [(_, _, stamp)], _, _ = self._receiver.recvmsg(2048, 64)
                seconds, nanoseconds = TIMESPEC.unpack(stamp)
                number = _KNOCK.unpack_from(frame)[3]
                self._arrivals[number] = seconds * NS_PER_SECOND + nanoseconds
        return self._arrivals

    def have_arrived(self) -> bool:
        """Whether a frame has arrived from each."""
        return len(self.arrivals()) == self._count


@dataclass(frozen=True)
class Bereavement:
    """How many nanoseconds it took until the shaper in use passed frames, and until all did."""

    first_ns: int
    all_ns: int


def bereave(count: int = MANY) -> Bereavement:
    """Kill the forwarder of so many shapers, the last of them in use, and watch each."""
    with many(count) as (pair, shaperd, _start_ns):
        last = f"shaper{count - 1}"
        pair.host.ip(f"address add {HOST}/28 dev {last}", f"route add {REMOTE_NETWORK} dev {last}")
        with Listener(pair.peer) as listener, Stream(pair.host), Knocks(pair, count) as knocks:
            listener.wait_after(now_ns())
            wait_until(shaperd.standby_pids, "a forwarder that stands by")
            time.sleep(SETTLED_S)
            at_ns = now_ns()
            os.kill(forwarder_of(shaperd), signal.SIGKILL)
            knocks.send()
            wait_until(knocks.have_arrived, "a frame through each", _WAIT_S)
            all_ns = max(knocks.arrivals().values()) - at_ns
            return Bereavement(passes_again(listener, at_ns), all_ns)


@campaign("many bereaved", count=5)
def kill_the_forwarder_of_many(trial: Trial) -> None:
    """After the death of their forwarder a thousand shapers carry frames again in a second."""
    for _ in trial:
        seen = bereave()
        trial.stalled(seen.all_ns)
        told = f"in use after {seen.first_ns // NS_PER_MS} ms, all {seen.all_ns // NS_PER_MS}"
        print(f"  {told}")
        if seen.first_ns > FIRST_NS or seen.all_ns > ALL_NS:
            trial.failed(told)


def _packet_socket(namespace: Namespace) -> socket.socket:
    with namespace.enter():
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
