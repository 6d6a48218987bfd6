"""Addresses, routes and rules are added, listed as they are, and removed; others stay."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

import pytest

from bench.lab.topology import HOST, MASTER, PEER, REMOTE_NETWORK, REMOTE_NETWORK6, Pair
from shaper.desired.ip_route import format_route, parse_route
from shaper.desired.ip_rule import format_rule, parse_rule
from shaper.errors import KernelRefused
from shaper.kernel.routing import Routing
from shaper.kernel.wire import Wire
from shaper.network import PROTOCOL


@pytest.fixture
def routing(pair: Pair) -> Iterator[Routing]:
    """Requests to the kernel in the host's namespace."""
    with pair.host.enter():
        wire = Wire()
    with contextlib.closing(wire):
        yield Routing(wire)


@pytest.fixture
def ifindex(pair: Pair) -> int:
    """The master, which stands in for a shaper here."""
    with pair.host.enter():
        return socket.if_nametoindex(MASTER)


def listed(pair: Pair, *arguments: str) -> str:
    """Return what `ip` lists on the host."""
    return pair.host.run(["ip", *arguments]).stdout


@pytest.mark.parametrize(
    "text",
    [
        REMOTE_NETWORK,
        f"{REMOTE_NETWORK} via 10.0.0.100 metric 7",
        f"default via 10.0.0.100 onlink table 1000 src {HOST}",
        "10.3.0.1/32 mtu 1400 table 7",
        f"{REMOTE_NETWORK6} via fd00::100",
        "2001:db8::/32 metric 9 table 300",
        "unreachable 10.1.0.0/16 metric 4294967136",
        "unreachable 2001:db8::/32 metric 4294967136",
        "blackhole 10.9.0.0/16",
    ],
)
def test_a_route_is_as_it_was_added(routing: Routing, ifindex: int, text: str) -> None:
    """It is listed as it was asked for, as ours, and is gone when removed."""
    wanted = parse_route(text, MASTER)
    routing.add_route(wanted, ifindex)
    routing.add_route(wanted, ifindex)
    (seen,) = routing.own_routes()
    assert format_route(seen.route) == format_route(wanted)
    assert seen.protocol == PROTOCOL
    if "unreachable" not in text and "blackhole" not in text:
        assert seen.ifindex == ifindex
        assert [each.route for each in routing.routes_through(ifindex)] == [seen.route]
    for _ in range(2):
        routing.remove_route(wanted, ifindex)
    assert routing.own_routes() == []


def test_a_route_of_somebody_else_stays(routing: Routing, ifindex: int, pair: Pair) -> None:
    """Ours goes before one of the same prefix and metric, and leaves it as it was."""
    pair.host.ip(f"route add {REMOTE_NETWORK} via 10.0.0.100 dev {MASTER}")
    before = listed(pair, "route", "show", "table", "all")
    wanted = parse_route(f"{REMOTE_NETWORK} via 10.0.0.7", MASTER)
    routing.add_route(wanted, ifindex)
    assert "via 10.0.0.7" in listed(pair, "route", "get", "10.1.0.2")
    routing.remove_route(wanted, ifindex)
    assert listed(pair, "route", "show", "table", "all") == before


@pytest.mark.parametrize(
    "text",
    [
        "priority 100 from 10.0.0.0/8 lookup 7",
        "priority 101 from all to fd00::/16 lookup 1000",
        "priority 102 from all fwmark 0x7/0xff lookup 7",
        "not priority 103 from all iif eth1 lookup 7",
        "priority 104 from all ipproto 6 sport 53 dport 80-90 lookup 7",
        "priority 105 from all uidrange 1000-2000 prohibit",
        "priority 106 from all lookup 254 suppress_prefixlength 0",
        "inet6 priority 107 from all oif eth1 blackhole",
    ],
)
def test_a_rule_is_as_it_was_added(routing: Routing, text: str) -> None:
    """It is listed as it was asked for, as ours, and the kernel's own three stay."""
    wanted = parse_rule(text)
    before = routing.rules()
    for _ in range(2):
        routing.add_rule(wanted)
    (seen,) = [each for each in routing.rules() if each.protocol == PROTOCOL]
    assert format_rule(seen.rule) == text
    for _ in range(2):
        routing.remove_rule(wanted)
    assert routing.rules() == before


def test_addresses_are_as_they_were_added(routing: Routing, ifindex: int, pair: Pair) -> None:
    """A copy brings no route to its prefix; both are listed as ours, and can be found."""
    before = listed(pair, "route", "show", "table", "main")
    for text in ("10.7.0.1/24", "fd07::1/64"):
        address = ip_interface(text)
        for _ in range(2):
            routing.add_copy(ifindex, address)
        (seen,) = [each for each in routing.addresses(ifindex) if each.is_ours]
        assert (seen.address, seen.is_lasting) == (address, True)
        assert routing.holders(address.ip) == {ifindex}
        for _ in range(2):
            routing.remove_address(ifindex, address)
    assert [each for each in routing.addresses(ifindex) if each.is_ours] == []
    assert listed(pair, "route", "show", "table", "main") == before


def test_a_refusal_has_the_kernels_words(routing: Routing, ifindex: int) -> None:
    """Beside what its number means."""
    own = parse_route(f"{REMOTE_NETWORK} via {HOST} onlink", MASTER)
    with pytest.raises(KernelRefused, match="Nexthop has invalid gateway") as refused:
        routing.add_route(own, ifindex)
    assert "Invalid argument" in str(refused.value)
    assert HOST in str(refused.value)


def test_what_cannot_be_declared_is_not_taken_for_something_wider(
    routing: Routing, ifindex: int, pair: Pair
) -> None:
    """Rules and routes with another selector than ours are passed over."""
    rules = routing.rules()
    pair.host.ip(
        "rule add tos 0x10 lookup 7",
        "rule add iif lo goto 32766",
        "rule add from 10.0.0.0/8 realms 3/4 lookup 7",
        f"route add 10.5.0.0/16 dev {MASTER} tos 0x10",
        f"route add 10.6.0.0/16 dev {MASTER}",
        f"route add fd06::/64 from fd07::/64 dev {MASTER}",
    )
    assert routing.rules() == rules
    seen = [each.route for each in routing.routes_through(ifindex)]
    assert [*map(format_route, seen)] == ["10.6.0.0/16"]


@pytest.mark.parametrize(
    ("command", "gateway"),
    [
        (f"route add default nexthop dev lo nexthop via {PEER} dev {MASTER}", PEER),
        (f"route add default via inet6 fe80::7 dev {MASTER}", "fe80::7"),
        (
            f"route add ::/0 nexthop via fe80::7 dev {MASTER} nexthop via fe80::8 dev {MASTER}",
            "fe80::7",
        ),
        (f"route add default dev {MASTER}", None),
    ],
)
def test_a_next_hop_of_the_masters_is_found(
    routing: Routing, ifindex: int, pair: Pair, command: str, gateway: str | None
) -> None:
    """Also among several of one route, and one of IPv6 for IPv4."""
    pair.host.ip(command)
    (seen,) = routing.default_hops(ifindex)
    assert seen.route.gateway == (ip_address(gateway) if gateway else None)
