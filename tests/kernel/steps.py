"""What the tests of a running shaper share: the set-up of 1996, a numbered stream, and looking."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import HOST, MASTER, NIC, REMOTE, REMOTE_NETWORK, REMOTE_NETWORK6, Pair
from bench.lab.wait import wait_until
from shapecfg.client import Client
from shaper.units import parse_rate

# Specified by include/uapi/asm-generic/socket.h, of a 64-bit kernel.
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("=qq")
ETH_P_ALL = 0x0003
# By include/uapi/linux/sockios.h and ethtool.h: struct ethtool_cmd, its speed in two halves.
SIOCETHTOOL = 0x8946
ETHTOOL_GSET = struct.pack("=I", 1)
ETHTOOL_CMD_BYTES = 44
ETHTOOL_SPEED_AT = (12, 28)

NS_PER_SECOND = 10**9
NS_PER_MS = 10**6

# Chosen.
SHAPER = "shaper0"
PORT = 9100
PERIOD_S = 0.004  # between two datagrams of a stream
BUFFER_BYTES = 8 << 20
HEADROOM_BYTES = 1 << 17  # more than any frame or datagram
NUMBER = struct.Struct("=Q")

Arrival = tuple[int, int]  # CLOCK_REALTIME in nanoseconds, the datagram's number


def shape(daemon: Shaperd, pair: Pair, rate: str = "1mbit", ifname: str = SHAPER) -> None:
    """Attach the shaper, set its speed, and route the remote networks over it."""
    client = Client(str(daemon.socket))
    client.attach(ifname, MASTER)
    client.set_speed(ifname, parse_rate(rate).rate_bits)
    route(pair, ifname)


def route(pair: Pair, ifname: str = SHAPER) -> None:
    """Give the shaper the host's address and the routes to the remote networks."""
    pair.host.ip(
        f"address add {HOST}/28 dev {ifname}",
        f"link set {ifname} up",
        f"route add {REMOTE_NETWORK} dev {ifname}",
        f"route add {REMOTE_NETWORK6} dev {ifname}",
    )


def plug(pair: Pair) -> int:
    """Lay the cable again after its removal, the peer first; return when the master came up.

    A master that asks for a neighbour before that has its address asks again a second later.
    """
    far = f"netns /proc/self/fd/{pair.peer.descriptor}"
    pair.host.ip(
        f"link add {MASTER} type veth peer name {NIC} {far}", pass_fds=(pair.peer.descriptor,)
    )
    pair.peer.ip(f"link set {NIC} up", f"address add {REMOTE}/24 dev {NIC}")
    up_ns = now_ns()
    pair.host.ip(f"link set {MASTER} up", f"address add {HOST}/24 dev {MASTER}")
    return up_ns


@contextlib.contextmanager
def frozen(shaperd: Shaperd) -> Iterator[None]:
    """Stop the supervisor, so that what happens meanwhile reaches it together."""
    os.kill(shaperd.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(shaperd.pid, signal.SIGCONT)


def ip_json(namespace: Namespace, *arguments: str) -> list[dict[str, Any]]:
    """Return what `ip -json` tells."""
    answer = namespace.run(["ip", "-j", *arguments]).stdout
    return list(json.loads(answer or "[]"))


def link(namespace: Namespace, ifname: str = SHAPER) -> dict[str, Any]:
    """Return what `ip link show` tells of a device, its statistics included."""
    (shown,) = ip_json(namespace, "-s", "-s", "link", "show", "dev", ifname)
    return shown


def speed_mbit(namespace: Namespace, ifname: str = SHAPER) -> int:
    """Return the speed that `ethtool` would show, in Mbit/s."""
    command = ctypes.create_string_buffer(ETHTOOL_GSET, ETHTOOL_CMD_BYTES)
    request = struct.pack("16sP16x", ifname.encode(), ctypes.addressof(command))
    with namespace.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, SIOCETHTOOL, request)
    low, high = (struct.unpack_from("=H", command, at)[0] for at in ETHTOOL_SPEED_AT)
    return int(low | high << 16)


def exists(namespace: Namespace, ifname: str = SHAPER) -> bool:
    """Whether there is a device of this name."""
    with namespace.enter():
        return ifname in {name for _, name in socket.if_nameindex()}


def has_carrier(namespace: Namespace, ifname: str = SHAPER) -> bool:
    """Whether a device shows carrier."""
    return "LOWER_UP" in link(namespace, ifname)["flags"]


def wait_carrier(namespace: Namespace, *, is_on: bool, ifname: str = SHAPER) -> None:
    """Wait until a device shows carrier, or none."""
    wait_until(
        lambda: has_carrier(namespace, ifname) is is_on,
        f"{ifname} {'with' if is_on else 'without'} carrier",
    )


def show(daemon: Shaperd, ifname: str = SHAPER) -> dict[str, Any]:
    """Return what `shapecfg -j show` tells of a shaper, without a process for it."""
    (shown,) = Client(str(daemon.socket)).show(ifname)
    return dict(shown)


def wait_state(daemon: Shaperd, state: str, ifname: str = SHAPER) -> dict[str, Any]:
    """Wait until a shaper is in a state, and return what `show` tells of it."""

    def look() -> dict[str, Any] | None:
        shown = show(daemon, ifname)
        return shown if shown["state"] == state else None

    shown = wait_until(look, f"{ifname} to be {state}")
    assert shown is not None
    return shown


def belongings(namespace: Namespace, ifname: str = SHAPER) -> set[tuple[str, ...]]:
    """Return the addresses and routes of a device; whether it has carrier plays no part."""
    (shown,) = ip_json(namespace, "address", "show", "dev", ifname)
    addresses = {("address", each["local"]) for each in shown["addr_info"]}
    routes = {
        ("route", each["dst"], each.get("gateway", ""))
        for version in ("-4", "-6")
        for each in ip_json(namespace, version, "route", "show", "dev", ifname)
    }
    return addresses | routes


def dropped(shown: dict[str, Any]) -> int:
    """Return how many frames a shaper counts as dropped, for whatever reason."""
    return sum(shown["stats"]["dropped"].values())


class Stream:
    """Sends a numbered datagram every few milliseconds, come what may; a context manager.

    Attributes:
        sent: how many sends the kernel took so far.

    """

    def __init__(self, namespace: Namespace, address: str = REMOTE, port: int = PORT) -> None:
        self.sent = 0
        self._target = (address, port)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with namespace.enter():
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more."""
        self._is_over.set()
        self._thread.join()
        self._socket.close()

    def wait_for(self, datagrams: int) -> None:
        """Wait until this many more have been sent."""
        goal = self.sent + datagrams
        wait_until(lambda: self.sent >= goal, f"{datagrams} more datagrams to be sent")

    def _run(self) -> None:
        while not self._is_over.wait(PERIOD_S):
            # An unreachable network is part of what is tested: the stream goes on.
            with contextlib.suppress(OSError):
                self._socket.sendto(NUMBER.pack(self.sent), self._target)
                self.sent += 1


class Listener:
    """Takes a stream at the peer, whatever becomes of the peer's device; a context manager."""

    def __init__(self, namespace: Namespace, port: int = PORT) -> None:
        with namespace.enter():
            self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self._socket.setblocking(False)
        self._socket.bind(("::", port))
        self._arrivals: list[Arrival] = []

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def arrivals(self) -> list[Arrival]:
        """Return everything that has arrived so far, as the kernel stamped it."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, [(_, _, stamp)], _, _ = self._socket.recvmsg(HEADROOM_BYTES, 64)
                seconds, nanoseconds = TIMESPEC.unpack(stamp)
                (number,) = NUMBER.unpack_from(data)
                self._arrivals.append((seconds * NS_PER_SECOND + nanoseconds, number))
        return self._arrivals

    def since(self, start_ns: int) -> list[Arrival]:
        """Return what arrived after a moment."""
        return [arrival for arrival in self.arrivals() if arrival[0] > start_ns]

    def wait_after(self, start_ns: int, what: str = "traffic") -> int:
        """Wait for the first arrival after a moment; return how long after, in milliseconds."""
        arrivals = wait_until(lambda: self.since(start_ns), f"{what} at the peer")
        return (arrivals[0][0] - start_ns) // NS_PER_MS

    def longest_gap_ms(self, start_ns: int, end_ns: int) -> int:
        """Return the longest time without an arrival between two moments, in milliseconds."""
        inside = [time_ns for time_ns, _ in self.arrivals() if start_ns < time_ns < end_ns]
        edges = [start_ns, *inside, end_ns]
        return max(later - earlier for earlier, later in pairwise(edges)) // NS_PER_MS


class Tapper:
    """Every frame that passes an interface from now on, whole; a context manager."""

    def __init__(self, namespace: Namespace, ifname: str) -> None:
        with namespace.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
            self._socket.bind((ifname, ETH_P_ALL))
        self._socket.setblocking(False)
        self._frames: list[bytes] = []

    def __enter__(self) -> Tapper:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def frames(self) -> list[bytes]:
        """Return the frames so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._frames.append(self._socket.recv(HEADROOM_BYTES))
        return self._frames


def now_ns() -> int:
    """Return the time on the clock of arrivals."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)
