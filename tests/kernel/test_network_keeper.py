"""Declared addresses, routes and rules are made true, kept true, and leave the rest alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.lab.topology import HOST, MASTER, Pair
from shaper.desired.declared import is_guard, parse_network, read_network
from shaper.desired.ip_route import format_route
from shaper.errors import KernelRefused
from shaper.kernel.routing import Routing
from shaper.kernel.wire import Wire
from shaper.network import PROTOCOL, Network
from shaper.supervisor.differences import Differences
from shaper.supervisor.network_keeper import NetworkKeeper
from tests.kernel.keeper_bench import ROUTES, RULES, SHAPER, KeeperBench, split_lines


@pytest.fixture
def bench(pair: Pair) -> Iterator[KeeperBench]:
    """A keeper and its host."""
    with pair.host.enter():
        wire = Wire()
    with contextlib.closing(wire):
        yield KeeperBench(pair, Routing(wire))


def test_a_default_is_shaped_and_the_machines_own_is_untouched(bench: KeeperBench) -> None:
    """Both families go by the shaper, with the master's next hop; then all is as before."""
    bench.declare("default", "inet6 default")
    assert f"via 10.0.0.100 dev {SHAPER}" in bench.ip("route", "get", "192.0.2.1")
    assert f"dev {SHAPER}" in bench.ip("-6", "route", "get", "2001:db8::1")
    assert f"default via 10.0.0.100 dev {MASTER}" in bench.ip("route", "show")
    bench.keeper.withdraw()
    bench.host.ip(f"link del {SHAPER}")
    assert bench.state() == bench.before


def test_what_is_removed_is_restored_and_closed_meanwhile(
    bench: KeeperBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its route the guard answers; the log tells of the restoration once."""
    bench.declare("default", "10.1.0.0/24", "10.5.0.0/16 table 7", rules=("fwmark 7 table 7",))
    for _ in range(2):
        bench.host.ip(
            f"route del 10.1.0.0/24 dev {SHAPER}",
            f"route del 0.0.0.0/1 dev {SHAPER}",
            f"route del 10.5.0.0/16 dev {SHAPER} table 7",
            "rule del fwmark 7",
        )
        for destination in (["10.1.0.2"], ["9.9.9.9"]):
            refused = bench.host.run(["ip", "route", "get", *destination], check=False)
            assert "No route to host" in refused.stderr
        bench.look()
        for destination in (["10.1.0.2"], ["9.9.9.9"], ["10.5.0.1", "mark", "7"]):
            assert SHAPER in bench.ip("route", "get", *destination)
    told = [record.message for record in caplog.records if "restored" in record.message]
    assert len(told) == 4


def test_a_new_lease_is_followed(bench: KeeperBench) -> None:
    """Address and next hop are those of the master, at once; no copy of the old one stays."""
    bench.declare("default")
    assert "10.0.0.1/32" in bench.ip("address", "show", "dev", SHAPER)
    bench.host.ip(
        f"address del 10.0.0.1/24 dev {MASTER}",
        f"address add 10.0.0.77/24 dev {MASTER}",
        "route add default via 10.0.0.101",
    )
    bench.look()
    shown = bench.ip("address", "show", "dev", SHAPER)
    assert "10.0.0.77/32" in shown
    assert "10.0.0.1/32" not in shown
    assert "via 10.0.0.101" in (got := bench.ip("route", "get", "9.9.9.9"))
    assert "src 10.0.0.77" in got


def test_what_is_not_declared_any_more_goes(bench: KeeperBench) -> None:
    """And what an administrator added to the same device stays."""
    bench.declare("10.1.0.0/24", rules=("to 10.6.0.0/16 table 7",))
    bench.host.ip(f"route add 10.7.0.0/16 dev {SHAPER}")
    bench.declare("10.2.0.0/24")
    routes = bench.ip("route", "show", "table", "all")
    assert "10.1.0.0/24" not in routes
    assert "10.6.0.0/16" not in bench.ip("rule", "show")
    assert f"10.2.0.0/24 dev {SHAPER}" in routes
    assert f"10.7.0.0/16 dev {SHAPER}" in routes


@pytest.mark.parametrize(
    "routes",
    [
        ["10.1.0.0/24 via 10.7.0.2", "10.1.0.0/24 via 10.7.0.3", "10.1.0.0/24"],
        ["fd09::/64 via fd07::2", "fd09::/64 via fd07::3", "fd09::/64"],
        ["default via fd07::2 onlink", "default via fd07::3 onlink"],
    ],
)
def test_another_next_hop_takes_the_place_of_the_one_before(
    bench: KeeperBench, routes: list[str]
) -> None:
    """Of two in IPv6 the kernel makes one route, which would share the traffic."""
    for line in [*routes, *routes]:
        bench.keeper.hold()
        bench.want(line, addresses=["10.7.0.1/24", "fd07::1/64"])
        bench.keeper.settle([SHAPER])
        bench.look()
        shown = bench.ip("-6" if ":" in line else "-4", "route", "show", "proto", "96")
        assert "nexthop" not in shown
        ways = {each.route for each in bench.routing.own_routes() if not is_guard(each.route)}
        gateways = {each.gateway for each in ways if each.destination.prefixlen != 128}
        assert [*map(str, gateways)] == [line.split()[2] if "via" in line else "None"]


@pytest.mark.parametrize(
    ("route", "address"), [("10.1.0.0/24", "10.7.0.1"), ("fd09::/64", "fd07::1")]
)
def test_a_route_goes_whose_source_has_gone(bench: KeeperBench, route: str, address: str) -> None:
    """IPv6 keeps it without the source that it had."""
    bench.declare(f"{route} src {address}", addresses=[f"{address}/24"])
    bench.declare("10.2.0.0/24", addresses=[])
    assert f"{route} dev" not in bench.ip("route", "show", "table", "all")


def test_an_earlier_daemons_leftovers_are_taken_over(bench: KeeperBench) -> None:
    """What it left and is not declared goes; what is declared stays where it is."""
    bench.declare("10.1.0.0/24", "10.3.0.0/24")
    successor = NetworkKeeper(bench.routing, lambda: [bench.subject])
    bench.subject = replace(
        bench.subject,
        network=parse_network(SHAPER, is_up=None, addresses=[], routes=["10.3.0.0/24"], rules=[]),
    )
    assert successor.look()
    routes = bench.ip("route", "show", "table", "all")
    assert "10.1.0.0/24" not in routes
    assert routes.count("10.3.0.0/24") == 2


def test_a_route_that_the_kernel_refuses_is_named(
    bench: KeeperBench, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the line and the kernel's word; the other routes are there."""
    with pytest.raises(AssertionError):
        bench.declare("10.1.0.0/24 via 192.0.2.99", "10.2.0.0/24")
    assert "10.1.0.0/24 via 192.0.2.99" in caplog.text
    assert f"10.2.0.0/24 dev {SHAPER}" in bench.ip("route", "show")


@pytest.mark.parametrize("prefix", ["10.1.0.0/24", "fd09::/64"])
def test_a_route_stays_while_the_one_in_its_place_is_refused(
    bench: KeeperBench, prefix: str
) -> None:
    """With another next hop or metric; what is at other places goes."""
    version = ["-6"] if ":" in prefix else ["-4"]
    gateway = "fd55::9" if ":" in prefix else "192.0.2.99"
    bench.declare(prefix, "10.2.0.0/24")
    for words in ("", "metric 7"):
        bench.want(f"{prefix} via {gateway} {words}")
        assert not bench.keeper.look()
        routes = bench.ip(*version, "route", "show")
        assert f"{prefix} dev {SHAPER} proto 96" in routes
        assert "10.2.0.0/24" not in routes
    bench.declare(prefix)
    assert bench.ip(*version, "route", "show").count(f"{prefix} dev {SHAPER}") == 1


@pytest.mark.parametrize("prefix", ["10.1.0.0/24", "fd09::/64"])
def test_a_route_that_differs_in_one_word_takes_the_others_place(
    bench: KeeperBench, prefix: str
) -> None:
    """There is one at a time, and another look finds nothing to do."""
    source = "fd00::1" if ":" in prefix else HOST
    for words in ("", "mtu 1400", f"src {source}", "", f"mtu 1300 src {source}", "metric 9", ""):
        bench.declare(f"{prefix} {words}")
        (seen,) = [each.route for each in bench.routing.own_routes() if not is_guard(each.route)]
        assert format_route(replace(seen, metric=seen.metric if "metric" in words else None)) == (
            f"{prefix} {words}".strip()
            if "src" not in words or "mtu" not in words
            else f"{prefix} src {source} mtu 1300"
        )


def test_what_is_true_is_left_alone(bench: KeeperBench, caplog: pytest.LogCaptureFixture) -> None:
    """However it is written, the kernel lists it as it was wanted, and forgets it entirely."""
    addresses = ["10.2.0.1/24", "fd02::1/64"]
    for what, lines in (("routes", ROUTES), ("rules", RULES)):
        for line in split_lines(lines):
            declared = {"addresses": addresses, "routes": [], "rules": [], what: [line]}
            bench.subject = replace(bench.subject, network=read_network(SHAPER, declared))
            bench.look()
            differences = Differences(bench.routing, [bench.subject], str, [])
            assert all(each.is_there for each in differences.wanted()), line
            for found in (differences.superfluous_routes([]), differences.superfluous_rules()):
                assert not [*found], line
            bench.subject = replace(bench.subject, network=Network())
            bench.look()
            assert not bench.routing.own_routes(), line
            assert all(each.protocol != PROTOCOL for each in bench.routing.rules()), line
    assert not caplog.records


def test_what_somebody_else_has_made_alike_is_left_alone(
    bench: KeeperBench, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not told as restored, and when it is removed ours comes."""
    alike = f"fd09::/64 dev {SHAPER} metric 512"
    bench.host.ip(f"route add {alike}", "rule add fwmark 7 table 7")
    bench.want("fd09::/64", rules=("fwmark 7 table 7",), addresses=[])
    for _ in range(3):
        bench.look()
    assert not caplog.records
    bench.host.ip(f"route del {alike}", "rule del fwmark 7 table 7")
    bench.look()
    assert f"fd09::/64 dev {SHAPER} proto 96" in bench.ip("-6", "route", "show")
    assert "fwmark 0x7 lookup 7 proto 96" in bench.ip("rule")


def test_a_change_that_is_refused_changes_nothing(bench: KeeperBench) -> None:
    """Addresses, routes and rules are as before; the refusal names what was declared."""
    bench.host.ip(
        f"link add other link {MASTER} type macvlan", "address add 10.8.0.1/24 dev other"
    )
    bench.declare("10.1.0.0/24", addresses=["10.7.0.1/24"], rules=("fwmark 7 table 7",))
    before, addresses = bench.state(), bench.ip("address", "show", "dev", SHAPER)
    network = bench.subject.network
    bad: list[dict[str, object]] = [
        {"routes": ["10.1.0.0/24 via 192.0.2.77", "10.2.0.0/24"]},
        {"routes": ["10.2.0.0/24", "10.3.0.0/24 src 192.0.2.1"]},
        {"routes": ["fd09::/64 via fd55::9"]},
        {"addresses": ["10.7.7.1/24", "10.8.0.1/24"]},
    ]
    for declared in bad:
        values: dict[str, object] = {"addresses": [], "routes": [], "rules": ["fwmark 8 table 8"]}
        bench.keeper.hold()
        bench.subject = replace(
            bench.subject,
            network=read_network(SHAPER, values | declared),
        )
        with pytest.raises(KernelRefused, match=SHAPER) as refused:
            bench.keeper.settle([SHAPER])
        assert refused.value.declared is not None
        assert refused.value.declared in str(refused.value)
        assert "10.1.0.0/24" in bench.ip("route", "show")
        bench.subject = replace(bench.subject, network=network)
        bench.keeper.put_back()
        assert (bench.state(), bench.ip("address", "show", "dev", SHAPER)) == (before, addresses)


@pytest.mark.parametrize("address", ["10.7.0.1/24", "fd07::1/64"])
def test_an_address_that_another_device_has_is_refused_and_told(
    bench: KeeperBench, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    """The log names it and the device, the rest is there, and it is given when it is free."""
    bench.host.ip(f"link add other link {MASTER} type macvlan", f"address add {address} dev other")
    with pytest.raises(AssertionError):
        bench.declare("10.2.0.0/24", addresses=[address, "10.7.1.1/24", "10.0.0.1/32"])
    assert f"{SHAPER}: address {address} is that of device" in caplog.text
    own = bench.ip("address", "show", "dev", SHAPER)
    assert address not in own
    assert "10.7.1.1/24" in own
    assert "10.0.0.1/32" in own  # the master's is no other device's
    assert f"10.2.0.0/24 dev {SHAPER}" in bench.ip("route", "show")
    bench.host.ip("link del other")
    bench.look()
    assert address in bench.ip("address", "show", "dev", SHAPER)


def test_a_route_that_went_with_its_source_is_told_once(
    bench: KeeperBench, caplog: pytest.LogCaptureFixture
) -> None:
    """An address set anew takes routes with it as their source: the log has what restores them."""
    caplog.set_level("INFO")
    bench.host.ip("address add 10.8.0.1/32 dev eth1")
    words = "10.9.0.0/24 src 10.8.0.1"
    bench.host.ip(f"route add 10.9.0.0/24 dev {SHAPER} src 10.8.0.1")
    bench.host.ip(f"route add 10.9.1.0/24 dev {SHAPER}", f"route add 10.9.2.0/24 dev {SHAPER}")
    bench.look()
    bench.host.ip("address del 10.8.0.1/32 dev eth1", "address add 10.8.0.1/32 dev eth1")
    bench.look()
    bench.look()
    assert caplog.text.count(f"ip route add {words} dev {SHAPER}") == 1
    bench.host.ip(f"route del 10.9.1.0/24 dev {SHAPER}")
    bench.host.ip(f"route replace 10.9.2.0/24 dev {SHAPER} mtu 1400")
    bench.look()
    told = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert told[1:] == [("WARNING", f"{SHAPER}: route 10.9.1.0/24 was removed")]
