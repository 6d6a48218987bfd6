"""Frames of one flow have one identity, those of two flows have two."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.ipsec import AH, ESP
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from shaper.packet.flow import identify, shared_index
from tests.unit.strategies import Train, offload, segments, trains, virtio

LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
FOUR = IP(src="192.0.2.1", dst="198.51.100.2")
SIX = IPv6(src="2001:db8::1", dst="2001:db8:1::2")
TAG = Dot1Q(vlan=5)
DATA = Raw(bytes(100))

# Each differs from every other in something that makes another flow.
FLOWS = {
    "tcp": LINK / FOUR / TCP(sport=1, dport=2),
    "source port": LINK / FOUR / TCP(sport=3, dport=2),
    "destination port": LINK / FOUR / TCP(sport=1, dport=3),
    "other way": LINK / IP(src="198.51.100.2", dst="192.0.2.1") / TCP(sport=2, dport=1),
    "source": LINK / IP(src="192.0.2.9", dst="198.51.100.2") / TCP(sport=1, dport=2),
    "destination": LINK / IP(src="192.0.2.1", dst="198.51.100.9") / TCP(sport=1, dport=2),
    "udp": LINK / FOUR / UDP(sport=1, dport=2),
    "esp": LINK / FOUR / ESP(spi=1) / DATA,
    "esp of another SPI": LINK / FOUR / ESP(spi=2) / DATA,
    "icmp": LINK / FOUR / ICMP(),
    "gre": LINK / IP(src="192.0.2.1", dst="198.51.100.2", proto=47) / DATA,
    "tagged": LINK / TAG / FOUR / TCP(sport=1, dport=2),
    "tagged udp": LINK / TAG / FOUR / UDP(sport=1, dport=2),
    "other tag": LINK / Dot1Q(vlan=6) / FOUR / TCP(sport=1, dport=2),
    "two tags": LINK / Dot1AD(vlan=7) / TAG / FOUR / TCP(sport=1, dport=2),
    "tcp6": LINK / SIX / TCP(sport=1, dport=2),
    "port6": LINK / SIX / TCP(sport=1, dport=3),
    "source6": LINK / IPv6(src="2001:db8::9", dst="2001:db8:1::2") / TCP(sport=1, dport=2),
    "udp6": LINK / SIX / UDP(sport=1, dport=2),
    "icmp6": LINK / SIX / ICMPv6EchoRequest(),
    "tagged6": LINK / TAG / SIX / TCP(sport=1, dport=2),
    "arp": LINK / ARP(),
    "mpls": Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x8847) / DATA,
    "other host": Ether(src="02:00:00:00:00:03", dst="02:00:00:00:00:02", type=0x8847) / DATA,
}


def identity(packet: Packet) -> bytes:
    """Return the identity of a packet as the TAP delivers it."""
    return identify(virtio() + bytes(packet))


def test_flows_that_differ_in_anything_differ() -> None:
    """Every two of the flows above have two identities."""
    identities = {name: identity(packet) for name, packet in FLOWS.items()}
    same = [pair for pair in combinations(FLOWS, 2) if identities[pair[0]] == identities[pair[1]]]
    assert same == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            LINK / FOUR / TCP(sport=1, dport=2),
            LINK
            / IP(src="192.0.2.1", dst="198.51.100.2", id=7, ttl=3, tos=3, flags="DF")
            / TCP(sport=1, dport=2, seq=99, flags="PA")
            / DATA,
        ),
        (
            LINK / FOUR / TCP(sport=1, dport=2),
            LINK
            / IP(src="192.0.2.1", dst="198.51.100.2", options=[IPOption_NOP()] * 4)
            / TCP(sport=1, dport=2),
        ),
        (
            LINK / FOUR / UDP(sport=1, dport=2),
            LINK / IP(src="192.0.2.1", dst="198.51.100.2", flags="evil") / UDP(sport=1, dport=2),
        ),
        (
            LINK / SIX / TCP(sport=1, dport=2),
            LINK
            / IPv6(src="2001:db8::1", dst="2001:db8:1::2", tc=3, fl=9, hlim=2)
            / IPv6ExtHdrHopByHop()
            / IPv6ExtHdrRouting()
            / IPv6ExtHdrDestOpt()
            / TCP(sport=1, dport=2)
            / DATA,
        ),
        (
            LINK / SIX / AH(nh=17, payloadlen=1, spi=1) / UDP(sport=1, dport=2),
            LINK / SIX / UDP(sport=1, dport=2),
        ),
    ],
    ids=["tcp", "options", "reserved flag", "extension headers", "authentication header"],
)
def test_what_changes_within_a_flow_does_not_count(one: Packet, other: Packet) -> None:
    """Sequence, length, ECN, options and extension headers leave the identity as it is."""
    assert identity(one) == identity(other)


@pytest.mark.parametrize("tags", [[], [TAG]], ids=["plain", "tagged"])
def test_fragments_are_one_flow(tags: list[Packet]) -> None:
    """All fragments between two hosts are of one flow: the first with its ports, all datagrams."""
    link = LINK
    for tag in tags:
        link = link / tag
    found = set()
    for datagram in (7, 8):
        four = link / IP(src="192.0.2.1", dst="198.51.100.2", id=datagram) / UDP(sport=datagram)
        six = link / SIX / IPv6ExtHdrFragment(id=datagram) / UDP(sport=datagram)
        for packet, parts in ((four, fragment), (six, fragment6)):
            pieces = parts(packet / Raw(bytes(4000)), 1480)
            assert len(pieces) > 2
            found |= {(parts, identity(piece)) for piece in pieces}
    assert len(found) == 2


@given(train=trains())
def test_an_offload_frame_is_of_the_flow_of_its_segments(train: Train) -> None:
    """Whatever is cut in software stays in its flow."""
    found = {identify(virtio() + segment) for segment in segments(train)}
    assert found == {identify(offload(train))}


@given(
    data=st.one_of(
        st.binary(max_size=120),
        st.sampled_from(sorted(FLOWS)).flatmap(
            lambda name: st.integers(0, 110).map(lambda end: (virtio() + bytes(FLOWS[name]))[:end])
        ),
    )
)
def test_malformed_frames_have_an_identity_too(data: bytes) -> None:
    """Noise and frames cut short anywhere raise nothing."""
    assert isinstance(identify(data), bytes)


def test_an_endless_chain_of_extension_headers_ends() -> None:
    """Headers of length 0, each announcing the next to the end of the frame, are walked once."""
    chain = virtio() + bytes(LINK / IPv6(nh=60)) + (bytes([60]) + bytes(7)) * 8000
    assert len(identify(chain)) == 33


def test_the_key_decides_who_shares() -> None:
    """With another key other flows meet; with any key they spread over all places."""
    identities = [identity(LINK / FOUR / TCP(sport=port)) for port in range(400)]
    places = {
        key: [shared_index(each, key, 64) for each in identities] for key in (b"one", b"two")
    }
    for chosen in places.values():
        assert set(chosen) <= set(range(64))
        assert len(set(chosen)) > 55
    met = {
        key: {pair for pair in combinations(range(400), 2) if chosen[pair[0]] == chosen[pair[1]]}
        for key, chosen in places.items()
    }
    assert len(met[b"one"] & met[b"two"]) < len(met[b"one"]) / 10
