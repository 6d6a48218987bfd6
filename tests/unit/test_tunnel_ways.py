"""Where tunnels lead: what the kernel tells of their far ends, and how often it is asked."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from pyroute2.netlink.rtnl import RTM_NEWLINK

from shaper.kernel.netlink_messages import IFINFOMSG, LinkMessage
from shaper.kernel.tunnels import FarEnd, far_ends
from shaper.model import Link
from shaper.supervisor.device import Device
from shaper.supervisor.masters import Masters
from shaper.supervisor.tunnel_ways import TunnelWays
from tests.unit.machine_rig import ETH1, SPEC

FOUR, SIX = ip_address("192.0.2.7"), ip_address("2001:db8::7")
TUNNEL = replace(ETH1, ifindex=5, ifname="t0")
LINKINFO, DATA, IPTUN_REMOTE = 18, 2, 3


def attribute(kind: int, value: bytes) -> bytes:
    """Return a netlink attribute."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    """Return one of four bytes."""
    return attribute(kind, struct.pack("=I", value))


KINDS: list[tuple[str, bytes, list[FarEnd]]] = [
    ("gre", attribute(7, FOUR.packed), [FarEnd(FOUR)]),
    ("ip6gretap", attribute(7, SIX.packed) + number(20, 9), [FarEnd(SIX, 9)]),
    ("erspan", attribute(7, FOUR.packed) + number(1, 2), [FarEnd(FOUR, 0, 2)]),
    ("ipip", attribute(3, FOUR.packed) + number(20, 1), [FarEnd(FOUR, 1)]),
    ("ip6tnl", attribute(3, SIX.packed), [FarEnd(SIX)]),
    ("sit", attribute(3, bytes(4)), []),  # each packet names it
    ("vti", attribute(5, FOUR.packed) + number(6, 3), [FarEnd(FOUR, 3)]),
    ("vxlan", attribute(2, FOUR.packed), [FarEnd(FOUR)]),
    ("vxlan", attribute(16, SIX.packed) + number(3, 4), [FarEnd(SIX, 0, 4)]),
    ("vxlan", attribute(2, bytes([239, 1, 1, 1])), []),  # a group
    ("geneve", attribute(7, SIX.packed), [FarEnd(SIX)]),
    ("geneve", attribute(2, b"\x01"), []),
    ("dummy", attribute(2, FOUR.packed), []),
]


@pytest.mark.parametrize(("kind", "data", "expected"), KINDS)
def test_far_ends_of_kernel_tunnels(kind: str, data: bytes, expected: list[FarEnd]) -> None:
    """Address, mark and device of each kind are where the kernel puts them."""
    body = bytes(IFINFOMSG.size) + attribute(LINKINFO, attribute(DATA, data))
    message = LinkMessage(RTM_NEWLINK, body, 0, len(body))
    assert far_ends(replace(TUNNEL, kind=kind), look=lambda _: message) == expected


def test_far_ends_of_wireguard() -> None:
    """Endpoints of all peers, of both families, with the device's mark; the rest has none."""
    four = struct.pack("=H", socket.AF_INET) + b"\xca\x6c" + FOUR.packed + bytes(8)
    six = struct.pack("=H", socket.AF_INET6) + b"\xca\x6c" + bytes(4) + SIX.packed + bytes(4)
    peers = [attribute(4, four), attribute(1, bytes(32)), attribute(4, six), attribute(4, b"")]
    first = {7: struct.pack("=I", 51820), 8: b"".join(attribute(0, each) for each in peers[:2])}
    rest = {8: b"".join(attribute(0, each) for each in peers[2:])}
    found = far_ends(replace(TUNNEL, kind="wireguard"), dump=lambda *_: [first, rest])
    assert found == [FarEnd(FOUR, 51820), FarEnd(SIX, 51820)]


@pytest.mark.parametrize("answer", [OSError(1, "no"), struct.error("short")])
def test_what_the_kernel_does_not_tell_is_no_error(answer: Exception) -> None:
    """A loop is then found by its frames."""

    def refuse(*_: object) -> list[dict[int, bytes]]:
        raise answer

    assert far_ends(replace(TUNNEL, kind="wireguard"), dump=refuse) == []


class LinkTable:
    """A table of devices."""

    def __init__(self, *links: Link) -> None:
        self._links = {each.ifindex: each for each in links}

    def index(self, ifindex: int) -> Link | None:
        """Return a device."""
        return self._links.get(ifindex)

    def ports(self, _: int) -> set[int]:
        """Return none."""
        return set()


class AskedShaper:
    """What is asked of a shaper's device."""

    def __init__(self, ifindex: int, master: int) -> None:
        self.ifindex = ifindex
        self.master_index = master
        self.spec = SPEC


def behind(ways: dict[int, list[tuple[Any, int]]], master: int, *links: Link) -> object:
    """Return the far end behind a master of the shaper with index 9, another being 8 on 6."""
    own: Any = AskedShaper(9, master)
    table: Any = LinkTable(*links)
    devices: Any = {9: own, 8: AskedShaper(8, 6)}
    asked = TunnelWays(lambda link: ways.get(link.ifindex, []), lambda: 0.0)
    chosen: Device = own
    return Masters(table, devices, asked).far_end_behind(chosen, table.index(master))


GRE = replace(TUNNEL, ifindex=5, kind="gretap")
GRE6 = replace(TUNNEL, ifindex=6, kind="gretap")
VLAN = replace(TUNNEL, ifindex=7, kind="vlan", lower=5)


@pytest.mark.parametrize(
    ("ways", "master", "expected"),
    [
        ({5: [(FOUR, 9)]}, 5, FOUR),
        ({5: [(SIX, 2), (FOUR, 9)]}, 5, FOUR),
        ({5: [(FOUR, 2)]}, 5, None),
        ({5: [(FOUR, 9)]}, 7, FOUR),  # a vlan on the tunnel
        ({5: [(FOUR, 8)], 6: [(SIX, 9)]}, 5, FOUR),  # by way of another shaper and its tunnel
        ({5: [(FOUR, 8)], 6: [(SIX, 2)]}, 5, None),
        ({2: [(FOUR, 9)]}, 2, None),  # no tunnel
    ],
)
def test_which_far_end_leads_back(
    ways: dict[int, list[tuple[Any, int]]], master: int, expected: object
) -> None:
    """The first whose packets go to the shaper, by whatever is in between."""
    assert behind(ways, master, ETH1, GRE, GRE6, VLAN) == expected


def test_the_kernel_is_asked_a_tenth_of_the_time() -> None:
    """What is known of a tunnel serves for two seconds, and for longer where there are many."""
    now, asked = [100.0], []

    def ask(link: Link) -> list[Any]:
        asked.append(link.ifindex)
        now[0] += 0.004
        return [(FOUR, link.ifindex)]

    ways = TunnelWays(ask, lambda: now[0])
    links = [replace(TUNNEL, ifindex=each) for each in range(10, 20)]
    for link in links:
        ways.of(link)
    assert asked == [10, 11, 12]
    now[0] += 0.1
    assert ways.of(links[0]) == [(FOUR, 10)]
    assert asked == [10, 11, 12]
    assert ways.of(links[3]) == [(FOUR, 13)]
    ways.forget({10})
    assert ways.of(links[0]) == [(FOUR, 10)]
    now[0] += 2.0
    ways.of(links[1])
    assert asked == [10, 11, 12, 13, 10, 11]
