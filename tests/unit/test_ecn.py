"""A mark is two bits and a checksum that fits them, on frames that allow it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from shaper.packet.ecn import mark
from shaper.packet.frame import parse_frame
from shaper.packet.segment import split
from tests.unit.strategies import Train, offload, virtio

LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
LINKS = [LINK, LINK / Dot1Q(vlan=5), LINK / Dot1AD(vlan=7) / Dot1Q(vlan=5)]
CE = 3


def ipv4(service: int, identification: int = 1, options: int = 0) -> Packet:
    """Return a UDP datagram over IPv4 with this type of service."""
    return IP(
        src="192.0.2.1",
        dst="198.51.100.2",
        tos=service,
        id=identification,
        options=[IPOption_NOP()] * options,
    ) / UDP(sport=1, dport=2)


def ipv6(service: int) -> Packet:
    """Return a UDP datagram over IPv6 with this traffic class, and a flow label beside it."""
    return IPv6(src="2001:db8::1", dst="2001:db8:1::2", tc=service, fl=0xABCDE) / UDP(sport=1)


@given(
    link=st.sampled_from(LINKS),
    service=st.integers(0, 255).filter(lambda service: service & 3),
    identification=st.integers(0, 0xFFFF),
    options=st.sampled_from([0, 4]),
)
def test_ipv4_is_what_scapy_builds_with_the_mark(
    link: Packet, service: int, identification: int, options: int
) -> None:
    """The frame is that of a sender that had set CE itself, its checksum included."""
    data = virtio() + bytes(link / ipv4(service, identification, options))
    expected = virtio() + bytes(link / ipv4(service | CE, identification, options))
    assert mark(data) == expected


@given(identification=st.integers(0, 0xFFFF), service=st.sampled_from([1, 2]))
def test_every_checksum_is_corrected(identification: int, service: int) -> None:
    """Also where the sum carries: over all identifications the header sums to zero (RFC 1624)."""
    marked = mark(virtio() + bytes(LINK / ipv4(service, identification)))
    assert marked is not None
    words = [int.from_bytes(marked[at : at + 2], "big") for at in range(24, 44, 2)]
    assert sum(words) % 0xFFFF == 0
    assert marked[34:36] != b"\xff\xff"


@pytest.mark.parametrize("service", [1, 2])
@pytest.mark.parametrize("checksum", [0, 1, 2, 0xFFFE])
def test_the_carry_of_the_sum_comes_round(checksum: int, service: int) -> None:
    """Headers are made whose checksum is next to where ones' complement wraps."""
    base = bytes(LINK / ipv4(service, 0))
    identification = (int.from_bytes(base[24:26], "big") - checksum) % 0xFFFF
    data = virtio() + bytes(LINK / ipv4(service, identification))
    assert int.from_bytes(data[34:36], "big") == checksum
    assert mark(data) == virtio() + bytes(LINK / ipv4(service | CE, identification))


@given(link=st.sampled_from(LINKS), service=st.integers(0, 255).filter(lambda each: each & 3))
def test_ipv6_is_what_scapy_builds_with_the_mark(link: Packet, service: int) -> None:
    """Traffic class and flow label share bytes, and only the mark changes."""
    data = virtio() + bytes(link / ipv6(service))
    assert mark(data) == virtio() + bytes(link / ipv6(service | CE))


@pytest.mark.parametrize(
    "packet",
    [
        LINK / ipv4(0),
        LINK / ipv4(0xFC),
        LINK / Dot1Q(vlan=5) / ipv4(0),
        LINK / ipv6(0),
        LINK / IPv6(tc=0xFC) / IPv6ExtHdrHopByHop() / TCP(),
        LINK / ARP(),
        Ether(type=0x8847) / Raw(bytes([0xFF] * 60)),
    ],
    ids=["ipv4", "class", "vlan", "ipv6", "class6", "arp", "mpls"],
)
def test_who_does_not_understand_is_not_told(packet: Packet) -> None:
    """Not-ECT and what is not IP cannot be marked: RFC 3168, 5."""
    assert mark(virtio() + bytes(packet)) is None


@given(data=st.binary(max_size=60), type_=st.sampled_from([b"\x08\x00", b"\x86\xdd", b""]))
def test_malformed_frames_are_let_be(data: bytes, type_: bytes) -> None:
    """What is too short for its header is not touched, and nothing raises."""
    network = bytes(22) + type_ + data
    if len(data) < 20:
        assert mark(network) is None
    else:
        assert len(mark(network) or network) == len(network)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tags", [0, 2])
def test_an_offload_frame_marks_all_its_segments(version: int, tags: int) -> None:
    """Each segment of a marked train bears the mark and is otherwise what it would have been."""
    train = Train(version=version, tags=tags, payload_bytes=6000)
    network = 24 + 4 * tags
    data = bytearray(offload(train))
    if version == 4:
        data[network + 1] |= 2
    else:
        data[network + 1] |= 2 << 4
    marked = mark(bytes(data))
    assert marked is not None
    segments = split(parse_frame(marked))
    assert len(segments) == 5
    plain = split(parse_frame(bytes(data)))
    assert [segment.data for segment in segments] == [mark(each.data) for each in plain]
