"""Sets and maps of nftables, and what is a condition, decide as they do in the kernel."""

from __future__ import annotations

import copy
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.desired.diagnosis.ruleset import AskedPacket, Ruleset
from tests.unit.test_diagnosis_firewall import ACCEPT, DROP, by, chain, found, to

OIFNAME = {"meta": {"key": "oifname"}}
DADDR = {"payload": {"protocol": "ip", "field": "daddr"}}
STATE = {"ct": {"key": "state"}}
LAN = {"prefix": {"addr": "10.1.0.0", "len": 24}}


def vmap(key: object, *pairs: tuple[object, object]) -> dict[str, Any]:
    """Return a statement with a map of verdicts."""
    return {"vmap": {"key": key, "data": {"set": [list(pair) for pair in pairs]}}}


def named(kind: str, name: str, *elements: object) -> dict[str, Any]:
    """Return a set or a map of the table."""
    return {kind: {"family": "ip", "table": "t", "name": name, "elem": list(elements)}}


def both(device: str, address: object) -> dict[str, Any]:
    """Return a statement that looks at device and destination at once."""
    right = {"set": [{"concat": [device, address]}]}
    return {"match": {"op": "==", "left": {"concat": [OIFNAME, DADDR]}, "right": right}}


JUMP = {"jump": {"target": "d"}}
FAULTS = {
    "a map that has the master alone": chain(
        [vmap(OIFNAME, ("lo", ACCEPT), ("eth1", ACCEPT))], policy="drop"
    ),
    "a map that drops": chain([vmap(OIFNAME, ("shaper0", DROP))]),
    "a map that leads to a chain": chain([vmap(OIFNAME, ("shaper0", JUMP))])
    + chain([DROP], hook="", name="d"),
    "a state before it": chain(
        [vmap(STATE, ("established", ACCEPT))], [by("eth1"), ACCEPT], policy="drop"
    ),
    "a named set": [named("set", "wan", "eth1"), *chain([by("@wan"), ACCEPT], policy="drop")],
    "a named set of destinations": [
        named("set", "lan", {"elem": {"val": LAN, "timeout": 60}}),
        *chain([by("shaper0"), to("@lan"), DROP]),
    ],
    "a named map": [
        named("map", "wan", ["eth1", ACCEPT]),
        *chain([{"vmap": {"key": OIFNAME, "data": "@wan"}}], policy="drop"),
    ],
    "device and destination at once": chain([both("eth1", LAN), ACCEPT], policy="drop"),
}
HEALTHY = {
    "a map that has the shaper": chain([vmap(OIFNAME, ("shaper0", ACCEPT))], policy="drop"),
    "a map that leads to what accepts": chain([vmap(OIFNAME, ("shaper0", JUMP))], policy="drop")
    + chain([ACCEPT], hook="", name="d"),
    "a named set": [
        named("set", "wan", "eth1", "shaper0"),
        *chain([by("@wan"), ACCEPT], policy="drop"),
    ],
    "a named set that is not": [
        named("set", "wan", "eth1"),
        *chain([by("@wan", "!="), ACCEPT], policy="drop"),
    ],
    "a set that nobody has": chain([by("@wan"), DROP]),
    "device and destination at once": chain([both("shaper0", LAN), ACCEPT], policy="drop"),
    "another destination": chain([both("shaper0", "10.9.0.1"), DROP]),
    "a limit": chain([{"limit": {"rate": 10}}, DROP]),
    "a number of connections": chain([{"ct count": {"val": 10}}, DROP]),
    "something of iptables": chain([{"xt": {"type": "match", "name": "set"}}, DROP]),
    "a state alone": chain([vmap(STATE, ("established", ACCEPT))], policy="drop"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_drops_is_found(name: str) -> None:
    """Whatever the device is written in."""
    assert [each.id for each in found(FAULTS[name])] == ["firewall-output"]


@pytest.mark.parametrize("name", HEALTHY)
def test_what_accepts_or_may_do_anything_is_not(name: str) -> None:
    """A false alarm is as bad as none."""
    assert found(HEALTHY[name]) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 300) | st.sampled_from(["eth1", "@x", "", "ip"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["set", "concat", "elem", "val", "meta", "key", "payload", "prefix"]),
            inner,
            max_size=2,
        )
    ),
    max_leaves=8,
)


@given(rules=st.sampled_from([*FAULTS.values(), *HEALTHY.values()]), data=st.data())
def test_an_expression_that_is_not_known_is_passed_over(rules: Any, data: st.DataObject) -> None:
    """A newer nft has forms that are not known here; none ends the doctor."""
    rules = copy.deepcopy(rules)
    for each in rules:
        for statement in each.get("rule", {}).get("expr", []):
            for verb in ("match", "vmap"):
                if verb in statement:
                    changed = data.draw(st.sampled_from(sorted(statement[verb])))
                    statement[verb][changed] = data.draw(JSON)
    told = Ruleset(rules)
    for every in told.chains:
        packet = AskedPacket("shaper0", ip_address("10.1.0.1"))
        assert told.verdict(every, packet) in ("accept", "drop", "reject", "")
        told.spares(every, packet)
