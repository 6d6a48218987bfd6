"""The way of a packet to one address: rules, table, shaper, neighbour, master; a line each."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from shapecfg.doctor.gather import Gathering
from shaper.desired.diagnosis.facts import Case, Packet, Way
from shaper.desired.findings import Finding, Severity
from shaper.errors import InvalidValue
from shaper.model import Capture, State
from shaper.network import IpAddress, RuleAction
from shaper.units import format_rate

_TABLE_NAMES = {253: "default", 254: "main", 255: "local"}  # linux/rtnetlink.h


def parse_destination(text: str) -> IpAddress:
    """Return an address. Raises InvalidValue."""
    try:
        return ip_address(text)
    except ValueError as error:
        raise InvalidValue(f"{text!r} is no address: write one as 10.1.0.2 or fd00::2") from error


def describe(
    gathering: Gathering, cases: list[Case], address: IpAddress
) -> tuple[list[str], list[Finding]]:
    """Return a line for each part of the way, and what is found wrong with it."""
    machine = cases[0].machine
    way = machine.ways.get(Packet(address))
    if way is None:
        return [f"{address} is this machine itself, or a group of machines"], []
    if way.refusal:
        sentence = f"packets to {address} are refused ({way.refusal})"
        return [sentence], [
            Finding("refused", Severity.FAULT, sentence, f"ip route get {address}")
        ]
    case = next((each for each in cases if each.shown.ifindex == way.device), None)
    lines = [*_rules(cases[0], way, address), _table(cases[0], way)]
    lines.append(_shaper(case, machine.name(way.device)))
    leaving = case.master if case is not None else way.device
    lines.append(_neighbour(gathering, case, way, address, leaving))
    lines += _master(cases, leaving)
    if case is None and not _takers(cases, leaving):
        leaves = machine.name(way.device)
        sentence = (
            f"what goes to {address} leaves by {leaves}, through no shaper that is looked at"
        )
        remedy = f"ip route add {address} dev {cases[0].shown.ifname}"
        return lines, [Finding("passes-by", Severity.FAULT, sentence, remedy)]
    return lines, []


def _rules(case: Case, way: Way, address: IpAddress) -> Iterator[str]:
    for rule in case.machine.rules:
        is_for_all = not (rule.mark or rule.input_device or rule.uids or rule.source)
        reaches = rule.destination is None or address in rule.destination
        if rule.version != address.version or not is_for_all or not reaches:
            continue
        if rule.action is RuleAction.LOOKUP and rule.table == way.table:
            yield f"rule {rule.priority or 0} leads to table {_name(rule.table)}"
            return
    yield f"a rule leads to table {_name(way.table)}"


def _table(case: Case, way: Way) -> str:
    via = f" via {way.gateway}" if way.gateway is not None else ""
    device = case.machine.name(way.device)
    source = f", from {way.source}" if way.source is not None else ""
    return f"table {_name(way.table)}: {way.destination}{via} by {device}{source}"


def _shaper(case: Case | None, device: str) -> str:
    if case is None:
        return f"{device} is no shaper"
    shown = case.shown
    rate = format_rate(shown.rate_bits) if shown.rate_bits else "none"
    return f"shaper {shown.ifname}: state {shown.state}, rate {rate}, leaves by {shown.master}"


def _neighbour(
    gathering: Gathering, case: Case | None, way: Way, address: IpAddress, leaving: int | None
) -> str:
    hop = str(way.gateway or address)
    for ifindex in (way.device, leaving):
        known = gathering.survey.neighbours(ifindex).get(hop) if ifindex else None
        if known is not None:
            state, link_address = known
            return f"neighbour {hop}: {' '.join(filter(None, [state, link_address]))}"
    return f"neighbour {hop}: not asked for yet"


def _master(cases: list[Case], leaving: int | None) -> Iterator[str]:
    machine = cases[0].machine
    if leaving is None:
        yield "no master"
        return
    qdisc = machine.qdiscs.get(leaving)
    state = "up" if leaving in machine.ups else "down"
    kind = f", qdisc {qdisc.kind}" if qdisc is not None else ""
    yield f"master {machine.name(leaving)}: {state}, mtu {machine.mtus.get(leaving)}{kind}"
    for case in _takers(cases, leaving):
        yield f"shaper {case.shown.ifname} takes all that {machine.name(leaving)} sends"


def _takers(cases: list[Case], leaving: int | None) -> list[Case]:
    return [
        case
        for case in cases
        if case.shown.capture is Capture.EGRESS
        and case.shown.state is State.ACTIVE
        and case.master == leaving
    ]


def _name(table: int) -> str:
    return _TABLE_NAMES.get(table, str(table))
