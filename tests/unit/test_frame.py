"""The length of a frame on the wire is what scapy builds for it, and neighbours stay at home."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    RouterAlert,
    fragment6,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, LLC, SNAP, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

from shaper.packet.frame import (
    ETHERNET_HEADER_BYTES,
    VNET_HEADER_BYTES,
    find_layout,
    is_neighbour_traffic,
    parse_all,
    parse_frame,
)
from shaper.packet.headerless import strip_link_header
from tests.unit.strategies import Train, offload, segments, trains, virtio

LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
FOUR = IP(src="192.0.2.1", dst="198.51.100.2")
SIX = IPv6(src="2001:db8::1", dst="2001:db8:1::2")
ROUTER_ALERT = IPv6ExtHdrHopByHop(options=[RouterAlert()])


def read(packet: Packet, **header: int) -> bytes:
    """Return what the TAP delivers for a packet."""
    return virtio(**header) + bytes(packet)


@pytest.mark.parametrize(
    "packet",
    [
        LINK / FOUR / TCP() / Raw(bytes(1460)),
        LINK / Dot1Q(vlan=5) / FOUR / UDP() / Raw(bytes(100)),
        LINK / SIX / UDP(),
        LINK / ARP(),
    ],
    ids=["tcp", "vlan", "ipv6", "arp"],
)
def test_an_ordinary_frame_is_its_length(packet: Packet) -> None:
    """Without offload the wire carries the frame as it is, with its checksum pending or not."""
    for header in ({}, {"flags": 1, "start": 34, "at": 16}):
        data = read(packet, **header)
        assert parse_frame(data) == (data, len(packet), 1)
        assert parse_frame(data, ETHERNET_HEADER_BYTES) == (data, len(packet) - 14, 1)


def test_a_full_tcp_offload_frame() -> None:
    """65160 bytes in segments of 1448 are 45 frames of 66 bytes of headers: 68130 in all."""
    data = offload(
        Train(tcp_options=(("Timestamp", (1, 2)),), payload_bytes=65_160, segment_bytes=1448)
    )
    assert parse_frame(data) == (data, 68_130, 45)
    assert parse_frame(data, ETHERNET_HEADER_BYTES) == (data, 68_130 - 45 * 14, 45)


@pytest.mark.no_cover  # three times as long beside coverage
@settings(deadline=None)
@given(train=trains(), is_partial=st.booleans(), hdr_len=st.integers(0, 65_535))
def test_an_offload_frame_is_as_long_as_its_segments(
    train: Train, is_partial: bool, hdr_len: int
) -> None:
    """TCP and UDP, IPv4 and IPv6, tagged or not, with options or not, whatever hdr_len says."""
    expected = segments(train)
    frame = parse_frame(offload(train, is_partial=is_partial, hdr_len=hdr_len))
    assert frame.packets == len(expected)
    assert frame.wire_bytes == sum(map(len, expected))


@pytest.mark.parametrize("payload_bytes", [1473, 2952, 2953, 9000, 60_000])
def test_udp_fragmentation_of_ipv4(payload_bytes: int) -> None:
    """A datagram to be fragmented is as long as the fragments scapy makes of it."""
    packet = LINK / FOUR / UDP() / Raw(bytes(payload_bytes))
    expected = fragment(packet, fragsize=1480)
    frame = parse_frame(read(packet, flags=1, gso_type=3, size=1480, start=34, at=6))
    assert frame.packets == len(expected)
    assert frame.wire_bytes == sum(len(bytes(one)) for one in expected)


@pytest.mark.parametrize("payload_bytes", [1473, 2952, 9000, 60_000])
def test_udp_fragmentation_of_ipv6(payload_bytes: int) -> None:
    """Each fragment has a fragment header that the datagram did not have."""
    datagram = UDP() / Raw(bytes(payload_bytes))
    expected = fragment6(LINK / SIX / IPv6ExtHdrFragment() / datagram, 1510)
    data = read(LINK / SIX / datagram, flags=1, gso_type=3, size=1448, start=54, at=6)
    assert parse_frame(data).packets == len(expected)
    assert parse_frame(data).wire_bytes == sum(len(bytes(one)) for one in expected)


GOOD = offload(Train())


@pytest.mark.parametrize(
    "data",
    [
        virtio(flags=1, gso_type=1, size=0, start=34, at=16) + GOOD[10:],
        virtio(flags=1, gso_type=1, size=1448, start=65_535, at=16) + GOOD[10:],
        virtio(flags=1, gso_type=1, size=1448, start=len(GOOD) - 10 - 12, at=16) + GOOD[10:],
        virtio(flags=1, gso_type=5, size=1448, start=0, at=6) + GOOD[10:],
        virtio(flags=1, gso_type=2, size=1448, start=34, at=16) + GOOD[10:],
        virtio(flags=1, gso_type=0x21, size=1448, start=34, at=16) + GOOD[10:],
        virtio(flags=1, gso_type=0x80, size=1448, start=34, at=16) + GOOD[10:],
        GOOD[: 10 + 34 + 12] + b"\x40" + GOOD[10 + 34 + 13 :],
        GOOD[: 10 + 34 + 20],
        GOOD[: 10 + 34 + 7],
        virtio(gso_type=1, size=1448) + bytes(LINK / ARP() / Raw(bytes(3000))),
        virtio(gso_type=4, size=1448) + GOOD[10:30],
        GOOD[:11],
    ],
    ids=[
        "segments-of-nothing",
        "checksum-beyond-the-end",
        "checksum-at-the-end",
        "checksum-in-the-link-header",
        "type-unknown",
        "type-tunnelled",
        "type-is-a-flag-alone",
        "data-offset-below-5",
        "no-payload",
        "headers-cut-short",
        "not-ip",
        "ip-cut-short",
        "link-header-cut-short",
    ],
)
def test_a_header_that_contradicts_itself_counts_as_one_frame(data: bytes) -> None:
    """It is one frame of the length it has, and has no layout."""
    assert data[1]
    assert find_layout(data) is None
    assert parse_frame(data) == (data, len(data) - VNET_HEADER_BYTES, 1)


@pytest.mark.parametrize("length", [0, 1, 2, 9, 10])
def test_less_than_a_header_is_a_frame_of_nothing(length: int) -> None:
    """No length is ever negative, nor is one when the link-layer header is missing too."""
    data = GOOD[:length]
    assert parse_frame(data) == (data, 0, 1)
    stripped = parse_frame(GOOD[: length + 10], ETHERNET_HEADER_BYTES)
    assert stripped.wire_bytes == max(length - 14, 0)


@pytest.mark.no_cover  # three times as long beside coverage
@settings(deadline=None, max_examples=500)
@given(
    header=st.binary(min_size=10, max_size=10),
    train=trains(),
    cut=st.integers(0, 200),
    noise=st.lists(st.tuples(st.integers(10, 120), st.integers(0, 255)), max_size=4),
)
def test_nothing_raises(
    header: bytes, train: Train, cut: int, noise: list[tuple[int, int]]
) -> None:
    """Random headers before damaged frames: a length and a count come out, and both are sane."""
    data = bytearray(offload(train))
    data[:10] = header
    for offset, value in noise:
        data[min(offset, len(data) - 1)] = value
    for damaged in (bytes(data), bytes(data[:cut])):
        frame = parse_frame(damaged)
        assert frame.packets >= 1
        assert frame.wire_bytes >= max(len(damaged) - VNET_HEADER_BYTES, 0)
        is_neighbour_traffic(damaged)
        strip_link_header(damaged)


NEIGHBOURS = {
    "arp": LINK / ARP(),
    "arp-tagged": LINK / Dot1Q(vlan=5) / ARP(),
    "arp-tagged-twice": LINK / Dot1AD(vlan=7) / Dot1Q(vlan=5) / ARP(),
    "rarp": Ether(type=0x8035) / ARP(op=3),
    "router-solicitation": LINK / SIX / ICMPv6ND_RS(),
    "router-advertisement": LINK / SIX / ICMPv6ND_RA(),
    "neighbour-solicitation": LINK / SIX / ICMPv6ND_NS(),
    "neighbour-solicitation-tagged": LINK / Dot1Q(vlan=5) / SIX / ICMPv6ND_NS(),
    "neighbour-solicitation-behind-options": LINK / SIX / IPv6ExtHdrDestOpt() / ICMPv6ND_NS(),
    "neighbour-solicitation-authenticated": LINK
    / SIX
    / AH(nh=58, payloadlen=4, icv=bytes(12))
    / ICMPv6ND_NS(),
    "neighbour-advertisement": LINK / SIX / ICMPv6ND_NA(),
    "redirect": LINK / SIX / ICMPv6ND_Redirect(),
    "mld-query": LINK / SIX / ROUTER_ALERT / ICMPv6MLQuery(),
    "mld-report": LINK / SIX / ROUTER_ALERT / ICMPv6MLReport(),
    "mld-done": LINK / SIX / ROUTER_ALERT / ICMPv6MLDone(),
    "mld-report-2": LINK / SIX / ROUTER_ALERT / ICMPv6MLReport2(),
    "mld-report-2-tagged": LINK / Dot1Q(vlan=5) / SIX / ROUTER_ALERT / ICMPv6MLReport2(),
    "fragmented": LINK / SIX / IPv6ExtHdrFragment(m=1) / ICMPv6ND_NS(),
    "second-fragment-to-a-link": LINK
    / IPv6(dst="ff02::1")
    / IPv6ExtHdrFragment(offset=9, nh=58)
    / Raw(bytes(40)),
    "second-fragment-behind-hop-by-hop": LINK
    / IPv6(dst="ff02::1")
    / IPv6ExtHdrHopByHop()
    / IPv6ExtHdrFragment(offset=9, nh=58)
    / Raw(bytes(40)),
    **{
        f"second-fragment-of-{inside}": LINK
        / IPv6(dst="ff02::1")
        / IPv6ExtHdrFragment(offset=9, nh=inside)
        / Raw(bytes(40))
        for inside in (0, 17, 43, 60, 253)
    },
    "fragment-that-ends-within-options": LINK
    / IPv6(dst="ff02::16")
    / IPv6ExtHdrFragment(m=1, nh=60)
    / Raw(bytes([58, 4]) + bytes(14)),
    "fragmented-behind-options": LINK
    / IPv6(dst="ff02::1")
    / IPv6ExtHdrFragment(m=1, nh=60)
    / Raw(bytes([58, 0]) + bytes(6))
    / ICMPv6ND_NS(),
    "behind-an-unknown-extension": LINK
    / IPv6(nh=253)
    / Raw(bytes([58, 0]) + bytes(6))
    / ICMPv6ND_NS(),
    "igmp-report": LINK / IP(dst="224.0.0.22", proto=2, ttl=1) / Raw(bytes([0x22]) * 16),
    "igmp-tagged": LINK / Dot1Q(vlan=5) / IP(dst="239.1.2.3", proto=2) / Raw(bytes([0x16]) * 8),
    **{
        f"arp-behind-{tag:04x}": Ether(type=tag) / Raw(b"\x00\x05\x08\x06") / ARP()
        for tag in (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
    },
    **{
        f"arp-behind-{tag:04x}": Ether(type=tag) / Raw(bytes(length - 2) + b"\x08\x06") / ARP()
        for tag, length in ((0xF1C1, 6), (0x892F, 6), (0x893F, 8), (0x88E7, 18))
    },
    "solicitation-behind-an-r-tag-in-a-vlan": LINK
    / Dot1Q(vlan=5, type=0xF1C1)
    / Raw(bytes(4) + b"\x86\xdd")
    / SIX
    / ICMPv6ND_NS(),
    "arp-behind-three-tags": Ether(type=0x9200)
    / Raw(b"\x00\x05\x93\x00\x00\x06\x81\x00\x00\x07\x08\x06")
    / ARP(),
    "arp-in-snap": Dot3(dst="ff:ff:ff:ff:ff:ff") / LLC() / SNAP(code=0x0806) / ARP(),
    "stp": Dot3(dst="01:80:c2:00:00:00") / LLC() / STP(),
    **{
        f"type-{kind:04x}": Ether(type=kind) / Raw(bytes(50))
        for kind in (
            0x88CC,
            0x888E,
            0x8809,
            0x8808,
            0x88F5,
            0x8902,
            0x9000,
            0x88F7,
            0x88D9,
            0x893A,
            0x8863,
        )
    },
    "to-a-reserved-address": Ether(dst="01:80:c2:00:00:0e", type=0x88B5) / Raw(bytes(50)),
}
FORWARDED = {
    "ipv4": LINK / FOUR / UDP() / Raw(bytes(100)),
    "ipv4-tagged": LINK / Dot1Q(vlan=5) / FOUR / TCP(),
    "ipv4-ping": LINK / FOUR / ICMP(),
    "ipv6-tcp": LINK / SIX / TCP(),
    "ipv6-udp": LINK / SIX / UDP() / Raw(bytes([135]) * 50),
    "echo-request": LINK / SIX / ICMPv6EchoRequest(),
    "echo-reply-tagged": LINK / Dot1Q(vlan=5) / SIX / ICMPv6EchoReply(),
    "echo-behind-options": LINK / SIX / IPv6ExtHdrHopByHop() / ICMPv6EchoRequest(),
    "too-big": LINK / SIX / ICMPv6PacketTooBig(),
    "tcp-behind-options": LINK / SIX / ROUTER_ALERT / TCP(),
    "second-fragment": LINK / SIX / IPv6ExtHdrFragment(offset=9, nh=58) / Raw(b"\x87" * 40),
    "later-fragment": LINK / SIX / IPv6ExtHdrFragment(offset=32, nh=58) / Raw(b"\x87" * 40),
    "first-fragment-of-udp-to-a-link": LINK
    / IPv6(dst="ff02::fb")
    / IPv6ExtHdrFragment(m=1)
    / UDP(dport=5353),
    "ipv4-behind-an-r-tag": Ether(type=0xF1C1) / Raw(bytes(4) + b"\x08\x00") / FOUR / UDP(),
    "pppoe-session": Ether(type=0x8864) / Raw(bytes(50)),
    "not-ip": Ether(type=0x88B5) / Raw(bytes(50)),
    "mpls": Ether(type=0x8847) / Raw(bytes(50)),
    "vrrp": LINK / IP(dst="224.0.0.18", proto=112, ttl=255) / Raw(bytes(20)),
    "ospf": LINK / IP(dst="224.0.0.5", proto=89, ttl=1) / Raw(bytes(44)),
    "dhcp": LINK / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67),
    "multicast-dns": LINK / IPv6(dst="ff02::fb") / UDP(dport=5353),
    "routed-multicast": LINK / IP(dst="239.1.2.3") / UDP() / Raw(bytes(50)),
    "igmp-to-a-host": LINK / IP(dst="10.1.0.2", proto=2) / Raw(bytes(16)),
}


@pytest.mark.parametrize("packet", NEIGHBOURS.values(), ids=NEIGHBOURS.keys())
def test_neighbour_traffic_is_recognised(packet: Packet) -> None:
    """ARP, discovery and MLD are found behind tags and extension headers."""
    assert is_neighbour_traffic(read(packet))


@pytest.mark.parametrize("packet", FORWARDED.values(), ids=FORWARDED.keys())
def test_other_traffic_is_not_neighbour_traffic(packet: Packet) -> None:
    """What is routed passes, ICMPv6 that is not about neighbours included."""
    assert not is_neighbour_traffic(read(packet))


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_cut_short_neighbour_traffic_is_judged_without_error(name: str) -> None:
    """A frame that ends before its type could be read is not taken for neighbour traffic."""
    data = read(NEIGHBOURS[name])
    verdicts = [is_neighbour_traffic(data[:length]) for length in range(len(data) + 1)]
    assert verdicts == sorted(verdicts)
    assert not any(verdicts[: VNET_HEADER_BYTES + ETHERNET_HEADER_BYTES])


@pytest.mark.no_cover  # three times as long beside coverage
@given(st.lists(st.binary(min_size=24, max_size=80), max_size=8))
def test_a_batch_is_parsed_as_its_frames_are(batch: list[bytes]) -> None:
    """Taken together, frames come out as one by one, and neighbour traffic is only counted."""
    others = [data for data in batch if not is_neighbour_traffic(data)]
    frames, neighbours = parse_all(batch, 14)
    assert neighbours == len(batch) - len(others)
    assert [frame.data for frame in frames] == others
    for frame, data in zip(frames, others, strict=True):
        if len(data) > 24:
            assert frame == parse_frame(data, 14)
