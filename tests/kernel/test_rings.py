"""A tunnel as master, with its far end routed over its own shaper: the ring ends, and is told."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import HOST, MASTER, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import SHAPER, show, wait_carrier
from tests.kernel.test_headerless import MODEM, open_tun

FAR_END = "10.7.0.1"
INSIDE = "10.1.0.9"
MOST_FRAMES = 100


class TunnelRelay:
    """A program that makes a tunnel: what its device sends goes on by UDP, encrypted in a way."""

    def __init__(self, pair: Pair) -> None:
        self._tun = open_tun(pair.host)
        with pair.host.enter():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._socket.close()
        os.close(self._tun)

    def _run(self) -> None:
        while not self._is_over.is_set():
            if select.select([self._tun], [], [], 0.02)[0]:
                packet = os.read(self._tun, 65536)
                padding = bytes(-len(packet) % 16)
                sealed = os.urandom(32) + bytes(each ^ 0xA5 for each in packet) + padding
                with contextlib.suppress(OSError):  # what a device sends of itself has no route
                    self._socket.sendto(sealed, (FAR_END, 1194))


def stats(shaperd: Shaperd) -> dict[str, Any]:
    """Return the counters of the shaper."""
    counters: dict[str, Any] = show(shaperd)["stats"]
    return counters


@pytest.fixture(params=["tun", "vxlan"])
def tunnel(request: pytest.FixtureRequest, pair: Pair) -> Iterator[str]:
    """A tunnel of a program, or of the kernel, towards FAR_END."""
    if request.param == "tun":
        with TunnelRelay(pair):
            pair.host.ip(f"link set {MODEM} up")
            yield MODEM
    else:
        pair.host.ip(
            f"link add vx0 type vxlan id 7 remote {FAR_END} local {HOST} dstport 4789",
            "link set vx0 address 02:00:00:00:00:07 up",
        )
        yield "vx0"


def test_a_ring_ends_and_is_told(pair: Pair, shaperd: Shaperd, tunnel: str) -> None:
    """One packet goes round a dozen times; then counters, show and the log tell of it."""
    shaperd.configure("attach", SHAPER, tunnel)
    shaperd.configure("speed", SHAPER, "100mbit")
    pair.host.ip(f"link set {SHAPER} up", f"address add {HOST}/32 dev {SHAPER}")
    wait_carrier(pair.host, is_on=True)
    pair.host.ip(f"route add {INSIDE} dev {SHAPER}", f"route add {FAR_END} dev {SHAPER}")
    for address in (INSIDE, FAR_END):
        pair.host.ip(f"neighbour replace {address} lladdr 02:00:00:00:00:08 dev {SHAPER}")
    with pair.host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(bytes(56), (INSIDE, 9))
    wait_until(lambda: stats(shaperd)["dropped"]["loop"] > 0, "the ring is found")
    settled = stats(shaperd)["sent_packets"]
    assert settled <= MOST_FRAMES
    wait_until(lambda: "comes back" in str(show(shaperd)["warnings"]), "a warning")
    assert stats(shaperd)["sent_packets"] == settled
    wait_until(lambda: "comes back" in shaperd.log(), "a line in the log")


def test_a_loop_of_a_kernel_tunnel_is_told_before_a_frame(pair: Pair, shaperd: Shaperd) -> None:
    """Where the far end can be read, `attach` and `show` warn of its route, and of no other."""
    pair.host.ip(
        f"link add vx0 type vxlan id 7 remote {FAR_END} local {HOST} dstport 4789",
        "link set vx0 up",
        f"link set {SHAPER} up",
        f"address add {HOST}/32 dev {SHAPER}",
        f"route add {FAR_END} dev {SHAPER}",
    )
    told = shaperd.shapecfg("attach", SHAPER, "vx0").stderr
    assert f"comes back to it: {FAR_END}, the far end of vx0" in told
    pair.host.ip(f"route replace {FAR_END} dev {MASTER}")
    wait_until(lambda: "comes back" not in str(show(shaperd)["warnings"]), "the route is seen")
    pair.host.ip(f"route replace {FAR_END} dev {SHAPER}")
    wait_until(lambda: FAR_END in str(show(shaperd)["warnings"]), "the loop is seen")
    assert stats(shaperd)["sent_packets"] == 0
