"""Addresses and routes as `ip` writes them: read, and written back.

The subset is that which makes sense for a shaper: one next hop, no encapsulation. A word that is
not understood is refused by name, and never passed over. See ip-route(8).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any

from shaper.desired.ip_words import EVERYTHING, MOST, Words, refusal, why_no_host
from shaper.network import (
    DEFAULT_METRICS,
    MAIN_TABLE,
    IpInterface,
    IpNetwork,
    Route,
    RouteKind,
)

# Specified: RFC 791; net/ipv4/metrics.c, which makes more to this.
_MIN_MTU = 68
_MAX_MTU = 65535 - 15
_FAMILIES = {"inet": 4, "-4": 4, "inet6": 6, "-6": 6}
# Specified: the names that iproute2 has for scopes and protocols (lib/rt_names.c).
_SCOPES = frozenset(("global", "link", "host", "site", "nowhere"))
_PROTOCOLS = frozenset(
    ("redirect", "kernel", "boot", "static", "ra", "dhcp", "zebra", "bird", "babel", "keepalived")
) | frozenset(("bgp", "isis", "ospf", "rip", "eigrp", "openr"))


def parse_address(text: str) -> IpInterface:
    """Return an address with its prefix length. Raises InvalidValue, naming it."""
    try:
        address = ip_interface(text)
    except ValueError as error:
        raise refusal("address", text, str(error)) from None
    reason = why_no_host(address.ip)
    if reason is None and address.version == 6 and address.ip.is_loopback:
        reason = "is the loopback address"
    if reason is not None:
        raise refusal("address", text, f"{address.ip} {reason}")
    return address


def format_address(address: IpInterface) -> str:
    """Return an address as `parse_address` takes it."""
    return str(address)


def parse_route(text: str, ifname: str, tables: dict[str, int] | None = None) -> Route:
    """Return a route as `ip route add` takes it. Raises InvalidValue, naming line and value.

    Args:
        text: for example `10.1.0.0/24 via 10.0.0.1 onlink table 7`. A `default` without a next
            hop takes that of the master's own default route; `inet6 default` is that of IPv6.
        ifname: the shaper, which may be named by `dev` and need not be.
        tables: numbers of tables by name, as rt_tables has them.
    """
    words = Words("route", text)
    family = words.take_if("inet", "inet6", "-4", "-6")
    kind = RouteKind(words.take_if(*RouteKind) or RouteKind.UNICAST)
    destination = words.prefix()
    values = _route_values(words, ifname, tables or {})
    version = _version(words, family, destination, values)
    if kind is not RouteKind.UNICAST and "dev" in values:
        raise words.wrong(f"a {kind} route leads through no device")
    if version == 6 and values.get("via_family") == "inet":
        raise words.wrong("IPv4 and IPv6 are mixed")
    kept = {key: value for key, value in values.items() if key not in _NOT_KEPT}
    if kept.get("metric") == 0:  # the kernel takes it for its default
        kept["metric"] = DEFAULT_METRICS[version]
    route = Route(destination or EVERYTHING[version], kind, **kept)
    return _checked_route(words, route, is_default=destination is None)


def _route_values(words: Words, ifname: str, tables: dict[str, int]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while words:
        key = words.take()
        if key == "dev":
            if (named := words.take()) != ifname:
                raise words.wrong(f"dev {named} is not {ifname}")
            taken: dict[str, Any] = {"dev": named}
        elif (take := _ROUTE_KEYS.get(key)) is not None:
            taken = take(words, tables)
        else:
            raise words.wrong(f"{key!r} is not understood here")
        if not values.keys().isdisjoint(taken):
            raise words.wrong(f"{key} is said twice")
        values |= taken
    return values


def _via(words: Words, _: dict[str, int]) -> dict[str, Any]:
    family = words.take_if("inet", "inet6")
    gateway = words.host("via")
    if family is not None and gateway.version != _FAMILIES[family]:
        raise words.wrong(f"via {gateway} is no address of {family}")
    return {"gateway": gateway, "via_family": family}


def _metric(words: Words, _: dict[str, int]) -> dict[str, Any]:
    return {"metric": words.number("metric", most=MOST - 1)}


def _mtu(words: Words, _: dict[str, int]) -> dict[str, Any]:
    words.take_if("lock")
    return {"mtu_bytes": words.number("mtu", _MIN_MTU, _MAX_MTU)}


def _scope(words: Words, _: dict[str, int]) -> dict[str, Any]:
    words.one_of("scope", _SCOPES, 255)  # it follows from the next hop
    return {"scope": None}


def _protocol(words: Words, _: dict[str, int]) -> dict[str, Any]:
    words.one_of("proto", _PROTOCOLS, 255)  # it is ours
    return {"proto": None}


_ROUTE_KEYS: dict[str, Callable[[Words, dict[str, int]], dict[str, Any]]] = {
    "via": _via,
    **dict.fromkeys(("metric", "preference", "priority"), _metric),
    "table": lambda words, tables: {"table": words.table(tables)},
    "src": lambda words, _: {"source": words.host("src")},
    "mtu": _mtu,
    "onlink": lambda words, _: {"is_onlink": True},
    "scope": _scope,
    "proto": _protocol,
}
_NOT_KEPT = ("dev", "via_family", "scope", "proto")


def _version(
    words: Words, family: str | None, destination: IpNetwork | None, values: dict[str, Any]
) -> int:
    named = [destination, values.get("source")]
    if values.get("via_family") is None:  # `via inet6` is a next hop of IPv4 as well
        named.append(values.get("gateway"))
    told = {each.version for each in named if each is not None}
    if family is not None:
        told.add(_FAMILIES[family])
    if len(told) > 1:
        raise words.wrong("IPv4 and IPv6 are mixed")
    return told.pop() if told else _FAMILIES[values.get("via_family") or "inet"]


def _checked_route(words: Words, route: Route, *, is_default: bool) -> Route:
    if route.kind is not RouteKind.UNICAST and (route.gateway or route.is_onlink):
        raise words.wrong(f"a {route.kind} route has no next hop")
    if route.is_onlink and route.gateway is None:
        raise words.wrong("onlink needs a next hop (via)")
    if route.gateway is not None and route.gateway.is_loopback:
        raise words.wrong(f"via {route.gateway} is a loopback address")
    if route.destination.is_multicast:
        raise words.wrong(f"{route.destination} is a multicast prefix")
    follows = is_default and route.kind is RouteKind.UNICAST and route.gateway is None
    return Route(**{**vars(route), "follows_master": follows})


def format_route(route: Route) -> str:
    """Return a route as `parse_route` takes it."""
    words = [] if route.kind is RouteKind.UNICAST else [route.kind.value]
    is_default = route.destination.prefixlen == 0
    if is_default and route.kind is RouteKind.UNICAST and route.gateway is None:
        is_default = route.follows_master  # what does not leads to the link itself
    if is_default and route.version == 6 and route.gateway is None and route.source is None:
        words.insert(0, "inet6")
    if is_default and route.gateway is not None and route.gateway.version > route.version:
        words.insert(0, "inet")
    words.append("default" if is_default else str(route.destination))
    if route.gateway is not None:
        is_other = route.gateway.version != route.version
        words += ["via", *["inet6"] * is_other, str(route.gateway)]
    if route.is_onlink:
        words.append("onlink")
    if route.table != MAIN_TABLE:
        words += ["table", str(route.table)]
    if route.metric is not None:
        words += ["metric", str(route.metric)]
    if route.source is not None:
        words += ["src", str(route.source)]
    if route.mtu_bytes is not None:
        words += ["mtu", str(route.mtu_bytes)]
    return " ".join(words)
