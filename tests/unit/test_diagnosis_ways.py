"""Routes and rules that lead elsewhere, and what loses frames behind the shaper."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from shaper.desired.diagnosis import diagnose
from shaper.desired.diagnosis.facts import (
    BoundSocket,
    Case,
    Neighbour,
    Packet,
    RootQdisc,
    TableRoute,
    Way,
)
from shaper.desired.diagnosis.questions import questions
from shaper.model import Capture
from shaper.network import Rule, RuleAction
from tests.unit.test_diagnosis import MACHINE, MASTER, REMOTE, ROUTE, RULES, SHAPER, SHOWN

NETWORK = ROUTE.destination
OTHER = 4


def found(shown: Any = SHOWN, **changes: Any) -> dict[str, str | None]:
    """Return what is found of a shaper but for some facts: remedies by finding."""
    case = Case(shown, replace(MACHINE, **changes))
    return {each.id: each.remedy for each in diagnose(case)}


def leads(way: Way) -> dict[Packet, Way]:
    """Return the kernel's answer to what would go to the shaper."""
    return {Packet(REMOTE): way}


def test_a_shaper_without_routes() -> None:
    """It shapes nothing, and a route is what is missing."""
    assert found(routes=(), ways={}) == {"no-route": "ip route add NETWORK dev shaper0"}


def test_a_table_that_no_rule_leads_to() -> None:
    """Of either family; the named tables are told by their names."""
    routes = (
        replace(ROUTE, table=253),
        TableRoute(ip_network("fd00:1::/64"), 100, (SHAPER,)),
    )
    remedies = [
        each.remedy
        for each in diagnose(Case(SHOWN, replace(MACHINE, routes=routes, ways={})))
        if each.id == "table-without-rule"
    ]
    assert remedies == ["ip rule add lookup default", "ip -6 rule add lookup 100"]


def test_a_route_that_is_preferred() -> None:
    """Of the same length: by its metric."""
    way = Way(OTHER, NETWORK, 254, metric=50)
    assert found(ways=leads(way)) == {
        "better-route": "ip route del 10.1.0.0/24 dev eth2 metric 50",
    }


def test_a_route_that_is_longer() -> None:
    """What the kernel took is told, and how to delete it from its table."""
    rules = (Rule(4, table=100, priority=10), *RULES)
    routes = (replace(ROUTE, table=100),)
    way = Way(OTHER, ip_network("10.1.0.0/28"), 100)
    assert found(routes=routes, rules=rules, ways=leads(way)) == {
        "longer-prefix": "ip route del 10.1.0.0/28 dev eth2 table 100",
    }


def test_a_route_by_the_master_into_the_middle() -> None:
    """Part of the traffic passes by: a warning, unless the kernel made the route."""
    inside = TableRoute(ip_network("10.1.0.128/25"), 254, (MASTER,))
    assert found(routes=(ROUTE, inside)) == {
        "longer-prefix": "ip route del 10.1.0.128/25 dev eth1",
    }
    assert found(routes=(ROUTE, replace(inside, is_kernels=True))) == {}
    assert found(routes=(ROUTE, replace(inside, table=100))) == {}


def test_a_rule_that_leads_to_another_table_first() -> None:
    """The remedy is a rule before it; where there is no place before it, its end."""
    way = leads(Way(MASTER, NETWORK, 100))
    for priority, remedy in (
        (10, "ip rule add to 10.1.0.0/24 lookup main priority 9"),
        (1, "ip rule del priority 1"),
    ):
        rules = (RULES[0], Rule(4, table=100, priority=priority), *RULES[1:])
        assert found(rules=rules, ways=way) == {"earlier-rule": remedy}
    # No rule that is known leads there.
    assert found(ways=way) == {"earlier-rule": "ip rule del priority 0"}


@pytest.mark.parametrize(
    ("picked", "packet", "words"),
    [
        (
            {"source": ip_network("10.0.0.0/24")},
            {"source": ip_address("10.0.0.0")},
            "from 10.0.0.0/24",
        ),
        ({"mark": 7}, {"mark": 7}, "fwmark 7"),
        ({"input_device": "eth2"}, {"input_device": "eth2"}, "iif eth2"),
        ({"uids": (5, 9)}, {"uid": 5}, "uidrange 5-9"),
    ],
)
def test_a_rule_that_picks_some_packets(
    picked: dict[str, Any], packet: dict[str, Any], words: str
) -> None:
    """What it looks at is in the remedy, and told."""
    rules = (RULES[0], Rule(4, table=100, priority=10, **picked), *RULES[1:])
    case = Case(SHOWN, replace(MACHINE, rules=rules))

    asked = [each.packet for each in questions(case) if each.earlier is not None]
    ways = {**MACHINE.ways, **{each: Way(MASTER, NETWORK, 100) for each in asked}}
    case = Case(SHOWN, replace(MACHINE, rules=rules, ways=ways))
    (finding,) = [each for each in diagnose(case) if each.id == "earlier-rule"]
    assert f"({words})" in finding.sentence
    assert finding.remedy == f"ip rule add to 10.1.0.0/24 {words} lookup main priority 9"


def test_what_is_refused() -> None:
    """By a rule, which is named; or by a route, which the kernel tells."""
    refused = leads(Way(refusal="blackhole"))
    assert found(ways=refused) == {"refused": "ip route get 10.1.0.1"}
    rule = Rule(4, priority=10, action=RuleAction.PROHIBIT, destination=NETWORK)
    assert found(ways=refused, rules=(rule, *RULES)) == {"refused": "ip rule del priority 10"}
    apart = replace(rule, destination=ip_network("10.9.0.0/24"))
    assert found(ways=refused, rules=(apart, *RULES)) == {"refused": "ip route get 10.1.0.1"}


def test_connected_routes_that_lose() -> None:
    """Those the kernel made are told only where none of the shaper's is used."""
    kernels = replace(ROUTE, is_kernels=True)
    way = leads(Way(MASTER, NETWORK, 254))
    assert list(found(routes=(kernels,), ways=way)) == ["better-route"]
    assert (
        found(routes=(kernels, TableRoute(ip_network("10.2.0.0/24"), 254, (SHAPER,))), ways=way)
        == {}
    )


def test_several_next_hops() -> None:
    """Part of what should be shaped leaves by another."""
    routes = (replace(ROUTE, devices=(SHAPER, OTHER)),)
    assert found(routes=routes) == {"multipath": "ip route replace 10.1.0.0/24 dev shaper0"}


def test_what_opens_the_way_past_a_shaper_without_carrier() -> None:
    """The sysctl of one device or of all, and next hops that are objects."""
    for scope in ("all", "shaper0"):
        sysctls = {f"{scope}.ignore_routes_with_linkdown": 1}
        remedy = f"sysctl -w net.ipv4.conf.{scope}.ignore_routes_with_linkdown=0"
        assert found(sysctls=sysctls) == {"ignore-linkdown": remedy}
        assert found(sysctls=sysctls, routes=(replace(ROUTE, is_declared=True),)) == {}
    assert found(routes=(replace(ROUTE, has_nexthop_object=True),)) == {
        "nexthop-object": "ip route replace 10.1.0.0/24 dev shaper0",
    }


@pytest.mark.parametrize(
    ("version", "name", "key"),
    [(4, "ip_forward", "ipv4.ip_forward"), (6, "ipv6.forwarding", "ipv6.conf.all.forwarding")],
)
def test_what_arrives_is_forwarded(version: int, name: str, key: str) -> None:
    """Where a rule looks at the device of arrival, forwarding has to be on."""
    network = ip_network("10.1.0.0/24" if version == 4 else "fd00:1::/64")
    rules = (Rule(version, table=100, priority=10, input_device="eth2"), *RULES)
    routes = (TableRoute(network, 100, (SHAPER,)),)
    off = found(routes=routes, rules=rules, ways={}, sysctls={name: 0})
    assert off == {"not-forwarding": f"sysctl -w net.{key}=1"}
    assert found(routes=routes, rules=rules, ways={}, sysctls={name: 1}) == {}


def test_all_of_ipv4_is_shaped_and_nothing_of_ipv6() -> None:
    """Where the machine has a default route of IPv6 by the master."""
    whole = TableRoute(ip_network("0.0.0.0/0"), 254, (SHAPER,))
    past = TableRoute(ip_network("::/0"), 254, (MASTER,))
    passes_by = {"ipv6-passes-by": "ip -6 route add default dev shaper0 metric 512"}
    assert found(routes=(whole, past), ways={}) == passes_by
    assert found(routes=(whole, replace(past, table=100)), ways={}) == {}
    some = TableRoute(ip_network("fd00::/64"), 254, (SHAPER,))
    assert found(routes=(whole, past, some), ways={}) == {}


@pytest.mark.parametrize(
    ("changes", "finding", "remedy"),
    [
        (
            {"qdiscs": {MASTER: RootQdisc("tbf", rate_bits=1_000_000)}},
            "qdisc-slower",
            "tc qdisc del dev eth1 root",
        ),
        ({"mtus": {MASTER: 1400}}, "mtu-larger", "ip link set shaper0 mtu 1400"),
        (
            {"bound": (BoundSocket(MASTER, "udp", 5353, 1000),)},
            "bound-to-master",
            "shapecfg replace shaper0 eth1 egress",
        ),
        (
            {
                "routes": (replace(ROUTE, gateway=ip_address("10.0.0.9")),),
                "failed": (Neighbour(SHAPER, "10.0.0.9"),),
            },
            "gateway-silent",
            "ip neigh show 10.0.0.9",
        ),
    ],
)
def test_what_loses_frames(changes: dict[str, Any], finding: str, remedy: str) -> None:
    """Of the master, of the neighbours, and of programs beside the shaper."""
    assert found(**changes) == {finding: remedy}


def test_what_loses_nothing() -> None:
    """A faster qdisc, DHCP's own socket, another device's neighbour."""
    assert found(qdiscs={MASTER: RootQdisc("tbf", rate_bits=10**9)}) == {}
    assert found(bound=(BoundSocket(MASTER, "udp", 68, 0), BoundSocket(OTHER, "udp", 1, 0))) == {}

    assert found(failed=(Neighbour(SHAPER, "10.0.0.9"), Neighbour(OTHER, "10.0.0.8"))) == {}


def test_many_bound_sockets_are_few_lines() -> None:
    """Any user can bind as many as it likes, and start as many programs."""
    bound = [BoundSocket(MASTER, "udp", port, 1000, "nc (7)") for port in range(1000, 2000)]
    bound += [BoundSocket(MASTER, "udp", 1, 1000, f"nc ({pid})") for pid in range(100, 400)]
    many = Case(SHOWN, replace(MACHINE, bound=tuple(bound)))
    told = [each.sentence for each in diagnose(many)]
    ports = "1000, 1001, 1002, 1003, …"
    assert told[0].startswith(f"nc (7) has bound 1000 udp sockets (ports {ports}) to eth1")
    assert told[-1].startswith("293 more have bound 293 sockets to eth1")
    assert len(told) == 9


def test_an_offload_that_is_off_matters_at_high_rates() -> None:
    """Below half a gigabit a frame at a time is no matter."""
    offloads = {MASTER: ("tso", "gso")}
    fast = replace(SHOWN, rate_bits=10**9)
    assert found(fast, slow_offloads=offloads) == {"offload-off": "ethtool -K eth1 tso on gso on"}
    assert found(slow_offloads=offloads) == {}


def test_a_program_that_comes_first() -> None:
    """It may take away what a shaper by device would see."""
    programs = {MASTER: ("other",)}
    shown = replace(SHOWN, capture=Capture.EGRESS)
    assert found(shown, foreign_programs=programs) == {
        "foreign-program": "bpftool net show dev eth1",
    }
    assert found(foreign_programs=programs) == {}
