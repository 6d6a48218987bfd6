"""What is declared beside what the kernel has: what is missing, too much, and to be saved."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from shaper.desired.declared import is_guard, parse_network
from shaper.desired.ip_route import format_route, parse_route
from shaper.desired.ip_rule import format_rule, parse_rule
from shaper.errors import KernelRefused
from shaper.kernel.route_messages import RTPROT_KERNEL, SeenAddress, SeenRoute, SeenRule
from shaper.kernel.routing import Routing
from shaper.network import PROTOCOL, IpAddress, IpInterface, Network, Route, Rule
from shaper.supervisor.declarations import Declarations
from shaper.supervisor.differences import Differences
from shaper.supervisor.subjects import Subject

SHAPER, MASTER, OTHER = 7, 2, 3
STATIC, BY_ROUTERS = 4, 9


class MemoryRouting(Routing):
    """Addresses, routes and rules in memory: as the kernel lists them."""

    def __init__(self) -> None:
        self.addresses_by: dict[int, list[SeenAddress]] = {}
        self.routes: list[SeenRoute] = []
        self.all_rules: list[SeenRule] = []

    def addresses(self, ifindex: int) -> list[SeenAddress]:
        """Return those of a device."""
        return self.addresses_by.get(ifindex, [])

    def addresses_of_all(self) -> dict[int, list[SeenAddress]]:
        """Return them all."""
        return self.addresses_by

    def holders(self, address: IpAddress) -> set[int]:
        """Return which devices have an address."""
        return {
            ifindex
            for ifindex, seen in self.addresses_by.items()
            if address in [each.address.ip for each in seen]
        }

    def routes_through(self, ifindex: int) -> list[SeenRoute]:
        """Return those through a device."""
        return [each for each in self.routes if each.ifindex == ifindex]

    def default_hops(self, ifindex: int) -> list[SeenRoute]:
        """Return those whose prefix is everything."""
        through = self.routes_through(ifindex)
        return [each for each in through if each.route.destination.prefixlen == 0]

    def own_routes(self) -> list[SeenRoute]:
        """Return ours."""
        return [each for each in self.routes if each.protocol == PROTOCOL]

    def rules(self) -> list[SeenRule]:
        """Return them all."""
        return self.all_rules

    def bring_up(self, ifindex: int) -> bool:
        """Do nothing."""
        return True

    def add_address(self, ifindex: int, address: IpInterface) -> bool:
        """Add one that is ours."""
        seen = SeenAddress(address, is_ours=True, is_lasting=True, onlink=address.network)
        self.addresses_by.setdefault(ifindex, []).append(seen)
        return True

    add_copy = add_address

    def remove_address(self, ifindex: int, address: IpInterface) -> None:
        """Take one away."""
        kept = [each for each in self.addresses_by[ifindex] if each.address != address]
        self.addresses_by[ifindex] = kept

    def add_route(self, route: Route, ifindex: int | None, beside: Route | None = None) -> bool:
        """Add one of ours."""
        self.routes.append(SeenRoute(route, ifindex, PROTOCOL))
        return True

    def remove_route(self, route: Route, ifindex: int | None) -> None:
        """Take one away."""
        self.routes.remove(SeenRoute(route, ifindex, PROTOCOL))

    def add_rule(self, rule: Rule) -> bool:
        """Add one of ours."""
        self.all_rules.append(SeenRule(rule, PROTOCOL))
        return True

    def remove_rule(self, rule: Rule) -> None:
        """Take one away."""
        self.all_rules.remove(SeenRule(rule, PROTOCOL))


def declared(
    *routes: str, addresses: list[str] | str = (), rules: list[str] | None = None
) -> Network:
    """Return a declaration of shaper0."""
    named = addresses if isinstance(addresses, str) else list(addresses)
    return parse_network(
        "shaper0", is_up=True, addresses=named, routes=list(routes), rules=rules or []
    )


def subject(network: Network) -> Subject:
    """Return shaper0 upon eth1."""
    return Subject("shaper0", network, SHAPER, is_up=True, master_index=MASTER)


def seen_address(text: str, *, is_plain: bool = True, is_lasting: bool = True) -> SeenAddress:
    """Return an address of others."""
    address = ip_interface(text)
    onlink = address.network if is_plain else None
    return SeenAddress(address, is_ours=False, is_lasting=is_lasting, onlink=onlink)


def a_master(routing: MemoryRouting) -> None:
    """Give eth1 addresses and default routes: the one of the lower metric counts."""
    routing.addresses_by[MASTER] = [
        seen_address("10.0.0.5/24"),
        seen_address("10.0.0.6/24"),
        seen_address("10.0.0.7/24", is_lasting=False),
    ]
    routing.routes += [
        SeenRoute(parse_route("default via 10.0.0.9 metric 50", "eth1"), MASTER, STATIC),
        SeenRoute(parse_route("default via 10.0.0.1", "eth1"), MASTER, STATIC),
        SeenRoute(parse_route("default via 10.0.0.8", "eth1"), MASTER, PROTOCOL),
        SeenRoute(parse_route("default via fe80::1", "eth1"), MASTER, BY_ROUTERS),
    ]


def make_true(routing: MemoryRouting, *subjects: Subject) -> list[str]:
    """Add what is missing and remove what is too much; return what was done."""
    done = []
    found = Differences(routing, subjects, str, [SHAPER, MASTER])
    for item in found.wanted():
        if not item.is_there:
            assert item.add()
            done.append(f"+ {item}")
    for remover in found.superfluous_addresses():
        remover()
        done.append("- address")
    for (route, _), remover in found.superfluous_routes([]):
        remover()
        done.append(f"- {'guard of ' * is_guard(route)}{format_route(route)}")
    for rule, remover in found.superfluous_rules():
        remover()
        done.append(f"- {format_rule(rule)}")
    return done


def test_the_masters_addresses_and_next_hops_are_followed() -> None:
    """Lasting addresses, and by version the default route of the least metric that is not ours."""
    routing = MemoryRouting()
    a_master(routing)
    wanted = Declarations(routing).presence(
        subject(declared("default", "inet6 default", addresses="master"))
    )
    assert [str(each) for each in wanted.copies] == ["10.0.0.5/32", "10.0.0.6/32"]
    hops = {(route.gateway, route.source) for route in wanted.routes}
    assert hops == {
        (ip_address("10.0.0.1"), ip_address("10.0.0.5")),
        (ip_address("fe80::1"), None),
    }


def test_all_is_made_true_once_and_taken_away_again() -> None:
    """Routes before their guards, rules last; guards go last; a second look finds nothing."""
    routing = MemoryRouting()
    wanted = subject(
        declared("10.5.0.0/16", addresses=["10.0.0.7/24"], rules=["to 10.5.0.0/16 table 7"])
    )
    assert make_true(routing, wanted) == [
        "+ shaper0: address 10.0.0.7/24",
        "+ shaper0: route 10.5.0.0/16",
        "+ shaper0: guard of 10.5.0.0/16",
        "+ shaper0: rule from all to 10.5.0.0/16 lookup 7",
    ]
    assert make_true(routing, wanted) == []
    gone = make_true(routing, subject(declared()))
    assert gone[:2] == ["- address", "- 10.5.0.0/16"]
    assert gone[2].startswith("- guard of")
    assert gone[3:] == ["- from all to 10.5.0.0/16 lookup 7"]
    assert (routing.routes, routing.all_rules) == ([], [])


def test_a_route_stays_while_what_is_to_take_its_place_is_refused() -> None:
    """Of the same prefix and table; nothing is led past the shaper meanwhile."""
    routing = MemoryRouting()
    make_true(routing, subject(declared("10.5.0.0/16")))
    found = Differences(routing, [subject(declared("10.5.0.0/16 metric 7"))], str, [SHAPER])
    refused = [item for item in found.wanted() if item.what == "route" and not item.is_there]
    assert [str(item) for item in refused] == ["shaper0: route 10.5.0.0/16 metric 7"]
    assert [*found.superfluous_routes(refused)] == []


def test_an_address_that_is_somebody_elses_is_refused_by_name() -> None:
    """But for the shaper's own and the master's."""
    routing = MemoryRouting()
    routing.addresses_by[OTHER] = [seen_address("10.0.0.7/24")]
    routing.addresses_by[MASTER] = [seen_address("10.0.0.6/24")]
    network = declared(addresses=["10.0.0.6/24", "10.0.0.7/24"])
    found = Differences(routing, [subject(network)], "device {}".format, [SHAPER, MASTER])
    own, foreign = (item for item in found.wanted() if item.what == "address")
    assert own.add()
    with pytest.raises(KernelRefused, match=r"10\.0\.0\.7/24 is that of device 3") as refused:
        foreign.add()
    assert foreign.refusal(refused.value) is refused.value
    named = own.refusal(KernelRefused("not now", 1))
    assert (str(named), named.declared) == ("shaper0: address 10.0.0.6/24: not now", "10.0.0.6/24")


def test_everything_that_concerns_a_shaper_is_saved_once() -> None:
    """What was added by hand beside what is declared; not the kernel's, routers' or links' own."""
    routing = MemoryRouting()
    network = declared("10.5.0.0/16")
    make_true(routing, subject(network))
    routing.addresses_by[SHAPER] = [
        seen_address("10.0.0.10/24", is_plain=False),
        seen_address("fe80::1/64"),
        SeenAddress(
            ip_interface("10.0.0.11/32"),
            is_ours=False,
            is_lasting=True,
            onlink=ip_interface("10.0.8.0/24").network,
        ),
    ]
    routing.routes += [
        SeenRoute(parse_route("10.7.0.0/16 table 7", "shaper0"), SHAPER, STATIC),
        SeenRoute(parse_route("fd07::/64", "shaper0"), SHAPER, BY_ROUTERS),
    ]
    routing.all_rules += [
        SeenRule(parse_rule("to 10.7.0.0/16 table 7"), STATIC),
        SeenRule(parse_rule("table 7 priority 9"), RTPROT_KERNEL),
    ]
    other = Subject("shaper1", declared(), None, is_up=False, master_index=None)
    saved = Declarations(routing).inventory([subject(network), other])
    found = saved["shaper0"]
    assert [str(each) for each in found.addresses] == ["10.0.0.10/32", "10.0.0.11/32"]
    assert [format_route(each) for each in found.routes] == [
        "10.5.0.0/16",
        "10.7.0.0/16 table 7",
        "10.0.8.0/24",
    ]
    assert [format_rule(each) for each in found.rules] == ["from all to 10.7.0.0/16 lookup 7"]
    assert saved["shaper1"] == declared()
