"""What is declared beside a shaper (addresses, routes, rules), and what follows from it.

A declared route leads through the shaper. Beside it stands its **guard**: an `unreachable` route
to the same prefix, less preferred than any other. Where the route is gone (the kernel flushes it
with its address, its next hop or its device) the guard answers, and nothing leaves unshaped by a
shorter prefix.

A `default` of the main table is written as its two halves, 0.0.0.0/1 and 128.0.0.0/1. They are
preferred to every default route whatever its metric, so the machine's own are never touched, and
they have guards, which a default beside the machine's own could not have: a guard that is less
preferred than the machine's default answers nothing. Without a metric an IPv6 route gets one that
is preferred to the kernel's 1024: two routes of the same metric would share the traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface, ip_network
from typing import Any

from shaper.desired.bounds import shown
from shaper.desired.doubles import check
from shaper.desired.ip_route import format_address, format_route, parse_address, parse_route
from shaper.desired.ip_rule import format_rule, parse_rule
from shaper.errors import InvalidValue
from shaper.network import (
    DEFAULT_METRICS,
    GUARD_METRIC,
    MAIN_TABLE,
    IpAddress,
    IpInterface,
    Network,
    Route,
    RouteKind,
)

MASTER = "master"  # in place of an address: those of the master, whatever they become

# Chosen: preferred to the default metric of IPv6, 1024, and to that of most DHCP clients.
_IPV6_METRIC = 512


@dataclass(frozen=True)
class NextHop:
    """Where a default route leads.

    Attributes:
        gateway: None on a link without gateways (ppp, tun).
        source: the preferred source address.
    """

    gateway: IpAddress | None
    source: IpAddress | None


@dataclass(frozen=True)
class MasterNetwork:
    """What a shaper may follow of its master.

    Attributes:
        addresses: global and lasting ones, in the kernel's order.
        next_hops: of its most preferred default route, by IP version.
    """

    addresses: tuple[IpInterface, ...] = ()
    next_hops: dict[int, NextHop] = field(default_factory=dict)


@dataclass(frozen=True)
class Presence:
    """What should be in the kernel because of one shaper's declaration.

    Attributes:
        addresses: with their prefix lengths.
        copies: of the master's addresses, at full length.
        routes: through the shaper.
        guards: through no device.
        declared: what each route was declared as.
    """

    addresses: tuple[IpInterface, ...] = ()
    copies: tuple[IpInterface, ...] = ()
    routes: tuple[Route, ...] = ()
    guards: tuple[Route, ...] = ()
    declared: Mapping[Route, Route] = field(default_factory=dict, compare=False)


def presence(network: Network, master: MasterNetwork) -> Presence:
    """Return what should be, given what is seen of the master.

    A route that follows the master is left out while the master has none to follow; its guard
    is not.
    """
    unicast = [route for route in network.routes if route.kind is RouteKind.UNICAST]
    others = [route for route in network.routes if route.kind is not RouteKind.UNICAST]
    halves = [(half, route) for route in unicast for half in _halves(route)]
    declared = {
        _as_listed(each): route
        for half, route in halves
        if (followed := _followed(half, master)) is not None
        for each in _with_way(followed)
    }
    guards = {_guard(half): route for half, route in halves}
    guards |= {_as_listed(each): each for each in others}
    return Presence(
        addresses=network.addresses,
        copies=_copies(network, master),
        routes=tuple(declared),
        guards=tuple(guards),
        declared=declared | guards,
    )


def _as_listed(route: Route) -> Route:
    """Return a route as the kernel lists it: its default metric is none."""
    return replace(route, metric=None) if route.metric == DEFAULT_METRICS[route.version] else route


def _copies(network: Network, master: MasterNetwork) -> tuple[IpInterface, ...]:
    if not network.follows_master:
        return ()
    return tuple(ip_interface(each.ip) for each in master.addresses)


def _halves(route: Route) -> list[Route]:
    metric = _IPV6_METRIC if route.version == 6 and route.metric is None else route.metric
    route = replace(route, metric=metric)
    is_default = route.destination.prefixlen == 0
    if not is_default or route.table != MAIN_TABLE:
        return [route]
    return [replace(route, destination=half) for half in route.destination.subnets()]


def _followed(route: Route, master: MasterNetwork) -> Route | None:
    if not route.follows_master:
        return route
    hop = master.next_hops.get(route.version)
    if hop is None:
        return None
    return replace(
        route,
        follows_master=False,
        gateway=hop.gateway,
        is_onlink=hop.gateway is not None,
        source=route.source or hop.source,
    )


def _with_way(route: Route) -> list[Route]:
    """Return a route, behind one to its next hop where the kernel asks for that.

    IPv6 refuses `onlink` for a next hop that the main table finds on another device, as it does
    the master's (net/ipv6/route.c, ip6_route_check_nh_onlink).
    """
    gateway = route.gateway
    if route.version == 4 or not route.is_onlink or gateway is None or gateway.is_link_local:
        return [route]
    return [Route(ip_network(gateway), metric=_IPV6_METRIC), route]


def _guard(route: Route) -> Route:
    return Route(route.destination, RouteKind.UNREACHABLE, table=route.table, metric=GUARD_METRIC)


def is_guard(route: Route) -> bool:
    """Whether a route of ours is a guard, and not something that was declared."""
    return route.kind is RouteKind.UNREACHABLE and route.metric == GUARD_METRIC


def write_network(network: Network) -> dict[str, object]:
    """Return a declaration as plain values, which `read_network` takes."""
    addresses = [format_address(each) for each in network.addresses]
    return {
        "up": network.is_up,
        "addresses": [MASTER] * network.follows_master + addresses,
        "routes": [format_route(each) for each in network.routes],
        "rules": [format_rule(each) for each in network.rules],
    }


def read_network(ifname: str, values: dict[str, Any]) -> Network:
    """Return the declaration that `write_network` was given, but for what is refused by now.

    An earlier version may have taken a line that this one does not; the others stay in force.
    Raises InvalidValue where it is no declaration.
    """
    lists: dict[str, Any] = {key: values.get(key, []) for key in ("addresses", "routes", "rules")}
    while True:
        try:
            return parse_network(ifname, is_up=values.get("up"), **lists)
        except InvalidValue as error:
            declared = error.declared
            key = next((key for key, lines in lists.items() if declared in [*lines]), None)
            if key is None or not isinstance(lists[key], list):
                raise
            lines = lists[key]
            last = len(lines) - 1 - lines[::-1].index(declared)
            lists[key] = lines[:last] + lines[last + 1 :]


def parse_network(
    ifname: str,
    *,
    is_up: bool | None,
    addresses: list[str] | str,
    routes: list[str],
    rules: list[str],
    tables: dict[str, int] | None = None,
) -> Network:
    """Return what a configuration declares for a shaper. Raises InvalidValue.

    A shaper for which something is declared is brought up, unless `is_up` is False.

    Args:
        ifname: the shaper.
        is_up: whether it is to be up; None: not said.
        addresses: each with its prefix length; or "master", in a list or by itself.
        routes: as `ip route` writes them.
        rules: as `ip rule` writes them.
        tables: numbers of tables by name.
    """
    if isinstance(addresses, str):
        if addresses != MASTER:
            raise InvalidValue(f'addresses = {addresses!r} is neither "{MASTER}" nor a list')
        addresses = [MASTER]
    network = Network(
        follows_master=MASTER in addresses,
        addresses=tuple(parse_address(each) for each in addresses if each != MASTER),
        routes=tuple(parse_route(each, ifname, tables) for each in routes),
        rules=tuple(parse_rule(each, tables) for each in rules),
    )
    check(network, ifname)
    if is_up is None and not network.is_empty:
        is_up = True
    return replace(network, is_up=is_up)


def parse_table(
    where: str, ifname: str, device: dict[str, Any], tables: dict[str, int]
) -> Network:
    """Return what the table of a shaper in shaper.toml declares. Raises InvalidValue.

    Args:
        where: the table.
        ifname: the shaper.
        device: its values.
        tables: numbers of tables by name.
    """
    lists = {key: device.get(key, []) for key in ("addresses", "routes", "rules")}
    for key, values in lists.items():
        for each in values:
            if not isinstance(each, str):
                raise InvalidValue(f"{where}.{key}: {shown(each)} is not a text")
    try:
        return parse_network(ifname, is_up=device.get("up"), tables=tables, **lists)
    except InvalidValue as error:
        refused = InvalidValue(f"{where}: {error}")
        refused.declared, refused.ifname = error.declared, ifname
        raise refused from error
