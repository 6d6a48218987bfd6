"""Addresses and routes as `ip` writes them: read, and written back.

The subset is that which makes sense for a shaper: one next hop, no encapsulation. A word that is
not understood is refused by name, and never passed over. See ip-route(8).
"""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any

from shaper.desired.ip_words import EVERYTHING, MOST, Words
from shaper.errors import InvalidValue
from shaper.network import MAIN_TABLE, IpInterface, IpNetwork, Route, RouteKind

# Specified: RFC 791; the length field of IPv4.
_MIN_MTU = 68
_MAX_MTU = 65535


def parse_address(text: str) -> IpInterface:
    """Return an address with its prefix length. Raises InvalidValue, naming it."""
    try:
        return ip_interface(text)
    except ValueError as error:
        raise InvalidValue(f"address {text!r}: {error}") from None


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
    route = Route(destination or EVERYTHING[version], kind, **values)
    return _checked_route(words, route, is_default=destination is None)


def _route_values(words: Words, ifname: str, tables: dict[str, int]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while words:
        key = words.take()
        if key == "via":
            words.take_if("inet", "inet6")
            values["gateway"] = words.address(key)
        elif key == "dev":
            if (named := words.take()) != ifname:
                raise words.wrong(f"dev {named} is not {ifname}")
        elif key in ("metric", "preference", "priority"):
            values["metric"] = words.number("metric", most=MOST - 1)
        elif key == "table":
            values["table"] = words.table(tables)
        elif key == "src":
            values["source"] = words.address(key)
        elif key == "mtu":
            words.take_if("lock")
            values["mtu_bytes"] = words.number(key, _MIN_MTU, _MAX_MTU)
        elif key == "onlink":
            values["is_onlink"] = True
        elif key in ("proto", "scope"):
            words.take()  # the protocol is ours, and the scope follows from the next hop
        else:
            raise words.wrong(f"{key!r} is not understood here")
    return values


def _version(
    words: Words, family: str | None, destination: IpNetwork | None, values: dict[str, Any]
) -> int:
    told = {
        each.version
        for each in (destination, values.get("gateway"), values.get("source"))
        if each is not None
    }
    if family is not None:
        told.add(6 if family.endswith("6") else 4)
    if len(told) > 1:
        raise words.wrong("IPv4 and IPv6 are mixed")
    return told.pop() if told else 4


def _checked_route(words: Words, route: Route, *, is_default: bool) -> Route:
    if route.kind is not RouteKind.UNICAST and (route.gateway or route.is_onlink):
        raise words.wrong(f"a {route.kind} route has no next hop")
    if route.is_onlink and route.gateway is None:
        raise words.wrong("onlink needs a next hop (via)")
    if route.destination.is_multicast:
        raise words.wrong(f"{route.destination} is a multicast prefix")
    follows = is_default and route.kind is RouteKind.UNICAST and route.gateway is None
    return Route(**{**vars(route), "follows_master": follows})


def format_route(route: Route) -> str:
    """Return a route as `parse_route` takes it."""
    words = [] if route.kind is RouteKind.UNICAST else [route.kind.value]
    is_default = route.destination.prefixlen == 0
    if is_default and route.version == 6 and route.gateway is None and route.source is None:
        words.insert(0, "inet6")
    words.append("default" if is_default else str(route.destination))
    if route.gateway is not None:
        words += ["via", str(route.gateway)]
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
