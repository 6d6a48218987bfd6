"""Traffic taken from other masters: with tags, without link headers, and without the right."""

from __future__ import annotations

import shutil
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import (
    HOST,
    HOST6,
    MASTER,
    NIC,
    REMOTE,
    REMOTE6,
    REMOTE_NETWORK,
    REMOTE_NETWORK6,
    Pair,
)
from bench.lab.traffic import Flow, Load, Sender, Sink
from tests.kernel.steps import SHAPER, shape, show, wait_state
from tests.kernel.test_headerless import MODEM, ModemLine

OTHER = "shaper1"
# Specified by include/uapi/linux/if_packet.h.
SOL_PACKET = 263
PACKET_AUXDATA = 8
AUXDATA = struct.Struct("=IIIHHHH")  # the last but one is the tag
VLAN = 42
MARK = b"of a VLAN"
TAGGED = b"\xff" * 6 + bytes(5) + b"\x01" + struct.pack("!HHH", 0x8100, VLAN, 0x88B5) + MARK
PORT = 9300
TOTAL_BYTES = 2_000_000


def take_both(daemon: Shaperd, master: str) -> None:
    """Take what a master sends and what it receives."""
    daemon.configure("add", OTHER)
    for ifname, how in ((SHAPER, "egress"), (OTHER, "ingress")):
        daemon.configure("attach", ifname, master, how)
        daemon.configure("speed", ifname, "200mbit")


def tags(receiver: socket.socket) -> list[int]:
    """Return the tags of the marked frames that come within half a second of the last."""
    found: list[int] = []
    while True:
        try:
            data, [(_, _, told)], _, _ = receiver.recvmsg(1 << 16, 256)
        except TimeoutError:
            return found
        if MARK in data:
            found.append(AUXDATA.unpack(told)[5])


def send_tagged(source: Namespace, device: str, target: Namespace, other: str) -> list[int]:
    """Send a frame with a tag; return the tag each time the frame is seen at the other end."""
    with target.enter():
        receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with source.enter():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with receiver, sender:
        receiver.bind((other, 3))
        receiver.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        receiver.settimeout(0.5)
        sender.bind((device, 0))
        sender.send(TAGGED + bytes(40))
        return tags(receiver)


def test_a_vlan_tag_stays(pair: Pair, shaperd: Shaperd) -> None:
    """Sent and received; what captures on the master itself sees a frame before and after."""
    take_both(shaperd, MASTER)
    assert send_tagged(pair.host, MASTER, pair.peer, NIC) == [VLAN]
    assert send_tagged(pair.peer, NIC, pair.host, MASTER) == [VLAN, VLAN]


@pytest.mark.parametrize(("source", "address"), [(HOST, REMOTE), (HOST6, REMOTE6)])
def test_a_master_without_link_header(
    pair: Pair, shaperd: Shaperd, source: str, address: str
) -> None:
    """Bare IP both ways, in offload frames too; each packet is counted without a header."""
    with ModemLine(pair):
        take_both(shaperd, MODEM)
        network = REMOTE_NETWORK6 if ":" in address else REMOTE_NETWORK
        pair.host.ip(f"route add {network} dev {MODEM}")
        pair.host.run(["ping", "-c", "2", "-i", "0.1", "-W", "1", "-I", source, address])
        flow = Flow("tcp", address, PORT)
        with Sink(pair.peer, flow) as sink:
            with Sender(pair.host, flow, Load(seconds=10, total_bytes=TOTAL_BYTES)) as sender:
                assert sender.wait().failures == 0
            assert sink.stop().payload_bytes == TOTAL_BYTES
    for ifname in (SHAPER, OTHER):
        stats = show(shaperd, ifname)["stats"]
        assert stats["sent_packets"] > 2
        assert not any(stats["dropped"].values())


class Weak(Namespace):
    """A view of a namespace in which programs are started without the right to load programs."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def popen(self, argv: Sequence[str], **options: Any) -> Any:
        """Start a program with less than root has."""
        weaker = ["setpriv", "--bounding-set", "-bpf,-sys_admin"]
        return self._namespace.popen([*weaker, *argv], **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._namespace, name)


def test_without_the_right_routes_still_work(pair: Pair, tmp_path: Path) -> None:
    """One sentence names what is missing, and nothing is changed."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs the setpriv command (package util-linux)")
    with Shaperd(Weak(pair.host), directory=tmp_path) as daemon:
        weaker = Shaperd(pair.host, directory=tmp_path)
        done = weaker.shapecfg("attach", SHAPER, MASTER, "egress")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "CAP_BPF is needed" in done.stderr
        assert "by route still work" in done.stderr
        assert show(daemon)["link"] is None
        shape(weaker, pair)
        wait_state(daemon, "active")
