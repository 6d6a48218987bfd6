"""What to ask the kernel about the routes of a shaper: a packet for each, and why that one.

For a route, an address of its prefix is sought that no longer prefix of the same table has. The
packet to it is given what the first rule that leads to the table looks at. More packets follow for
rules before that one which look at marks, users or input devices, and lead elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from shaper.desired.diagnosis.facts import Case, Packet, TableRoute
from shaper.network import IpAddress, IpNetwork, Rule, RuleAction

# Some unassigned addresses, for routes to (half) the Internet: RFC 5737, 6598, 3849, 4193.
_ANYWHERE = tuple(map(ip_address, ("198.51.100.1", "100.64.0.1", "2001:db8::1", "fd00:db8::1")))
# Chosen.
_MOST_ROUTES = 64  # of a shaper; each is a question or more
_MOST_RULES = 16


@dataclass(frozen=True)
class Question:
    """A packet, and what makes it one that the shaper should get.

    Attributes:
        route: the shaper's route that it is to take.
        rule: the rule that leads to the table of the route.
        earlier: a rule before it that the packet was made for; None for the plain one.
    """

    packet: Packet
    route: TableRoute
    rule: Rule
    earlier: Rule | None = None


def questions(case: Case) -> Iterator[Question]:
    """Return what to ask about a shaper that takes what is routed to it."""
    if not case.is_by_route:
        return
    for route in case.routes[:_MOST_ROUTES]:
        rule = leading_rule(case.machine.rules, route)
        if rule is None:
            continue
        address = _address(route, rule, case.machine.routes, case.machine.own_addresses)
        yield Question(_packet(address, rule), route, rule)
        if route.is_kernels:
            continue
        for earlier in _earlier(case.machine.rules, route, rule):
            yield Question(_packet(address, earlier), route, rule, earlier)


def leading_rule(rules: Iterable[Rule], route: TableRoute) -> Rule | None:
    """Return the first rule by which a packet can come to a route; None where none leads there."""
    version, prefix_bits = route.destination.version, route.destination.prefixlen
    for rule in rules:
        is_one = rule.version == version and rule.action is RuleAction.LOOKUP
        suppressed = rule.suppress_prefix_bits
        is_suppressed = suppressed is not None and prefix_bits <= suppressed
        reaches = rule.destination is None or _meet(rule.destination, route.destination)
        if is_one and rule.table == route.table and not is_suppressed and reaches:
            return rule
    return None


def _earlier(rules: Iterable[Rule], route: TableRoute, leading: Rule) -> list[Rule]:
    """Return rules before one that pick out packets by something else than their destination."""
    found = []
    for rule in rules:
        if rule is leading:
            break
        picks = _picks(rule) and not rule.is_inverted
        is_other = rule.table != route.table or rule.action is not RuleAction.LOOKUP
        reaches = rule.destination is None or _meet(rule.destination, route.destination)
        if rule.version == leading.version and picks and is_other and reaches:
            found.append(rule)
    return found[:_MOST_RULES]


def _picks(rule: Rule) -> bool:
    return bool(rule.mark or rule.input_device or rule.uids or rule.source)


def _meet(one: IpNetwork, other: IpNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _packet(address: IpAddress, rule: Rule) -> Packet:
    """Return a packet that a rule looks for."""
    if rule.is_inverted:
        return Packet(address)
    return Packet(
        address,
        input_device=rule.input_device if rule.input_device != "lo" else None,
        source=_first(rule.source) if rule.source is not None else None,
        mark=rule.mark,
        uid=rule.uids[0] if rule.uids else None,
        protocol_number=rule.protocol_number,
        destination_port=rule.destination_ports[0] if rule.destination_ports else None,
    )


def _address(
    route: TableRoute, rule: Rule, routes: Iterable[TableRoute], own: Iterable[IpNetwork]
) -> IpAddress:
    """Return an address of a route that no longer prefix has, if there is one."""
    within = route.destination
    wanted = rule.destination if not rule.is_inverted else None
    if wanted is not None and wanted.prefixlen > within.prefixlen:
        within = wanted
    longer = [
        each.destination
        for each in routes
        if each.table == route.table
        and each.destination.prefixlen > route.destination.prefixlen
        and _meet(each.destination, within)
        and not set(each.devices) & set(route.devices)
    ]
    taken = [*longer, *(each for each in own if _meet(each, within))]
    for address in _candidates(within, taken):
        if not any(address in each for each in taken):
            return address
    return _first(within)


def _candidates(within: IpNetwork, taken: Iterable[IpNetwork]) -> Iterator[IpAddress]:
    if within.prefixlen <= 1:
        yield from (each for each in _ANYWHERE if each in within)
    yield _first(within)
    for each in taken:
        for address in (_beside(each, 1), _beside(each, -1)):
            if address is not None and address in within:
                yield address


def _beside(network: IpNetwork, step: int) -> IpAddress | None:
    """Return the address before or after a prefix."""
    edge = network.network_address if step < 0 else network.broadcast_address
    try:
        return edge + step
    except ValueError:
        return None


def _first(network: IpNetwork) -> IpAddress:
    return network.network_address + (1 if network.num_addresses > 2 else 0)
