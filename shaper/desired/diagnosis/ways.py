"""Routes and rules: does what should come to the shaper come to it."""

from __future__ import annotations

from collections.abc import Iterator

from shaper.desired.diagnosis.facts import Case, Packet, TableRoute, Way
from shaper.desired.diagnosis.questions import Question, leading_rule, questions
from shaper.desired.findings import Finding, Severity
from shaper.network import MAIN_TABLE, IpNetwork, Rule, RuleAction

# Specified: include/uapi/linux/rtnetlink.h.
_TABLE_NAMES = {253: "default", 254: "main", 255: "local"}

# Chosen: of a route that is (half) the Internet, exceptions are the rule.
_MOST_GENERAL_BITS = 1


def _no_route(case: Case) -> Iterator[Finding]:
    if case.is_by_route and not case.routes:
        ifname = case.shown.ifname
        yield Finding(
            "no-route",
            Severity.FAULT,
            f"no route leads through {ifname}, so it shapes nothing",
            f"ip route add NETWORK dev {ifname}",
        )


def _no_rule(case: Case) -> Iterator[Finding]:
    if not case.is_by_route:
        return
    tables = sorted(
        {
            (each.destination.version, each.table)
            for each in case.routes
            if leading_rule(case.machine.rules, each) is None
        }
    )
    for version, table in tables:
        yield Finding(
            "table-without-rule",
            Severity.FAULT,
            f"no rule leads to table {_table(table)}, whose routes lead through "
            f"{case.shown.ifname}",
            f"{_ip(version)} rule add lookup {_table(table)}",
        )


def _elsewhere(case: Case) -> Iterator[Finding]:
    losing = []
    for question in questions(case):
        way = case.machine.ways.get(question.packet)
        if way is None or way.device in case.machine.shapers:
            continue
        if question.earlier is not None:
            if way.device == case.master and way.table != question.route.table:
                yield _by_rule(case, question, way, Severity.WARNING)
        elif question.route.is_kernels:
            losing.append((question, way))
        else:
            yield _why(case, question, way)
    if len(losing) == len(case.routes):  # it has connected routes alone, and none is used
        for question, way in losing:
            yield _why(case, question, way)


def _why(case: Case, question: Question, way: Way) -> Finding:
    if way.refusal:
        return _refused(case, question, way)
    if way.table != question.route.table:
        return _by_rule(case, question, way, Severity.FAULT)
    destination = way.destination or question.route.destination
    is_longer = destination.prefixlen > question.route.destination.prefixlen
    if is_longer:
        return _longer(case, question.route, destination, way.device, Severity.FAULT)
    ifname, other = case.shown.ifname, case.machine.name(way.device)
    return Finding(
        "better-route",
        Severity.FAULT,
        f"the route to {destination} by {other}{_metric(way.metric)} is preferred to the one by "
        f"{ifname}{_metric(question.route.metric)}",
        _delete(destination, other, way.table, way.metric),
    )


def _refused(case: Case, question: Question, way: Way) -> Finding:
    rule = _refusing_rule(case, question)
    destination = question.route.destination
    version = destination.version
    if rule is not None:
        remedy: str | None = f"{_ip(version)} rule del priority {rule.priority or 0}"
    else:
        remedy = f"{_ip(version)} route get {question.packet.destination}"
    return Finding(
        "refused",
        Severity.FAULT,
        f"what goes to {destination} over {case.shown.ifname} is refused ({way.refusal})",
        remedy,
    )


def _refusing_rule(case: Case, question: Question) -> Rule | None:
    for rule in case.machine.rules:
        if rule is question.rule:
            return None
        is_refusing = rule.action is not RuleAction.LOOKUP
        destination = rule.destination
        reaches = destination is None or question.packet.destination in destination
        if is_refusing and rule.version == question.rule.version and reaches:
            return rule
    return None


def _by_rule(case: Case, question: Question, way: Way, severity: Severity) -> Finding:
    """Return that a rule leads to another table before the shaper's is asked."""
    route, version = question.route, question.route.destination.version
    before = question.earlier or _rule_to(case, way.table, question)
    priority = before.priority or 0 if before is not None else 0
    where = f"rule {priority}{_picks(question.packet, question.earlier)} leads to table "
    target = "" if route.destination.prefixlen == 0 else f"to {route.destination} "
    if priority > 1:
        selector = _selector(question.earlier or question.rule)
        remedy = (
            f"{_ip(version)} rule add {target}{selector}lookup {_table(route.table)} "
            f"priority {priority - 1}"
        )
    else:
        remedy = f"{_ip(version)} rule del priority {priority}"
    return Finding(
        "earlier-rule",
        severity,
        f"{where}{_table(way.table)}, so what goes to {route.destination} leaves by "
        f"{case.machine.name(way.device)} before table {_table(route.table)} is asked for "
        f"{case.shown.ifname}",
        remedy,
    )


def _rule_to(case: Case, table: int, question: Question) -> Rule | None:
    version = question.rule.version
    same = (each for each in case.machine.rules if each.version == version)
    return next((each for each in same if each.table == table), None)


def _more_specific(case: Case) -> Iterator[Finding]:
    """Look for routes by the master into the middle of the shaper's."""
    if not case.is_by_route or case.master is None:
        return
    by_master = [
        each for each in case.machine.routes if case.master in each.devices and not each.is_kernels
    ]
    for route in case.routes:
        for other in by_master:
            if _is_inside(other, route) and not set(other.devices) & case.machine.shapers:
                yield _longer(case, route, other.destination, case.master, Severity.WARNING)


def _is_inside(other: TableRoute, route: TableRoute) -> bool:
    own, its = route.destination, other.destination
    is_same_kind = own.version == its.version and other.table == route.table
    return (
        is_same_kind
        and own.prefixlen > _MOST_GENERAL_BITS
        and not route.is_kernels
        and its.prefixlen > own.prefixlen
        and its.subnet_of(own)  # type: ignore[arg-type]
    )


def _longer(
    case: Case, route: TableRoute, destination: IpNetwork, device: int | None, severity: Severity
) -> Finding:
    other = case.machine.name(device)
    return Finding(
        "longer-prefix",
        severity,
        f"the route to {destination} by {other} is more specific than {route.destination} by "
        f"{case.shown.ifname}",
        _delete(destination, other, route.table, None),
    )


def _several_hops(case: Case) -> Iterator[Finding]:
    for route in case.routes:
        others = [
            case.machine.name(each) for each in route.devices if each not in case.machine.shapers
        ]
        if case.is_by_route and others:
            yield Finding(
                "multipath",
                Severity.WARNING,
                f"the route to {route.destination} leads through {case.shown.ifname} and "
                f"{', '.join(others)}, so part of the traffic passes by",
                f"{_ip(route.destination.version)} route replace {route.destination} dev "
                f"{case.shown.ifname}{_of_table(route.table)}",
            )


def _lost_with_carrier(case: Case) -> Iterator[Finding]:
    """Look for what opens the way past a shaper that loses carrier."""
    if not case.is_by_route:
        return
    ifname = case.shown.ifname
    unguarded = [each for each in case.routes if not each.is_declared and not each.is_kernels]
    for scope in ("all", ifname):
        if unguarded and case.machine.sysctls.get(f"{scope}.ignore_routes_with_linkdown"):
            yield Finding(
                "ignore-linkdown",
                Severity.WARNING,
                f"ignore_routes_with_linkdown lets traffic pass {ifname} by while it has no "
                "carrier",
                f"sysctl -w net.ipv4.conf.{scope.replace('.', '/')}.ignore_routes_with_linkdown=0",
            )
    for route in case.routes:
        if route.has_nexthop_object:
            yield Finding(
                "nexthop-object",
                Severity.WARNING,
                f"the route to {route.destination} by {ifname} uses a nexthop object, which the "
                "kernel removes when carrier is lost",
                f"{_ip(route.destination.version)} route replace {route.destination} dev {ifname}"
                f"{_of_table(route.table)}",
            )


def _no_source(case: Case) -> Iterator[Finding]:
    for question in questions(case):
        way = case.machine.ways.get(question.packet)
        is_own = question.packet.input_device is None and question.earlier is None
        if way is None or way.device != case.shown.ifindex or way.source is not None:
            continue
        if is_own and not question.route.is_kernels:
            yield Finding(
                "no-source-address",
                Severity.FAULT,
                f"there is no source address for packets to {question.route.destination} over "
                f"{case.shown.ifname}",
                f"ip addr add ADDRESS dev {case.shown.ifname}",
            )


def _not_forwarding(case: Case) -> Iterator[Finding]:
    for question in questions(case):
        device = question.rule.input_device
        if device in (None, "lo") or question.earlier is not None:
            continue
        name = "ip_forward" if question.rule.version == 4 else "ipv6.forwarding"
        if case.machine.sysctls.get(name) == 0:
            key = "ipv4.ip_forward" if name == "ip_forward" else "ipv6.conf.all.forwarding"
            yield Finding(
                "not-forwarding",
                Severity.FAULT,
                f"what arrives on {device} is to leave by {case.shown.ifname}, but forwarding is "
                "off",
                f"sysctl -w net.{key}=1",
            )


def _other_family(case: Case) -> Iterator[Finding]:
    """Look for a machine whose IPv4 is all shaped, and whose IPv6 all passes by."""
    if not case.is_by_route or case.master is None:
        return
    versions = {each.destination.version for each in case.routes if _is_general(each)}
    if 4 not in versions or any(
        each.destination.version == 6 for each in case.routes if not each.is_kernels
    ):
        return
    for route in case.machine.routes:
        is_default = route.destination.version == 6 and route.destination.prefixlen == 0
        if is_default and case.master in route.devices and route.table == MAIN_TABLE:
            yield Finding(
                "ipv6-passes-by",
                Severity.WARNING,
                f"IPv4 is routed over {case.shown.ifname}, IPv6 leaves by {case.shown.master}",
                f"ip -6 route add default dev {case.shown.ifname} metric 512",
            )


def _is_general(route: TableRoute) -> bool:
    return route.destination.prefixlen <= _MOST_GENERAL_BITS


CHECKS = (
    _no_route,
    _no_rule,
    _elsewhere,
    _more_specific,
    _several_hops,
    _lost_with_carrier,
    _no_source,
    _not_forwarding,
    _other_family,
)


def _picks(packet: Packet, rule: Rule | None) -> str:
    if rule is None:
        return ""
    picked = _selector(rule).strip()
    return f" ({picked})" if picked else ""


def _selector(rule: Rule) -> str:
    """Return what a rule looks at, as `ip rule` writes it; with a blank behind it."""
    words = []
    if rule.source is not None:
        words.append(f"from {rule.source}")
    if rule.mark is not None:
        words.append(f"fwmark {rule.mark}")
    if rule.input_device is not None:
        words.append(f"iif {rule.input_device}")
    if rule.uids is not None:
        words.append(f"uidrange {rule.uids[0]}-{rule.uids[1]}")
    return "".join(f"{each} " for each in words)


def _delete(destination: IpNetwork, ifname: str, table: int, metric: int | None) -> str:
    shown = f" metric {metric}" if metric else ""
    words = f"{_ip(destination.version)} route del {destination} dev {ifname}"
    return f"{words}{shown}{_of_table(table)}"


def _metric(metric: int | None) -> str:
    return f" (metric {metric})" if metric else ""


def _of_table(table: int) -> str:
    return "" if table == MAIN_TABLE else f" table {_table(table)}"


def _table(table: int) -> str:
    return _TABLE_NAMES.get(table, str(table))


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip -6"
