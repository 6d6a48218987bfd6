"""What a declaration asks of the kernel, given what the master has."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from shaper.desired.declared import (
    MasterNetwork,
    NextHop,
    Presence,
    is_guard,
    parse_network,
    presence,
)
from shaper.desired.ip_route import format_route
from shaper.errors import InvalidValue
from shaper.network import Network

GUARD = "metric 4294967136"
MASTER = MasterNetwork(
    addresses=(ip_interface("10.0.0.5/24"), ip_interface("2001:db8::5/64")),
    next_hops={
        4: NextHop(ip_address("10.0.0.1"), ip_address("10.0.0.5")),
        6: NextHop(ip_address("fe80::1"), None),
    },
)


def declared(
    *routes: str, addresses: list[str] | str = "master", is_up: bool | None = None
) -> Network:
    """Return a declaration for shaper0."""
    return parse_network(
        "shaper0", is_up=is_up, addresses=addresses, routes=list(routes), rules=[]
    )


def lines(seen: Presence) -> tuple[list[str], list[str]]:
    """Return routes and guards as `ip` writes them."""
    return [*map(format_route, seen.routes)], [*map(format_route, seen.guards)]


def test_a_route_has_a_guard_in_its_own_table() -> None:
    """To the same prefix, less preferred than anything."""
    routes, guards = lines(presence(declared("10.1.0.0/24 table 7"), MASTER))
    assert routes == ["10.1.0.0/24 table 7"]
    assert guards == [f"unreachable 10.1.0.0/24 table 7 {GUARD}"]


def test_a_default_of_the_main_table_is_its_two_halves() -> None:
    """Preferred to the machine's own default routes without touching one; so guards work."""
    routes, guards = lines(presence(declared("default"), MASTER))
    hop = "via 10.0.0.1 onlink src 10.0.0.5"
    assert routes == [f"0.0.0.0/1 {hop}", f"128.0.0.0/1 {hop}"]
    assert guards == [f"unreachable 0.0.0.0/1 {GUARD}", f"unreachable 128.0.0.0/1 {GUARD}"]


def test_a_default_of_another_table_is_one_route() -> None:
    """Nothing of the machine's is there that it could collide with."""
    routes, guards = lines(presence(declared("default table 7"), MASTER))
    assert routes == ["default via 10.0.0.1 onlink table 7 src 10.0.0.5"]
    assert guards == [f"unreachable default table 7 {GUARD}"]


def test_ipv6_is_preferred_to_a_router_advertisement() -> None:
    """Two routes of one metric would share the traffic."""
    routes, _ = lines(presence(declared("inet6 default", "2001:db8:1::/48"), MASTER))
    hop = "via fe80::1 onlink metric 512"
    assert routes == [f"::/1 {hop}", f"8000::/1 {hop}", "2001:db8:1::/48 metric 512"]


def test_ipv6_finds_the_way_to_a_global_next_hop() -> None:
    """The kernel refuses `onlink` where the main table knows the next hop on another device."""
    master = MasterNetwork(next_hops={6: NextHop(ip_address("2001:db8::1"), None)})
    routes, guards = lines(presence(declared("inet6 default"), master))
    assert routes[0] == "2001:db8::1/128 metric 512"
    assert len(routes) == 3
    assert len(guards) == 2


def test_a_default_waits_for_one_to_follow_behind_its_guard() -> None:
    """A master without a default route: nothing leaves, neither shaped nor unshaped."""
    routes, guards = lines(presence(declared("default"), MasterNetwork()))
    assert routes == []
    assert len(guards) == 2


def test_a_master_without_gateways_is_followed() -> None:
    """The default route of a ppp link names no next hop."""
    master = MasterNetwork(next_hops={4: NextHop(None, None)})
    assert lines(presence(declared("default"), master))[0] == ["0.0.0.0/1", "128.0.0.0/1"]


def test_addresses_of_the_master_are_copied_at_full_length() -> None:
    """So that no route to the master's own network comes with them."""
    assert presence(declared(), MASTER).addresses == ()
    assert [*map(str, presence(declared(), MASTER).copies)] == [
        "10.0.0.5/32",
        "2001:db8::5/128",
    ]


def test_addresses_are_as_declared() -> None:
    """The master's do not matter then, unless they are asked for beside them."""
    seen = presence(declared(addresses=["10.0.0.9/28"]), MASTER)
    assert [*map(str, seen.addresses)] == ["10.0.0.9/28"]
    assert seen.copies == ()
    both = presence(declared(addresses=["master", "10.0.0.9/28"]), MASTER)
    assert (len(both.addresses), len(both.copies)) == (1, 2)


def test_what_leads_nowhere_is_kept_as_it_is() -> None:
    """A declared `unreachable` needs no device, no guard, and is not taken for one."""
    seen = presence(declared("unreachable 10.9.0.0/16", addresses=[]), MASTER)
    assert lines(seen) == ([], ["unreachable 10.9.0.0/16"])
    assert not is_guard(seen.guards[0])
    assert all(map(is_guard, presence(declared("10.1.0.0/24"), MASTER).guards))


def test_something_declared_brings_the_device_up() -> None:
    """Unless it is said that it should not be; nothing declared leaves it as it is."""
    assert declared("10.1.0.0/24").is_up is True
    assert declared("10.1.0.0/24", is_up=False).is_up is False
    assert declared(addresses=[]).is_up is None
    assert declared(addresses=[]).is_empty


def test_addresses_are_a_list_or_the_masters() -> None:
    """Any other word is named."""
    with pytest.raises(InvalidValue, match="mister"):
        declared(addresses="mister")
