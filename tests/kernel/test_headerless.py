"""A master without a link-layer header: what the shaper of 1996 forbade (ppp, slip, tun)."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, in4_chksum
from scapy.layers.inet6 import IPv6, in6_chksum

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import HOST, HOST6, REMOTE, REMOTE6, REMOTE_NETWORK, REMOTE_NETWORK6, Pair
from bench.lab.traffic import Flow, Load, Sender, Sink
from bench.lab.wait import wait_until
from tests.kernel.steps import (
    SHAPER,
    Listener,
    Stream,
    belongings,
    link,
    now_ns,
    show,
    wait_carrier,
    wait_state,
)

# Specified by include/uapi/linux/if_tun.h and udp.h.
TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
UDP_SEGMENT = 103

# Chosen.
MODEM = "tun0"
PORT = 9300
RESUME_MS = 1000  # specified: traffic resumes within a second
PACKET_BYTES = 1 << 16
BOTH = pytest.mark.parametrize("address", [REMOTE, REMOTE6])


def open_tun(namespace: Namespace) -> int:
    """Make a device that carries bare IP, and is there as long as this descriptor."""
    with namespace.enter():
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(
            descriptor, TUNSETIFF, struct.pack("16sH22x", MODEM.encode(), IFF_TUN | IFF_NO_PI)
        )
    return descriptor


class ModemLine:
    """A modem at host and peer and the line between them; a context manager.

    Attributes:
        packets: what the host has sent so far, as it came out of its modem.

    """

    def __init__(self, pair: Pair) -> None:
        self.packets: list[bytes] = []
        self._host, self._peer = open_tun(pair.host), open_tun(pair.peer)
        pair.host.ip(
            f"link set {MODEM} up",
            f"address add {HOST}/32 dev {MODEM}",
            f"address add {HOST6}/128 dev {MODEM} nodad",
        )
        pair.peer.ip(
            f"link set {MODEM} up",
            f"route replace {HOST}/32 dev {MODEM}",
            f"route replace {HOST6}/128 dev {MODEM}",
        )
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> ModemLine:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        os.close(self._host)
        os.close(self._peer)

    def _run(self) -> None:
        while not self._is_over.is_set():
            ready, _, _ = select.select([self._host, self._peer], [], [], 0.05)
            for end in ready:
                packet = os.read(end, PACKET_BYTES)
                if end == self._host:
                    self.packets.append(packet)
                os.write(self._peer if end == self._host else self._host, packet)


def shape_line(shaperd: Shaperd, pair: Pair, rate: str) -> None:
    """Put the shaper on top of the host's modem and route the remote networks over it."""
    shaperd.configure("attach", SHAPER, MODEM)
    shaperd.configure("speed", SHAPER, rate)
    pair.host.ip(
        f"link set {SHAPER} up",
        f"address add {HOST}/32 dev {SHAPER}",
        f"address add {HOST6}/128 dev {SHAPER} nodad",
        f"route add {REMOTE_NETWORK} dev {SHAPER}",
        f"route add {REMOTE_NETWORK6} dev {SHAPER}",
    )
    wait_carrier(pair.host, is_on=True)


@pytest.fixture
def line(pair: Pair) -> Iterator[ModemLine]:
    """Join host and peer by modem."""
    with ModemLine(pair) as line:
        yield line


def has_good_checksum(packet: bytes) -> bool:
    """Whether an IP packet's own length and its payload's checksum are right."""
    if packet[0] >> 4 == 4:
        ip = IP(packet)
        return ip.len == len(packet) and in4_chksum(ip.proto, ip, packet[20:]) == 0
    ip = IPv6(packet)
    return ip.plen + 40 == len(packet) and in6_chksum(ip.nh, ip, packet[40:]) == 0


def to_port(line: ModemLine) -> list[bytes]:
    """Return the packets of the tests' own flow: TCP or UDP to PORT."""
    port_at = {4: 22, 6: 42}
    return [
        packet
        for packet in line.packets
        if packet[port_at[packet[0] >> 4] :][:2] == PORT.to_bytes(2, "big")
    ]


@BOTH
def test_packets_arrive_whole(pair: Pair, shaperd: Shaperd, line: ModemLine, address: str) -> None:
    """Bare IP, of its full length, with a right checksum; counted without any header."""
    shape_line(shaperd, pair, "10mbit")
    with Listener(pair.peer, PORT) as listener, Stream(pair.host, address, PORT) as stream:
        stream.wait_for(20)
        stream.stop()
        wait_until(lambda: len(listener.arrivals()) == stream.sent, "every datagram")
    packets = to_port(line)
    assert len(packets) == stream.sent
    assert all(map(has_good_checksum, packets))
    assert show(shaperd)["stats"]["sent_bytes"] == sum(map(len, to_port(line)))


@BOTH
def test_stream_arrives_whole(pair: Pair, shaperd: Shaperd, line: ModemLine, address: str) -> None:
    """TCP in offload frames: the kernel cuts them after the shaper, and the peer takes each."""
    shape_line(shaperd, pair, "200mbit")
    flow = Flow("tcp", address, PORT)
    with Sink(pair.peer, flow) as sink:
        with Sender(pair.host, flow, Load(seconds=10, total_bytes=2_000_000)) as sender:
            assert sender.wait().failures == 0
        assert sink.stop().payload_bytes == 2_000_000
    assert all(map(has_good_checksum, to_port(line)))
    assert show(shaperd)["stats"]["sent_bytes"] == sum(map(len, to_port(line)))


@BOTH
def test_segmented_datagrams_arrive_apart(
    pair: Pair, shaperd: Shaperd, line: ModemLine, address: str
) -> None:
    """One send of eight datagrams (UDP_SEGMENT) is eight packets, each with its own checksum."""
    shape_line(shaperd, pair, "1gbit")
    with pair.host.enter():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        handle = socket.socket(family, socket.SOCK_DGRAM)
    with handle:
        handle.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        handle.sendto(bytes(range(250)) * 32, (address, PORT))
    wait_until(lambda: len(to_port(line)) == 8, "eight packets")
    header_bytes = 48 if ":" in address else 28
    assert {len(packet) for packet in to_port(line)} == {1000 + header_bytes}
    assert all(map(has_good_checksum, to_port(line)))


def test_shaper_asks_no_neighbours(pair: Pair, shaperd: Shaperd, line: ModemLine) -> None:
    """There are none on such a line, so the shaper is NOARP; with a real master it is not."""
    shape_line(shaperd, pair, "1mbit")
    assert "NOARP" in link(pair.host)["flags"]
    shaperd.configure("detach", SHAPER)
    assert "NOARP" not in link(pair.host)["flags"]


def test_modem_that_hangs_up_and_dials_again(pair: Pair, shaperd: Shaperd) -> None:
    """The device goes and comes under its name, as ppp0 does: routes stay, traffic resumes."""
    with Listener(pair.peer, PORT) as listener:
        with ModemLine(pair):
            shape_line(shaperd, pair, "1mbit")
            with Stream(pair.host, port=PORT):
                listener.wait_after(0)
        wait_state(shaperd, "master-missing")
        owned = belongings(pair.host)
        with Stream(pair.host, port=PORT), ModemLine(pair):
            assert listener.wait_after(now_ns()) <= RESUME_MS
            assert belongings(pair.host) == owned
