"""Rule sets, as nft and iptables-save print them, that keep traffic from a shaper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shaper.desired.diagnosis import diagnose
from shaper.desired.diagnosis.facts import Case
from shaper.desired.findings import Finding
from shaper.model import Capture
from tests.unit.test_diagnosis import MACHINE, SHOWN

Statement = dict[str, Any]
ACCEPT: Statement = {"accept": None}
DROP: Statement = {"drop": None}
MASQUERADE: Statement = {"masquerade": None}


def match(left: Statement, right: object, operator: str = "==") -> Statement:
    """Return a statement that looks at something."""
    return {"match": {"op": operator, "left": left, "right": right}}


def by(device: object, operator: str = "==") -> Statement:
    """Return a statement that looks at the device by which a packet leaves."""
    return match({"meta": {"key": "oifname"}}, device, operator)


def to(address: object, protocol: str = "ip") -> Statement:
    """Return a statement that looks at the destination."""
    return match({"payload": {"protocol": protocol, "field": "daddr"}}, address)


PORT = match({"payload": {"protocol": "tcp", "field": "dport"}}, 22)


def chain(
    *rules: list[Statement],
    hook: str = "output",
    policy: str = "accept",
    kind: str = "filter",
    family: str = "ip",
    name: str = "c",
) -> list[Statement]:
    """Return a chain and its rules."""
    place = {"family": family, "table": "t"}
    base = {"hook": hook, "type": kind, "policy": policy} if hook else {}
    made: list[Statement] = [{"chain": {**place, "name": name, **base}}]
    return made + [{"rule": {**place, "chain": name, "expr": rule}} for rule in rules]


def found(ruleset: list[Statement], capture: Capture = Capture.ROUTE) -> list[Finding]:
    """Return what is found of a shaper on a machine with these rules."""
    machine = replace(MACHINE, ruleset=ruleset, sysctls={"ip_forward": 1})
    return list(diagnose(Case(replace(SHOWN, capture=capture, cgroup="a"), machine)))


MASTER_ONLY = [by("eth1"), ACCEPT]


@pytest.mark.parametrize(
    "rules",
    [
        [[by("shaper0"), DROP]],
        [[by("shaper*"), {"reject": {}}]],
        [[by({"set": ["lo", "shaper0"]}), DROP]],
        [[by("shaper0"), to("10.1.0.1"), DROP]],
        [[by("shaper0"), to({"prefix": {"addr": "10.1.0.0", "len": 24}}), DROP]],
        [[by("shaper0"), to({"range": ["10.1.0.0", "10.1.0.9"]}), DROP]],
        [[by("eth1", "!="), DROP]],
    ],
)
def test_a_rule_that_drops_what_leaves_by_the_shaper(rules: list[list[Statement]]) -> None:
    """However device and destination are written; the remedy names the chain."""
    (finding,) = found(chain(*rules))
    assert finding.id == "firewall-output"
    assert finding.remedy == 'nft insert rule ip t c oifname "shaper0" accept'


@pytest.mark.parametrize(
    "rules",
    [
        [[by("eth2"), DROP]],
        [[to("10.9.0.1"), DROP]],
        [[to({"prefix": {"addr": "10.9.0.0", "len": 24}}), DROP]],
        [[to({"range": ["10.9.0.0", "10.9.0.9"]}), DROP]],
        [[to({"range": ["fd00::1", "fd00::9"]}), DROP]],
        [[to("@blocked"), DROP]],
        [[to("no address"), DROP]],
        [[to(7), DROP]],
        [[by(7), DROP]],
        [[PORT, DROP]],
        [[match("not looked at", 1), DROP]],
        [[by("shaper0"), ACCEPT], [DROP]],
        [[by("shaper0"), PORT, ACCEPT], [DROP]],
        [[{"counter": {}}], [{"return": None}], [DROP]],
        [[match({"meta": {"key": "nfproto"}}, "ipv6"), DROP]],
        [[match({"meta": {"key": "protocol"}}, "ip6"), DROP]],
    ],
)
def test_a_rule_about_something_else(rules: list[list[Statement]]) -> None:
    """What may not match drops nothing for certain."""
    assert found(chain(*rules)) == []


def test_a_policy_drops_what_no_rule_accepts() -> None:
    """The master is accepted by name, and the shaper is not; both families are asked."""
    for family in ("ip", "inet"):
        (finding,) = found(chain(MASTER_ONLY, policy="drop", family=family, hook="forward"))
        assert finding.id == "firewall-forward"
    assert found(chain(MASTER_ONLY, policy="drop", family="ip6")) == []
    assert found(chain(MASTER_ONLY, policy="drop", family="netdev")) == []


def test_a_chain_that_accepts_nothing_is_shut() -> None:
    """What the machine sends itself is dropped on every device; a router may mean to."""
    assert [each.id for each in found(chain([DROP]))] == ["firewall-output"]
    assert [each.id for each in found(chain(policy="drop"))] == ["firewall-output"]
    assert found(chain([PORT, ACCEPT], policy="drop")) == []
    assert found(chain(policy="drop", hook="forward")) == []


@pytest.mark.parametrize("verb", ["jump", "goto"])
def test_a_jump_is_followed(verb: str) -> None:
    """To a chain that decides, or one that does not; in circles it ends."""
    jump = [by("shaper0"), {verb: {"target": "d"}}]
    assert len(found(chain(jump) + chain([DROP], hook="", name="d"))) == 1
    assert found(chain(jump) + chain([by("eth2"), DROP], hook="", name="d")) == []
    assert found(chain(jump) + chain(jump, hook="", name="d")) == []
    assert found(chain([{verb: {"target": "of another table"}}])) == []


def test_a_shaper_that_takes_by_device_is_not_looked_at() -> None:
    """To netfilter what it takes leaves by the master."""
    rules = chain([by("shaper0"), DROP]) + chain(
        [by("eth1"), MASQUERADE], hook="postrouting", kind="nat", name="n"
    )
    assert found(rules, Capture.EGRESS) == []


def nat(*rules: list[Statement], hook: str = "postrouting") -> list[Statement]:
    """Return a chain that translates addresses."""
    return chain(*rules, hook=hook, kind="nat")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (MASQUERADE, "masquerade"),
        ({"snat": {"addr": "192.0.2.1"}}, "snat to 192.0.2.1"),
    ],
)
def test_translation_that_names_the_master(statement: Statement, words: str) -> None:
    """The remedy is the same for the shaper, in the same words."""
    (finding,) = found(nat([PORT], [by("eth1"), statement]))
    assert finding.id == "masquerade-names-master"
    assert finding.remedy == f'nft add rule ip t c oifname "shaper0" {words}'


@pytest.mark.parametrize(
    "rules",
    [
        [[by("eth1"), MASQUERADE], [by("shaper0"), MASQUERADE]],
        [[by("eth1"), MASQUERADE], [MASQUERADE]],
        [[by("eth2"), MASQUERADE]],
        [[by("eth1"), ACCEPT]],
    ],
)
def test_translation_that_covers_the_shaper_or_not_its_master(rules: list[Any]) -> None:
    """Nothing is found where the shaper is translated, too, or the master is not."""
    assert found(nat(*rules)) == []
    assert found(nat([by("eth1"), MASQUERADE], hook="prerouting")) == []


@pytest.mark.parametrize(
    ("lines", "remedies"),
    [
        (
            ["-A POSTROUTING -o eth1 -j MASQUERADE"],
            ["iptables -t nat -A POSTROUTING -o shaper0 -j MASQUERADE"],
        ),
        (["-A POSTROUTING -o eth1 -j MASQUERADE", "-A POSTROUTING -o shaper0 -j MASQUERADE"], []),
        (["-A POSTROUTING -o eth1 -j ACCEPT", "-A POSTROUTING -j MASQUERADE"], []),
        ([":OUTPUT DROP [0:0]"], ["iptables -I OUTPUT -o shaper0 -j ACCEPT"]),
        ([":OUTPUT DROP [0:0]", "-A OUTPUT -o shaper0 -j ACCEPT"], []),
        ([":OUTPUT DROP [0:0]", "-A OUTPUT -j ACCEPT"], []),
        ([":FORWARD DROP [0:0]"], []),
        (
            [":FORWARD DROP [0:0]", "-A FORWARD -o eth1 -j ACCEPT"],
            ["iptables -I FORWARD -o shaper0 -j ACCEPT"],
        ),
    ],
)
def test_the_tables_of_before_nftables(lines: list[str], remedies: list[str]) -> None:
    """As iptables-save prints them."""
    for capture, expected in ((Capture.ROUTE, remedies), (Capture.EGRESS, [])):
        case = Case(replace(SHOWN, capture=capture), replace(MACHINE, legacy_rules=tuple(lines)))
        assert [each.remedy for each in diagnose(case)] == expected
