"""Damaged frames, as scapy reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from shaper.packet.checksum import complete, flip_bit
from shaper.packet.frame import VNET_HEADER

# Without addresses scapy would ask the network for them, for a second each time.
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")

NETWORKS = (IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2"))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("transport", [UDP(sport=1, dport=2), TCP(sport=1, dport=2)])
@pytest.mark.parametrize("size", [1, 2, 77, 1400])
def test_a_checksum_left_to_the_hardware_is_filled_in(
    network: Packet, transport: Packet, size: int
) -> None:
    """As scapy would have written it."""
    whole = bytes(ETHER / network / transport / Raw((bytes(range(256)) * 6)[:size]))
    assert complete(bytes(10) + whole)[10:] == whole
    assert complete(partial(whole, network, transport))[10:] == whole


def partial(whole: bytes, network: Packet, transport: Packet) -> bytes:
    """Return a frame as a TAP gives it, with the sum over the pseudo-header in its place."""
    start = 14 + len(network)
    offset = 6 if isinstance(transport, UDP) else 16
    place = start + offset
    protocol = 17 if isinstance(transport, UDP) else 6
    addresses = whole[26:34] if isinstance(network, IP) else whole[22:54]
    words = int.from_bytes(addresses, "big") + protocol + len(whole) - start
    pseudo = (words % 0xFFFF).to_bytes(2, "big")
    header = VNET_HEADER.pack(1, 0, 0, 0, start, offset)
    return header + whole[:place] + pseudo + whole[place + 2 :]


@given(bit=st.integers(0, 1 << 32))
def test_corruption_is_one_bit_of_the_payload(bit: int) -> None:
    """Headers and checksum stay as they were, so that a receiver can tell."""
    whole = bytes(10) + bytes(ETHER / NETWORKS[0] / UDP(sport=1, dport=2) / Raw(b"payload"))
    damaged = flip_bit(whole, bit)
    differing = int.from_bytes(whole, "big") ^ int.from_bytes(damaged, "big")
    assert differing.bit_count() == 1
    assert damaged[:-7] == whole[:-7]


def test_a_frame_without_payload_is_damaged_all_the_same() -> None:
    """Its last byte is, or its last header is too short to say where the payload begins."""
    for frame in (bytes(10) + bytes(14), bytes(10) + bytes(ETHER / NETWORKS[0] / UDP())):
        assert flip_bit(frame, 3) != frame
