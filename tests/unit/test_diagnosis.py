"""What cannot be made in a namespace, or comes in more kinds than it would be worth to make."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from shaper.desired.diagnosis import diagnose
from shaper.desired.diagnosis.facts import (
    Case,
    MachineFacts,
    Packet,
    Processor,
    RootQdisc,
    Shown,
    TableRoute,
    Way,
)
from shaper.desired.diagnosis.questions import questions
from shaper.desired.findings import Finding, Severity
from shaper.model import Capture, State
from shaper.network import Rule, RuleAction

SHAPER, MASTER = 3, 2
REMOTE = ip_address("10.1.0.1")
ROUTE = TableRoute(ip_network("10.1.0.0/24"), 254, (SHAPER,))
RULES = (
    Rule(4, table=255, priority=0),
    Rule(4, table=254, priority=32766),
    Rule(6, table=254, priority=32766),
)
SHOWN = Shown("shaper0", SHAPER, "eth1", State.ACTIVE, mtu=1500, rate_bits=10_000_000)
MACHINE = MachineFacts(
    "1",
    "1",
    names={SHAPER: "shaper0", MASTER: "eth1", 4: "eth2"},
    mtus={SHAPER: 1500, MASTER: 1500, 4: 1500},
    ups=frozenset({SHAPER, MASTER, 4}),
    shapers=frozenset({SHAPER}),
    routes=(ROUTE,),
    rules=RULES,
    ways={Packet(REMOTE): Way(SHAPER, ROUTE.destination, 254, source=ip_address("10.0.0.1"))},
)


def ids(shown: Shown = SHOWN, **changes: Any) -> list[str]:
    """Return what is found of a shaper that is in force but for some facts."""
    return [each.id for each in diagnose(Case(shown, replace(MACHINE, **changes)))]


def test_nothing_is_found_where_all_is_well() -> None:
    """Of the shaper that the other tests begin with."""
    assert ids() == []


@pytest.mark.parametrize("state", [state for state in State if state is not State.ACTIVE])
def test_each_state_but_one_is_found(state: State) -> None:
    """By one finding alone: what follows from it is not told as well."""
    assert len(ids(replace(SHOWN, state=state))) == 1


def test_alarms_are_found() -> None:
    """But for the one that is a state."""
    alarms = {"slow": "a", "faults": "b", "bypassed": "c", "stalled": "d", "of tomorrow": "e"}
    found = ids(replace(SHOWN, alarms=alarms))
    assert found == ["alarm-slow", "alarm-faults", "alarm-bypassed"]


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (Processor(steal_percent=50), []),
        (Processor(throttled_group="/a", quota="/cg/a/cpu.max"), ["processor-quota"]),
        (Processor(replaced_seconds=9), ["forwarder-replaced"]),
    ],
)
def test_processors(processor: Processor, expected: list[str]) -> None:
    """Time that is stolen is no matter while the rate is reached."""
    assert ids(processor=processor) == expected


def test_stolen_time_is_the_reason_of_an_alarm() -> None:
    """Where the shaper is slow, it is told."""
    slow = replace(SHOWN, alarms={"slow": "a"})
    assert ids(slow, processor=Processor(steal_percent=50)) == ["alarm-slow", "processor-steal"]


def test_a_quota_is_lifted_where_it_is() -> None:
    """The word for none differs between the two kinds of control groups."""
    for file, word in (("/cg/cpu.max", "max"), ("/cg/cpu.cfs_quota_us", "-1")):
        processor = Processor(throttled_group="/", quota=file)
        (found,) = diagnose(Case(SHOWN, replace(MACHINE, processor=processor)))
        assert found.remedy == f"echo {word} > {file}"


def test_drops_of_the_qdisc_are_found() -> None:
    """Those while doctor looks; a shaper of what is received is not sent by that qdisc."""
    qdiscs = {MASTER: RootQdisc("pfifo", drops=3)}
    assert ids(qdiscs=qdiscs) == ["qdisc-drops"]
    assert ids(replace(SHOWN, capture=Capture.INGRESS), qdiscs=qdiscs) == []


def test_no_source_address() -> None:
    """The kernel has none to give."""
    ways = {Packet(REMOTE): Way(SHAPER, ROUTE.destination, 254)}
    assert ids(ways=ways) == ["no-source-address"]


@pytest.mark.parametrize("capture", [Capture.EGRESS, Capture.INGRESS, Capture.CGROUP])
def test_what_is_taken_by_device_needs_no_route(capture: Capture) -> None:
    """Nor is anything asked about routes."""
    shown = replace(SHOWN, capture=capture, cgroup="a")
    assert ids(shown, routes=()) == []
    assert list(questions(Case(shown, MACHINE))) == []


def test_an_address_is_asked_for_that_no_longer_prefix_has() -> None:
    """Exceptions are stepped over, and so are the machine's own addresses."""
    longer = TableRoute(ip_network("10.1.0.0/30"), 254, (4,))
    own = (ip_network("10.1.0.4/32"),)
    machine = replace(MACHINE, routes=(ROUTE, longer), own_addresses=own)
    (question,) = questions(Case(SHOWN, machine))
    assert question.packet == Packet(ip_address("10.1.0.5"))


def test_a_packet_is_one_that_the_rule_looks_for() -> None:
    """Marks and the like of the rule that leads to the table."""
    rule = Rule(4, table=100, priority=10, mark=7, input_device="eth2", destination_ports=(80, 90))
    machine = replace(MACHINE, routes=(replace(ROUTE, table=100),), rules=(rule, *RULES))
    (question,) = questions(Case(SHOWN, machine))
    expected = Packet(REMOTE, input_device="eth2", mark=7, destination_port=80)
    assert question.packet == expected


def test_a_rule_that_suppresses_short_prefixes_does_not_lead_to_a_default_route() -> None:
    """As `wg-quick` uses it."""
    default = TableRoute(ip_network("0.0.0.0/0"), 254, (SHAPER,))
    rule = replace(RULES[1], suppress_prefix_bits=0)
    assert ids(routes=(default,), rules=(rule,)) == ["table-without-rule"]


def test_a_rule_that_is_turned_round_is_asked_about_plainly() -> None:
    """`not fwmark 7` is for packets without a mark."""
    rule = Rule(4, table=100, priority=10, mark=7, is_inverted=True)
    machine = replace(MACHINE, routes=(replace(ROUTE, table=100),), rules=(rule, *RULES))
    (question,) = questions(Case(SHOWN, machine))
    assert question.packet == Packet(REMOTE)


def test_what_leaves_by_another_device_for_marks_is_not_passing_by() -> None:
    """It is not the master's traffic; by the master it is."""
    rule = Rule(4, table=100, priority=10, mark=7)
    for device, expected in ((4, []), (MASTER, ["earlier-rule"])):
        ways = {**MACHINE.ways, Packet(REMOTE, mark=7): Way(device, ROUTE.destination, 100)}
        assert ids(rules=(rule, *RULES), ways=ways) == expected


def test_what_another_shaper_has_is_shaped() -> None:
    """A route that is preferred and leads through a shaper is no fault."""
    ways = {Packet(REMOTE): Way(4, ROUTE.destination, 254)}
    assert ids(ways=ways) == ["better-route"]
    assert ids(ways=ways, shapers=frozenset({SHAPER, 4})) == []


def test_refusing_rules() -> None:
    """The rule that refuses is named, with the command that removes it."""
    rule = Rule(4, RuleAction.PROHIBIT, priority=10)
    ways = {Packet(REMOTE): Way(refusal="prohibited")}
    (found,) = diagnose(Case(SHOWN, replace(MACHINE, rules=(rule, *RULES), ways=ways)))
    assert (found.id, found.remedy) == ("refused", "ip rule del priority 10")


LEGACY = ("*filter", ":OUTPUT DROP [0:0]", "-A OUTPUT -o eth1 -j ACCEPT")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (LEGACY, ["firewall-output"]),
        ((*LEGACY, "-A OUTPUT -o shaper0 -j ACCEPT"), []),
        ((*LEGACY, "-A OUTPUT -j ACCEPT"), []),
        ((":FORWARD DROP [0:0]", "-A FORWARD -o docker0 -j ACCEPT"), []),
        ((":FORWARD DROP [0:0]", "-A FORWARD -o eth1 -j ACCEPT"), ["firewall-forward"]),
        (("-A POSTROUTING -o eth1 -j MASQUERADE",), ["masquerade-names-master"]),
        (
            (
                "-A POSTROUTING -o eth1 -j MASQUERADE",
                "-A POSTROUTING -o shaper0 -j MASQUERADE",
            ),
            [],
        ),
        (("-A POSTROUTING -s 10.2.0.0/24 -j MASQUERADE",), []),
    ],
)
def test_tables_of_before_nftables(lines: tuple[str, ...], expected: list[str]) -> None:
    """What names the master alone is found, and nothing else."""
    assert ids(legacy_rules=lines) == expected


def chain(*rules: list[dict[str, Any]], policy: str = "drop") -> list[dict[str, Any]]:
    """Return an output chain as nft prints it."""
    place = {"family": "inet", "table": "f"}
    base = {**place, "name": "out", "hook": "output", "type": "filter", "policy": policy}
    made = [{"rule": {**place, "chain": "out", "expr": rule}} for rule in rules]
    return [{"chain": base}, *made]


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    """Return a match."""
    return {"match": {"op": op, "left": left, "right": right}}


OIF = {"meta": {"key": "oifname"}}
DADDR = {"payload": {"protocol": "ip", "field": "daddr"}}
STATE = {"ct": {"key": "state"}}
PORT = {"payload": {"protocol": "tcp", "field": "dport"}}
ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
PREFIX = {"prefix": {"addr": "10.1.0.0", "len": 24}}


@pytest.mark.parametrize(
    ("ruleset", "is_found"),
    [
        (chain([match(OIF, "eth1"), ACCEPT]), True),
        (chain([match(OIF, "eth*"), ACCEPT]), True),
        (chain([match(OIF, "*"), ACCEPT]), False),
        (chain([match(OIF, {"set": ["eth1", "shaper0"]}), ACCEPT]), False),
        (chain([match(OIF, "eth1", "!="), DROP], policy="accept"), True),
        (chain([match(OIF, "shaper0"), match(PORT, 80), ACCEPT]), False),
        (chain([match(STATE, ["established"], "in"), ACCEPT]), False),
        (chain(), True),
        (chain([match(DADDR, PREFIX), DROP], policy="accept"), True),
        (chain([match(DADDR, str(REMOTE)), DROP], policy="accept"), True),
        (chain([match(DADDR, "10.9.0.1"), DROP], policy="accept"), False),
        (chain([match(DADDR, "@named"), DROP], policy="accept"), False),
        (chain([match(DADDR, {"range": ["10.0.0.0", "10.1.0.9"]}), DROP], policy="accept"), True),
        (chain([match(PORT, 25), DROP], policy="accept"), False),
        (chain([match(OIF, "shaper0"), match(PORT, 25), DROP], policy="accept"), False),
        (chain([ACCEPT], [DROP]), False),
    ],
)
def test_chains_of_nftables(ruleset: list[dict[str, Any]], is_found: bool) -> None:
    """A chain is found where new packets to the routed prefix are dropped for sure."""
    assert ids(ruleset=ruleset) == (["firewall-output"] if is_found else [])


def test_what_cannot_be_seen_is_no_fault() -> None:
    """An ordinary user's doctor knows no rule set."""
    assert ids(ruleset=None, reverse_path_rules=None) == []


def test_what_the_daemon_found_is_told_too() -> None:
    """Faults first; and of the firewall what was seen anew counts."""
    old = Finding("reverse-path-rule", Severity.WARNING, "a")
    other = Finding("rp-filter", Severity.FAULT, "b")
    case = Case(SHOWN, MACHINE)
    assert diagnose(case, [old, other]) == [other, old]
    seen = Case(SHOWN, replace(MACHINE, reverse_path_rules=()))
    assert diagnose(seen, [old, other]) == [other]
