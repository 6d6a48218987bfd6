"""What cannot be declared together, for one shaper or for two.

Of two routes of the same prefix, table and metric `ip` refuses the second, and the kernel uses one
only.
"""

from __future__ import annotations

from collections.abc import Iterable

from shaper.desired.ip_route import format_address, format_route
from shaper.desired.ip_rule import format_rule
from shaper.desired.ip_words import refusal
from shaper.errors import InvalidValue
from shaper.model import Spec
from shaper.network import (
    GUARD_METRIC,
    MAIN_TABLE,
    IpAddress,
    IpNetwork,
    Network,
    Route,
    RouteKind,
)

Place = tuple[IpNetwork, int, int | None]  # prefix, table, metric


def check(network: Network, ifname: str) -> None:
    """Raise InvalidValue where what is declared for a shaper excludes itself."""
    own: set[IpAddress] = set()
    for address in network.addresses:
        if (address.ip in own and address.version == 6) or network.addresses.count(address) > 1:
            raise refusal("address", format_address(address), "it is declared twice")
        own.add(address.ip)
    taken: set[Place] = set()
    for route in network.routes:
        if (reason := _why_not(route, own, taken, ifname)) is not None:
            raise refusal("route", format_route(route), reason)
        taken.update(places(route))
    for rule in network.rules:
        if network.rules.count(rule) > 1:
            raise refusal("rule", format_rule(rule), "it is declared twice")


def refuse_doubles(specs: Iterable[Spec]) -> None:
    """Raise InvalidValue where two shapers have a route of the same place."""
    holders: dict[Place, str] = {}
    for spec in specs:
        for route in spec.network.routes:
            for place in places(route):
                other = holders.setdefault(place, spec.ifname)
                if other != spec.ifname and route.kind is RouteKind.UNICAST:
                    reason = f"{other} has a route of this prefix, table and metric"
                    refused = refusal("route", format_route(route), reason)
                    error = InvalidValue(f"device.{spec.ifname}: {refused}")
                    error.declared, error.ifname = refused.declared, spec.ifname
                    raise error


def places(route: Route) -> list[Place]:
    """Return which routes exclude this one: one place, or two for a default of the main table."""
    is_default = route.destination.prefixlen == 0 and route.kind is RouteKind.UNICAST
    is_halved = is_default and route.table == MAIN_TABLE
    destinations = [*route.destination.subnets()] if is_halved else [route.destination]
    return [(each, route.table, route.metric) for each in destinations]


def _why_not(route: Route, own: set[IpAddress], taken: set[Place], ifname: str) -> str | None:
    destination = route.destination
    is_host = destination.prefixlen == destination.max_prefixlen
    if not taken.isdisjoint(places(route)):
        return "another of this prefix, table and metric is declared before it"
    if route.metric is not None and route.metric >= GUARD_METRIC:
        return f"metric {route.metric} is not less than that of its guard, {GUARD_METRIC}"
    if route.gateway in own:
        return f"via {route.gateway} is {ifname}'s own address"
    if is_host and destination.network_address in own and route.kind is RouteKind.UNICAST:
        return f"it leads to {ifname}'s own address"
    return None
