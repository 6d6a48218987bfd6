"""How addresses, routes and rules are told to the kernel, and how it tells of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from shaper.kernel.netlink import filled
from shaper.kernel.netlink_messages import Message
from shaper.network import (
    IPV6_DEFAULT_METRIC,
    PROTOCOL,
    IpInterface,
    IpNetwork,
    Route,
    RouteKind,
    Rule,
    RuleAction,
)

# Specified: include/uapi/linux/rtnetlink.h, if_addr.h, fib_rules.h.
_RTNH_F_ONLINK = 4
_RT_SCOPE_UNIVERSE = 0
_RT_SCOPE_LINK = 253
RTPROT_KERNEL = 2
BY_ROUTERS = (1, 9)  # RTPROT_REDIRECT, RTPROT_RA: learnt from the link, and learnt again
_IFA_F_SECONDARY = 0x01  # of IPv6: temporary (RFC 8981)
IFA_F_NODAD = 0x02
_IFA_F_DEPRECATED = 0x20
_IFA_F_TENTATIVE = 0x40
_IFA_F_DADFAILED = 0x08
IFA_F_NOPREFIXROUTE = 0x200
_FIB_RULE_INVERT = 0x2
_KINDS = {
    1: RouteKind.UNICAST,
    6: RouteKind.BLACKHOLE,
    7: RouteKind.UNREACHABLE,
    8: RouteKind.PROHIBIT,
    9: RouteKind.THROW,
}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_ACTIONS = {
    1: RuleAction.LOOKUP,
    6: RuleAction.BLACKHOLE,
    7: RuleAction.UNREACHABLE,
    8: RuleAction.PROHIBIT,
}
_ACTION_NUMBERS = {action: number for number, action in _ACTIONS.items()}
_PORT_MASKS = (28, 29)  # told of every single port from Linux 6.15 on; unknown to pyroute2
_RULE_ATTRIBUTES = {
    "FRA_SPORT_MASK",
    "FRA_DPORT_MASK",
    "FRA_DST",
    "FRA_SRC",
    "FRA_IIFNAME",
    "FRA_PRIORITY",
    "FRA_FWMARK",
    "FRA_SUPPRESS_PREFIXLEN",
    "FRA_TABLE",
    "FRA_FWMASK",
    "FRA_OIFNAME",
    "FRA_UID_RANGE",
    "FRA_PROTOCOL",
    "FRA_IP_PROTO",
    "FRA_SPORT_RANGE",
    "FRA_DPORT_RANGE",
}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_VERSIONS = {family: version for version, family in FAMILIES.items()}
_ADDRESS_BITS = {4: 32, 6: 128}
_MAX_SHORT_TABLE = 255  # of the header; larger ones are in RTA_TABLE alone
_ROUTE_MTU = "RTAX_MTU"


@dataclass(frozen=True)
class SeenAddress:
    """An address of a device.

    Attributes:
        is_ours: it bears our protocol.
        is_lasting: global, settled, and neither temporary nor deprecated.
        onlink: to which prefix the kernel makes a route because of it; None with noprefixroute.
    """

    address: IpInterface
    is_ours: bool
    is_lasting: bool
    onlink: IpNetwork | None


@dataclass(frozen=True)
class SeenRoute:
    """A route as the kernel has it."""

    route: Route
    ifindex: int | None
    protocol: int


@dataclass(frozen=True)
class SeenRule:
    """A rule as the kernel has it."""

    rule: Rule
    protocol: int


def route_request(route: Route, ifindex: int | None) -> Message:
    """Return the request that names a route, and that adds it."""
    is_direct = route.version == 4 and route.gateway is None and route.kind is RouteKind.UNICAST
    request = filled(
        rtmsg(),
        family=FAMILIES[route.version],
        dst_len=route.destination.prefixlen,
        table=route.table if route.table <= _MAX_SHORT_TABLE else 0,
        proto=PROTOCOL,
        scope=_RT_SCOPE_LINK if is_direct else _RT_SCOPE_UNIVERSE,
        type=_KIND_NUMBERS[route.kind],
        flags=_RTNH_F_ONLINK if route.is_onlink else 0,
        RTA_TABLE=route.table,
    )
    if route.destination.prefixlen:
        request = filled(request, RTA_DST=str(route.destination.network_address))
    optional: dict[str, object] = {
        "RTA_OIF": ifindex if route.kind is RouteKind.UNICAST else None,
        **_gateway(route),
        "RTA_PRIORITY": route.metric,
        "RTA_PREFSRC": None if route.source is None else str(route.source),
        "RTA_METRICS": None
        if route.mtu_bytes is None
        else {"attrs": [(_ROUTE_MTU, route.mtu_bytes)]},
    }
    return filled(request, **{key: value for key, value in optional.items() if value is not None})


def _gateway(route: Route) -> dict[str, object]:
    if route.gateway is None:
        return {}
    if route.gateway.version == route.version:
        return {"RTA_GATEWAY": str(route.gateway)}
    return {"RTA_VIA": {"family": FAMILIES[route.gateway.version], "addr": str(route.gateway)}}


def rule_request(rule: Rule) -> Message:
    """Return the request that names a rule, and that adds it."""
    request = filled(
        fibmsg(),
        family=FAMILIES[rule.version],
        src_len=rule.source.prefixlen if rule.source else 0,
        dst_len=rule.destination.prefixlen if rule.destination else 0,
        table=rule.table if rule.table <= _MAX_SHORT_TABLE else 0,
        action=_ACTION_NUMBERS[rule.action],
        flags=_FIB_RULE_INVERT if rule.is_inverted else 0,
        FRA_PROTOCOL=PROTOCOL,
    )
    optional: dict[str, object] = {
        "FRA_SRC": rule.source and str(rule.source.network_address),
        "FRA_DST": rule.destination and str(rule.destination.network_address),
        "FRA_TABLE": rule.table if rule.action is RuleAction.LOOKUP else None,
        "FRA_PRIORITY": rule.priority,
        "FRA_FWMARK": rule.mark,
        "FRA_FWMASK": rule.mark_mask,
        "FRA_IIFNAME": rule.input_device,
        "FRA_OIFNAME": rule.output_device,
        "FRA_IP_PROTO": rule.protocol_number,
        "FRA_SPORT_RANGE": _range(rule.source_ports),
        "FRA_DPORT_RANGE": _range(rule.destination_ports),
        "FRA_UID_RANGE": _range(rule.uids),
        "FRA_SUPPRESS_PREFIXLEN": rule.suppress_prefix_bits,
    }
    return filled(request, **{key: value for key, value in optional.items() if value is not None})


def _range(ports: tuple[int, int] | None) -> str | None:
    return None if ports is None else f"{ports[0]}:{ports[1]}"


def own_address(message: Message) -> str:
    """Return the address itself; IFA_ADDRESS is the far end of a point-to-point one."""
    return str(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))


def seen_address(message: Message) -> SeenAddress:
    """Return what RTM_NEWADDR tells."""
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    is_temporary = message["family"] == socket.AF_INET6 and flags & _IFA_F_SECONDARY
    unsettled = _IFA_F_DEPRECATED | _IFA_F_TENTATIVE | _IFA_F_DADFAILED
    return SeenAddress(
        ip_interface(f"{own_address(message)}/{message['prefixlen']}"),
        is_ours=message.get_attr("IFA_PROTO") == PROTOCOL,
        is_lasting=message["scope"] == _RT_SCOPE_UNIVERSE
        and not flags & unsettled
        and not is_temporary,
        onlink=None
        if flags & IFA_F_NOPREFIXROUTE
        else ip_network(f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}", strict=False),
    )


def seen_route(message: Message, hop_through: int | None = None) -> SeenRoute | None:
    """Return a route, or None for one that cannot be declared: of another kind, or narrower.

    Args:
        message: RTM_NEWROUTE.
        hop_through: the device whose next hop is returned of several (RTA_MULTIPATH); None:
            a route with several is one that cannot be declared.
    """
    hop = _hop(message, hop_through)
    return None if hop is None else _seen_by(message, hop)


def seen_hops(message: Message) -> list[SeenRoute]:
    """Return a route for each of the next hops that RTM_NEWROUTE tells of.

    Of IPv6 two routes of one metric become one with two of them, and go one by one.
    """
    hops = message.get_attr("RTA_MULTIPATH") or [message]
    return [seen for hop in hops if (seen := _seen_by(message, hop)) is not None]


def _seen_by(message: Message, hop: Message) -> SeenRoute | None:
    kind, version = _KINDS.get(message["type"]), _VERSIONS[message["family"]]
    if kind is None:
        return None
    if message["tos"] or message["src_len"] or message.get_attr("RTA_ENCAP_TYPE"):
        return None
    network = message.get_attr("RTA_DST") or ("0.0.0.0" if version == 4 else "::")
    via = hop.get_attr("RTA_VIA") or {}
    gateway = hop.get_attr("RTA_GATEWAY") or via.get("addr")
    source = message.get_attr("RTA_PREFSRC")
    metric = message.get_attr("RTA_PRIORITY")
    metrics = message.get_attr("RTA_METRICS")
    route = Route(
        ip_network(f"{network}/{message['dst_len']}"),
        kind,
        gateway=ip_address(gateway) if gateway else None,
        is_onlink=bool(hop["flags"] & _RTNH_F_ONLINK),
        table=message.get_attr("RTA_TABLE") or message["table"],
        metric=None if version == 6 and metric == IPV6_DEFAULT_METRIC else metric,
        source=ip_address(source) if source else None,
        mtu_bytes=metrics.get_attr(_ROUTE_MTU) if metrics is not None else None,
    )
    ifindex = message.get_attr("RTA_OIF") if hop is message else hop["oif"]
    return SeenRoute(route, ifindex if kind is RouteKind.UNICAST else None, message["proto"])


def _hop(message: Message, ifindex: int | None) -> Message | None:
    """Return what names the next hop: the route itself, or one of its several."""
    hops: list[Message] | None = message.get_attr("RTA_MULTIPATH")
    if not hops:
        return message
    return next((hop for hop in hops if hop["oif"] == ifindex), None)


def seen_rule(message: Message) -> SeenRule | None:
    """Return a rule, or None for one that cannot be declared: of another action, or selector."""
    action = _ACTIONS.get(message["action"])
    if action is None or _is_narrower(message):
        return None
    return SeenRule(
        Rule(
            _VERSIONS[message["family"]],
            action,
            table=message.get_attr("FRA_TABLE") or message["table"],
            priority=message.get_attr("FRA_PRIORITY") or 0,
            is_inverted=bool(message["flags"] & _FIB_RULE_INVERT),
            **dict(_selectors(message)),
        ),
        message.get_attr("FRA_PROTOCOL") or 0,
    )


def _is_narrower(message: Message) -> bool:
    """Whether a rule of somebody else's has a selector that `Rule` has not."""
    if message.get_attr("FRA_PROTOCOL") == PROTOCOL:
        return False
    others = (each for each in message["attrs"] if each[0] not in _RULE_ATTRIBUTES)
    return bool(message["tos"]) or any(map(_is_other, others))


def _is_other(attribute: tuple[str, Any]) -> bool:
    name, value = attribute
    return name != "UNKNOWN" or value["header"]["type"] not in _PORT_MASKS


def _selectors(message: Message) -> Iterator[tuple[str, Any]]:
    for name, attribute, length in (
        ("source", "FRA_SRC", "src_len"),
        ("destination", "FRA_DST", "dst_len"),
    ):
        if (address := message.get_attr(attribute)) is not None:
            yield name, ip_network(f"{address}/{message[length]}")
    for name, attribute in (
        ("input_device", "FRA_IIFNAME"),
        ("output_device", "FRA_OIFNAME"),
        ("protocol_number", "FRA_IP_PROTO"),
    ):
        if value := message.get_attr(attribute):
            yield name, value
    if mask := message.get_attr("FRA_FWMASK"):  # a mark of 0 is not told
        yield "mark", message.get_attr("FRA_FWMARK") or 0
        yield "mark_mask", mask
    for name, attribute in (
        ("source_ports", "FRA_SPORT_RANGE"),
        ("destination_ports", "FRA_DPORT_RANGE"),
        ("uids", "FRA_UID_RANGE"),
    ):
        if (span := message.get_attr(attribute)) is not None:
            low, high = map(int, span.split(":"))
            yield name, (low, high)
    suppressed = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
    if suppressed is not None and suppressed != 0xFFFF_FFFF:
        yield "suppress_prefix_bits", suppressed
