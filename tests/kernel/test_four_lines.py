"""The four lines of 1996, typed as they were, and what then arrives at the peer."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Sequence

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from bench.lab.daemon import Shaperd
from bench.lab.topology import HOST, HOST6, MASTER, NIC, PEER, REMOTE, REMOTE6, Pair
from bench.lab.traffic import Flow, Load
from bench.lab.wait import wait_until
from tests.kernel.shaping import TCP_LACK_PERCENT, Errand, hold, measure, surplus
from tests.kernel.steps import PORT, SHAPER, Tapper, link, shape, wait_state

RATE_BITS = 64_000
UDP_SEGMENT = 103  # include/uapi/linux/udp.h
PORT_AT = {4: 36, 6: 56}  # where a frame without options has its destination port

# The last two of the four, in the words of their time and of ours.
NET_TOOLS = (
    f"ifconfig {SHAPER} {HOST} netmask 255.255.255.240 broadcast 10.0.0.15 up",
    f"route add -net 10.1.0.0 netmask 255.255.255.0 dev {SHAPER}",
)
IPROUTE2 = (
    f"ip addr add {HOST}/28 broadcast 10.0.0.15 dev {SHAPER}",
    f"ip link set {SHAPER} up",
    f"ip route add 10.1.0.0/24 dev {SHAPER}",
)


def type_four_lines(pair: Pair, daemon: Shaperd, last_lines: Sequence[str]) -> None:
    """Attach, set the speed in bits per second, and then the lines given."""
    for program in {line.split()[0] for line in last_lines}:
        if shutil.which(program) is None:
            pytest.skip(f"needs the {program} command (package net-tools)")
    daemon.configure("attach", SHAPER, MASTER)
    daemon.configure("speed", SHAPER, str(RATE_BITS))
    for line in last_lines:
        pair.host.run(line.split())


@pytest.mark.light
@pytest.mark.timed
@pytest.mark.parametrize("last_lines", [NET_TOOLS, IPROUTE2], ids=["net-tools", "iproute2"])
def test_the_four_lines_of_1996_shape(
    pair: Pair, shaperd: Shaperd, last_lines: Sequence[str]
) -> None:
    """Nothing but the four lines, and UDP and TCP reach the remote network at the set speed."""
    type_four_lines(pair, shaperd, last_lines)
    wait_state(shaperd, "active")

    def attempt(protocol: str, load: Load, lack_percent: float) -> list[str]:
        (measured,) = measure(pair, shaperd, Errand(Flow(protocol, REMOTE, PORT), load))
        assert measured.received.payload_bytes > 0
        return measured.rate_faults(1.0, lack_percent)

    hold(lambda: attempt("udp", surplus(RATE_BITS, 1, 242), 0))
    hold(lambda: attempt("tcp", Load(seconds=1), TCP_LACK_PERCENT))


def test_the_signs_are_on_the_device(pair: Pair, shaperd: Shaperd) -> None:
    """MTU and address are the master's, the alias and carrier tell the rest."""
    type_four_lines(pair, shaperd, IPROUTE2)
    wait_state(shaperd, "active")
    shown, master = link(pair.host), link(pair.host, MASTER)
    assert (shown["mtu"], shown["address"]) == (master["mtu"], master["address"])
    assert shown["ifalias"] == f"shaper of {MASTER} at 64Kbit"
    assert "LOWER_UP" in shown["flags"]


def test_what_is_not_routed_there_is_not_shaped(pair: Pair, shaperd: Shaperd) -> None:
    """The link itself keeps its speed: the netmask of the four lines leaves the peer out."""
    type_four_lines(pair, shaperd, IPROUTE2)
    wait_state(shaperd, "active")
    flow = Flow("tcp", PEER, PORT)
    (measured,) = measure(pair, shaperd, Errand(flow, Load(seconds=5, total_bytes=1_000_000)))
    assert measured.received.payload_bytes == 1_000_000
    assert measured.error_percent > 10_000
    assert shaperd.show(SHAPER)["stats"]["sent_packets"] == 0


def test_a_shaper_without_a_route_says_so(pair: Pair, shaperd: Shaperd) -> None:
    """An address alone shapes nothing, which a user of 2002 had no way to find out."""
    type_four_lines(pair, shaperd, IPROUTE2[:2])
    wait_state(shaperd, "active")
    pair.host.ip(f"address del {HOST}/28 dev {SHAPER}", f"address add {HOST}/32 dev {SHAPER}")
    shown = shaperd.shapecfg("show", SHAPER)
    assert (shown.returncode, shown.stderr.count("\n")) == (0, 1)
    assert f"no route leads through {SHAPER}" in shown.stderr
    assert "ip route add" in shown.stderr
    pair.host.run(IPROUTE2[2].split())
    shown = shaperd.shapecfg("-j", "show", SHAPER)
    assert json.loads(shown.stdout)[0]["warnings"] == []


def built_frames(pair: Pair) -> list[bytes]:
    """Return frames as scapy makes them, every checksum filled in, of many lengths."""
    ether = Ether(src=link(pair.host)["address"], dst=link(pair.peer, NIC)["address"])
    frames: list[Packet] = []
    for size in (0, 1, 17, 512, 1400):
        payload = Raw(bytes(index % 251 for index in range(size)))
        for ip in (IP(src=HOST, dst=REMOTE, id=size), IPv6(src=HOST6, dst=REMOTE6)):
            frames.append(ether / ip / UDP(sport=1, dport=2) / payload)
            frames.append(ether / ip / TCP(sport=1, dport=2, flags="PA", seq=size) / payload)
    return [bytes(frame) for frame in frames]


def test_built_frames_arrive_as_they_were_built(pair: Pair, shaperd: Shaperd) -> None:
    """Byte for byte and in order: a fifo delays frames and changes nothing in them."""
    shape(shaperd, pair, "1mbit")
    shaperd.configure("set", SHAPER, "queue", "fifo", "limit", "100")
    wait_state(shaperd, "active")
    frames = built_frames(pair)
    with pair.host.enter(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as entrance:
        entrance.bind((SHAPER, 0))
        with Tapper(pair.peer, NIC) as tapper:
            for frame in frames:
                entrance.send(frame)
            expected = set(frames)
            wait_until(
                lambda: len([each for each in tapper.frames() if each in expected]) >= len(frames),
                "the frames to arrive",
            )
            assert [each for each in tapper.frames() if each in expected] == frames


def has_right_checksums(frame: bytes) -> bool:
    """Whether scapy, asked to fill the checksums in again, comes to the same bytes."""
    packet = Ether(frame)
    for layer in packet.iterpayloads():
        if isinstance(layer, IP | TCP | UDP):
            del layer.chksum
    return bytes(packet) == frame


def send_datagrams(pair: Pair, address: str, data: bytes) -> bytes:
    """Send through UDP segmentation offload and return what the peer received, joined."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pair.peer.enter():
        receiver = socket.socket(family, socket.SOCK_DGRAM)
    with pair.host.enter():
        sender = socket.socket(family, socket.SOCK_DGRAM)
    received = bytearray()
    with receiver, sender:
        receiver.bind((address, PORT))
        receiver.settimeout(5)
        sender.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1000)
        for at in range(0, len(data), 10_000):
            sender.sendto(data[at : at + 10_000], (address, PORT))
        while len(received) < len(data):
            received += receiver.recv(1 << 16)
    return bytes(received)


def send_stream(pair: Pair, address: str, data: bytes) -> bytes:
    """Send through TCP and return what the peer received."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pair.peer.enter():
        listener = socket.create_server((address, PORT), family=family)
    with pair.host.enter():
        sender = socket.socket(family, socket.SOCK_STREAM)
    received = bytearray()
    with listener, sender:
        sender.settimeout(10)
        sender.connect((address, PORT))
        pusher = threading.Thread(target=lambda: (sender.sendall(data), sender.close()))
        pusher.start()
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            while more := connection.recv(1 << 16):
                received += more
        pusher.join()
    return bytes(received)


@pytest.mark.parametrize("address", [REMOTE, REMOTE6])
@pytest.mark.parametrize("send", [send_datagrams, send_stream])
def test_offloaded_traffic_arrives_whole_with_right_checksums(
    pair: Pair, shaperd: Shaperd, send: Callable[[Pair, str, bytes], bytes], address: str
) -> None:
    """Frames that left the stack large and without checksums are right once on the wire."""
    if shutil.which("ethtool") is None:
        pytest.skip("needs the ethtool command, to make the master's driver write checksums")
    shape(shaperd, pair, "100mbit")
    wait_state(shaperd, "active")
    # A cable of the kernel carries "not computed yet" along; a wire cannot.
    pair.host.run(["ethtool", "-K", MASTER, "tx", "off"])
    data = bytes(index * index % 253 for index in range(150_000))
    with Tapper(pair.host, SHAPER) as inside, Tapper(pair.peer, NIC) as tapper:
        assert send(pair, address, data) == data
        # Before 6.2 the kernel has no UDP segmentation to offer.
        is_large = any(len(frame) > 2000 for frame in inside.frames())
        at = PORT_AT[Flow("tcp", address, PORT).version]
        ours = [each for each in tapper.frames() if each[at : at + 2] == PORT.to_bytes(2, "big")]
    assert is_large or send is send_datagrams
    assert len(ours) > 100
    assert max(map(len, ours)) <= 1514
    assert all(map(has_right_checksums, ours))
