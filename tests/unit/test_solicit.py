"""The neighbour solicitation that is sent in the kernel's place, as another reader takes it."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6

from shaper.kernel.netlink import _nearest
from shaper.kernel.solicit import solicitation

MAC = bytes.fromhex("02004c4f4f50")


@pytest.mark.parametrize("target", ["fd00::100", "2001:db8::ffff:fffe", "fe80::1:2:3"])
def test_it_is_what_rfc_4861_asks_for(target: str) -> None:
    """Hop limit 255, to the solicited-node group, with our link address and a right checksum."""
    packet = solicitation(MAC, "fd00::1", target)
    read = IPv6(packet)
    assert (read.hlim, read.nh, read.plen) == (255, 58, len(packet) - 40)
    assert read.src == "fd00::1"
    assert read.dst.startswith("ff02::1:ff")
    assert read[ICMPv6ND_NS].tgt == target
    assert read[ICMPv6NDOptSrcLLAddr].lladdr == "02:00:4c:4f:4f:50"
    checksum = read[ICMPv6ND_NS].cksum
    del read[ICMPv6ND_NS].cksum
    assert IPv6(bytes(read))[ICMPv6ND_NS].cksum == checksum


@pytest.mark.parametrize(
    ("addresses", "target", "nearest"),
    [
        ([], "fd00::1", None),
        (["2001:db8::1", "fd00::1"], "fd00::9", "fd00::1"),
        (["2001:db8::1", "fd00::1"], "2001:db8:1::9", "2001:db8::1"),
        (["fd00:0:0:1::1", "fd00::1"], "fd00:0:0:1::9", "fd00:0:0:1::1"),
    ],
)
def test_the_nearest_address_asks(addresses: list[str], target: str, nearest: str | None) -> None:
    """Of several, the address with the longest prefix in common with the target is the source."""
    assert _nearest(addresses, target) == nearest
