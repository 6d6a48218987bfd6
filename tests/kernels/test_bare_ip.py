"""Masters that carry bare IP, of every kind that the kernel here can make."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError
from bench.lab.namespaces import Namespace
from bench.lab.topology import (
    HOST,
    HOST6,
    MASTER,
    NIC,
    PEER,
    PEER6,
    REMOTE,
    REMOTE6,
    REMOTE_NETWORK,
    REMOTE_NETWORK6,
    Pair,
)
from bench.lab.traffic import Flow, Load, Sender, Sink
from bench.lab.wait import wait_until
from tests.kernel.steps import SHAPER, show, wait_carrier
from tests.kernels import ppp

# Chosen.
PPPOE_MTU = 1492  # RFC 2516, 7
TUNNEL = "tunnel0"
PORT = 9300
NEAR, FAR = "10.3.0.1", "10.3.0.2"
NEAR6, FAR6 = "fd00:3::1", "fd00:3::2"
RATES = {"plain": "20mbit", "offload": "100mbit"}
TCP_BYTES = {"plain": 1_000_000, "offload": 4_000_000}
UDP_SEGMENT = 103  # include/uapi/linux/udp.h
LEAST_BITS = 4_000_000  # an emulated machine is no judge of more


@contextlib.contextmanager
def pppoe(pair: Pair) -> Iterator[str]:
    """A session over the cable."""
    if (reason := ppp.obstacle()) is not None:
        pytest.skip(reason)
    here, there = (mac(*end) for end in ((pair.host, MASTER), (pair.peer, NIC)))
    with ppp.Session(pair.host, MASTER, there), ppp.Session(pair.peer, NIC, here):
        for namespace in (pair.host, pair.peer):
            namespace.ip(f"link set ppp0 mtu {PPPOE_MTU}")
        yield "ppp0"


@contextlib.contextmanager
def wireguard(pair: Pair) -> Iterator[str]:
    """Two peers that know each other."""
    make(pair, "wireguard", "wireguard")
    try:
        secrets = [run("wg", "genkey") for _ in range(2)]
        publics = [run("wg", "pubkey", text=secret) for secret in secrets]
    except FileNotFoundError:
        pytest.skip("needs wg (package wireguard-tools)")
    ends = ((pair.host, secrets[0], publics[1], PEER), (pair.peer, secrets[1], publics[0], HOST))
    for namespace, secret, public, endpoint in ends:
        namespace.run(
            [
                "wg", "set", TUNNEL, "listen-port", "51820", "private-key", "/dev/stdin",
                "peer", public, "endpoint", f"{endpoint}:51820", "allowed-ips", "0.0.0.0/0,::/0",
            ],
            text=secret,
        )  # fmt: skip
    yield TUNNEL


def tunnel(kind: str, *, is_six: bool = False) -> Callable[[Pair], AbstractContextManager[str]]:
    """Return what makes a tunnel of a kind of `ip link`."""

    @contextlib.contextmanager
    def build(pair: Pair) -> Iterator[str]:
        near, far = (HOST6, PEER6) if is_six else (HOST, PEER)
        make(pair, f"{kind} local {near} remote {far}", f"{kind} local {far} remote {near}")
        yield TUNNEL

    return build


MASTERS = {
    "pppoe": (pppoe, 4, 6),
    "wireguard": (wireguard, 4, 6),
    "gre": (tunnel("gre"), 4, 6),
    "ipip": (tunnel("ipip"), 4),
    "sit": (tunnel("sit"), 6),
    "ip6gre": (tunnel("ip6gre", is_six=True), 4, 6),
    "ip6tnl": (tunnel("ip6tnl mode any", is_six=True), 4, 6),
}
CASES = [
    pytest.param(build, version, offload, id=f"{name}-{offload}-IPv{version}")
    for name, (build, *versions) in MASTERS.items()
    for offload in RATES
    for version in versions
]
EACH = pytest.mark.parametrize(("build", "version", "offload"), CASES)


def run(*argv: str, text: str = "") -> str:
    """Run a program and return what it printed."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make(pair: Pair, here: str, there: str) -> None:
    """Make the tunnel's two ends."""
    try:
        pair.host.ip(f"link add {TUNNEL} type {here}")
    except LabError as error:
        pytest.skip(f"needs a kernel with {here.split()[0]} devices: {error}")
    pair.peer.ip(f"link add {TUNNEL} type {there}")


def mac(namespace: Namespace, device: str) -> bytes:
    """Return a device's link-layer address."""
    (shown,) = json.loads(namespace.run(["ip", "-j", "link", "show", device]).stdout)
    return bytes.fromhex(shown["address"].replace(":", ""))


def shape(shaperd: Shaperd, pair: Pair, master: str, rate: str) -> None:
    """Put the shaper on top of the host's end and route the remote networks over it."""
    for namespace, near, near6 in ((pair.host, NEAR, NEAR6), (pair.peer, FAR, FAR6)):
        namespace.ip(
            f"link set {master} up",
            f"address add {near}/32 dev {master}",
            f"address add {near6}/128 dev {master} nodad",
        )
    pair.peer.ip(f"route add {NEAR}/32 dev {master}", f"route add {NEAR6}/128 dev {master}")
    shaperd.configure("attach", SHAPER, master)
    shaperd.configure("speed", SHAPER, rate)
    pair.host.ip(
        f"link set {SHAPER} up",
        f"address add {NEAR}/32 dev {SHAPER}",
        f"address add {NEAR6}/128 dev {SHAPER} nodad",
        f"route add {REMOTE_NETWORK} dev {SHAPER} src {NEAR}",
        f"route add {REMOTE_NETWORK6} dev {SHAPER} src {NEAR6}",
    )
    wait_carrier(pair.host, is_on=True)


@EACH
def test_a_stream_reaches_the_rate(
    pair: Pair,
    shaperd: Shaperd,
    build: Callable[[Pair], AbstractContextManager[str]],
    version: int,
    offload: str,
) -> None:
    """TCP arrives whole, at its rate, and nothing is lost on the way but what the queue drops."""
    with build(pair) as master:
        shape(shaperd, pair, master, RATES[offload])
        flow = Flow("tcp", REMOTE if version == 4 else REMOTE6, PORT)
        load = Load(seconds=20, total_bytes=TCP_BYTES[offload])
        with Sink(pair.peer, flow) as sink:
            began = time.monotonic()
            with Sender(pair.host, flow, load) as sender:
                assert sender.wait().failures == 0
            took = time.monotonic() - began
            assert sink.stop().payload_bytes == load.total_bytes
        stats = show(shaperd)["stats"]
        rate = load.total_bytes * 8 / took
        print(f"{master} IPv{version} {offload}: {rate / 1e6:.1f} Mbit/s", stats["dropped"])
        assert set(filter(stats["dropped"].get, stats["dropped"])) <= {"codel", "limit", "ring"}
        assert rate > LEAST_BITS


@EACH
def test_datagrams_arrive_apart(
    pair: Pair,
    shaperd: Shaperd,
    build: Callable[[Pair], AbstractContextManager[str]],
    version: int,
    offload: str,
) -> None:
    """One send of eight datagrams (UDP_SEGMENT), and lone ones of any size, arrive as sent."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    address = REMOTE if version == 4 else REMOTE6
    # In no order of lengths: growing by a step each is what a loop does, and costs a frame.
    sizes = sorted(range(0, 256, 15), key=lambda size: size * 7 % 256)
    payloads = [bytes(range(size)) * 5 for size in sizes]
    train = bytes(range(250)) * 32
    with build(pair) as master:
        shape(shaperd, pair, master, RATES[offload])
        with pair.peer.enter():
            receiver = socket.socket(family, socket.SOCK_DGRAM)
        with pair.host.enter():
            sender = socket.socket(family, socket.SOCK_DGRAM)
        with receiver, sender:
            receiver.bind((address, PORT))
            receiver.settimeout(10)
            for payload in payloads:
                sender.sendto(payload, (address, PORT))
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
            sender.sendto(train, (address, PORT))
            arrived = [receiver.recv(65536) for _ in range(len(payloads) + 8)]
        assert arrived == payloads + [train[at : at + 1000] for at in range(0, 8000, 1000)]
        wait_until(lambda: show(shaperd)["stats"]["sent_packets"] >= len(arrived), "the count")
        assert not any(show(shaperd)["stats"]["dropped"].values())


def test_wireguard_without_a_peer(pair: Pair, shaperd: Shaperd) -> None:
    """What no peer is to receive is counted as unreachable, and told by that name."""
    make(pair, "wireguard", "wireguard")
    shape(shaperd, pair, TUNNEL, "20mbit")
    with pair.host.enter():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        sender.sendto(b"nobody", (REMOTE, PORT))
    wait_until(lambda: show(shaperd)["stats"]["dropped"]["unreachable"] == 1, "the drop")
    assert show(shaperd)["stats"]["dropped"]["error"] == 0
