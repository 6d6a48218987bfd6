"""A frame for a master without link-layer header begins with its packet; offsets follow."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q
from scapy.packet import Packet, Raw

from shaper.packet.headerless import strip_link_header
from tests.unit.test_frame import FOUR, LINK, SIX, read


@pytest.mark.parametrize(("network", "ethertype"), [(FOUR, 0x0800), (SIX, 0x86DD)])
def test_strip_moves_the_offsets_with_the_header(network: Packet, ethertype: int) -> None:
    """The frame begins with its IP header, and checksum and headers are 14 bytes nearer."""
    packet = network / TCP() / Raw(bytes(3000))
    fields = {"flags": 1, "gso_type": 1, "size": 1448, "at": 16}
    data = read(LINK / packet, hdr_len=54, start=34, **fields)
    assert strip_link_header(data) == (
        read(packet, hdr_len=40, start=20, **fields),
        ethertype,
    )


def test_strip_leaves_offsets_that_are_not_set() -> None:
    """Without checksum and offload the header is all zero before and after."""
    packet = FOUR / UDP()
    assert strip_link_header(read(LINK / packet)) == (read(packet), 0x0800)


@pytest.mark.parametrize(
    "packet", [LINK / ARP(), LINK / Dot1Q(vlan=5) / FOUR / TCP(), Raw(b""), Raw(bytes(13))]
)
def test_strip_refuses_what_such_a_master_cannot_carry(packet: Packet) -> None:
    """Neither ARP nor a VLAN tag nor a fragment of a header has a place without a link layer."""
    assert strip_link_header(read(packet)) is None
