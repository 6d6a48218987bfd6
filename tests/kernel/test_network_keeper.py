"""Declared addresses, routes and rules are made true, kept true, and leave the rest alone."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.lab.topology import MASTER, Pair
from shaper.desired.declared import parse_network
from shaper.kernel.routing import Routing
from shaper.kernel.wire import Wire
from shaper.network import Network
from shaper.supervisor.network_keeper import NetworkKeeper
from shaper.supervisor.subjects import Subject

SHAPER = "shaper0"  # here a plain macvlan: what matters is that it is another device


class KeeperBench:
    """A keeper on a host whose one shaper has a declaration that a test changes."""

    def __init__(self, pair: Pair, routing: Routing) -> None:
        self.host = pair.host
        self.host.ip(
            "route add default via 10.0.0.100",
            f"route add ::/0 via fd00::100 dev {MASTER} metric 1024",
            f"link add {SHAPER} link {MASTER} type macvlan",
        )
        self.before = self.state()
        self.host.ip(f"link set {SHAPER} up")
        with self.host.enter():
            self._ifindex = socket.if_nametoindex(SHAPER)
            master_index = socket.if_nametoindex(MASTER)
        self.subject = Subject(SHAPER, Network(), self._ifindex, True, master_index)
        self.routing = routing
        self.keeper = NetworkKeeper(routing, lambda: [self.subject])

    def declare(
        self,
        *routes: str,
        addresses: list[str] | str = "master",
        rules: tuple[str, ...] = (),
    ) -> None:
        """Declare this and nothing else, and have it made true."""
        network = parse_network(
            SHAPER, is_up=None, addresses=addresses, routes=[*routes], rules=[*rules]
        )
        self.subject = replace(self.subject, network=network)
        self.look()

    def look(self) -> None:
        """Make it true."""
        assert self.keeper.look()

    def ip(self, *arguments: str) -> str:
        """Return what `ip` prints."""
        return self.host.run(["ip", *arguments]).stdout

    def state(self) -> str:
        """Return everything that is routed and ruled, but for what comes with the shaper."""
        lines = "".join(
            self.ip(*family, what, "show", *("table", "all")[: 2 * (what == "route")])
            for family in ((), ("-6",))
            for what in ("route", "rule")
        ).splitlines()
        return "\n".join(sorted(line for line in lines if SHAPER not in line))


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
