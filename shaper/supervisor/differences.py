"""What the kernel lacks of what is declared, and what it has too much: in the order of changes.

Nothing is changed here. What is new is told first: an address before routes that may need it, a
route before its guard, rules last.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from shaper.desired.declared import is_guard
from shaper.desired.ip_route import format_address, format_route
from shaper.desired.ip_rule import format_rule
from shaper.errors import KernelRefused, ShaperError
from shaper.kernel.routing import Routing
from shaper.network import PROTOCOL, IpInterface, IpNetwork, Route, Rule
from shaper.supervisor.declarations import Declarations
from shaper.supervisor.subjects import Subject

Placed = tuple[Route, int | None]  # a route, and the device that it leads through
Thing = Placed | IpInterface | Rule | int
Remover = Callable[[], None]
BEING_UP = "being up"
GUARD = "guard of"
_FEW = 4  # chosen: of more devices the addresses are listed together


@dataclass(frozen=True)
class WantedItem:
    """Something that should be in the kernel.

    Attributes:
        ifname: the shaper that it is declared for.
        what: its kind, or a state.
        thing: tells it from all else of the shaper; of a state, the device.
        is_there: it is in the kernel already.
        words: as it is declared; None for a state.
        add: has the kernel make it so; returns False if something alike was there, not ours.
    """

    ifname: str
    what: str
    thing: Thing
    is_there: bool
    words: Callable[[], str | None]
    add: Callable[[], bool]

    @property
    def network(self) -> tuple[IpNetwork, int] | None:
        """Prefix and table of a route."""
        if self.what != "route" or not isinstance(self.thing, tuple):
            return None
        return self.thing[0].destination, self.thing[0].table

    @property
    def key(self) -> Hashable:
        """What it is remembered by."""
        return self.ifname, self.what, self.thing

    def __str__(self) -> str:
        words = self.words()
        return f"{self.ifname}: {self.what}" + ("" if words is None else f" {words}")

    def refusal(self, error: ShaperError) -> ShaperError:
        """Return an error of `add` that names what it is about."""
        if error.declared is not None:
            return error
        refused = KernelRefused(f"{self}: {error}", error.errno)
        refused.declared, refused.ifname = self.words(), self.ifname
        return refused


class Differences:
    """What is in the kernel beside what should be, before anything is changed.

    Args:
        routing: requests to the kernel.
        subjects: the shapers that are looked at.
        name: returns what a device is called, by its index.
        related: all shapers and their masters, whose addresses are not somebody else's.

    Raises ShaperError when the kernel does not list it.
    """

    def __init__(
        self,
        routing: Routing,
        subjects: Collection[Subject],
        name: Callable[[int], str],
        related: Collection[int | None],
    ) -> None:
        self._routing = routing
        self._subjects = subjects
        self._name = name
        self._related = {*related}
        declarations = Declarations(routing)
        self._presences = {each.ifname: declarations.presence(each) for each in subjects}
        indices = [each.ifindex for each in subjects if each.ifindex is not None]
        if len(indices) > _FEW:
            of_all = routing.addresses_of_all()
            self._addresses = {each: of_all.get(each, []) for each in indices}
        else:
            self._addresses = {each: routing.addresses(each) for each in indices}
        self._routes = {(each.route, each.ifindex) for each in routing.own_routes()}
        self._rules = [each.rule for each in routing.rules() if each.protocol == PROTOCOL]

    def wanted(self) -> Iterator[WantedItem]:
        """Go through all that should be, in the order in which it can be added."""
        yield from self.wanted_of_devices()
        yield from self.wanted_ways()

    def wanted_of_devices(self) -> Iterator[WantedItem]:
        """Go through the states and addresses that should be."""
        for each in self._subjects:
            if each.ifindex is not None and each.network.is_up:
                add = partial(self._routing.bring_up, each.ifindex)
                yield WantedItem(
                    each.ifname, BEING_UP, each.ifindex, each.is_up, lambda: None, add
                )
        for each in self._subjects:
            if each.ifindex is not None:
                yield from self._wanted_addresses(each.ifname, each.ifindex)

    def wanted_ways(self) -> Iterator[WantedItem]:
        """Go through the routes and rules that should be."""
        yield from self._wanted_routes()
        names = {rule: each.ifname for each in self._subjects for rule in each.network.rules}
        missing, _ = _match_rules(names, self._rules)
        for rule, ifname in names.items():
            words, add = partial(format_rule, rule), partial(self._routing.add_rule, rule)
            yield WantedItem(ifname, "rule", rule, rule not in missing, words, add)

    def _wanted_addresses(self, ifname: str, ifindex: int) -> Iterator[WantedItem]:
        held = {each.address for each in self._addresses[ifindex]}
        presence = self._presences[ifname]
        adders = dict.fromkeys(presence.addresses, self._routing.add_address)
        adders |= dict.fromkeys(presence.copies, self._routing.add_copy)
        for address, adder in adders.items():
            words = partial(format_address, address)
            add = partial(self._add_address, ifname, ifindex, address, adder)
            yield WantedItem(ifname, "address", address, address in held, words, add)

    def _wanted_routes(self) -> Iterator[WantedItem]:
        """Go through the routes of all shapers that are or should be up, and then the guards."""
        names: dict[Placed, str] = {}
        for each in self._subjects:
            if each.is_up or (each.network.is_up and each.ifindex is not None):
                routes = self._presences[each.ifname].routes
                names |= {(route, each.ifindex): each.ifname for route in routes}
        for each in self._subjects:
            names |= {(route, None): each.ifname for route in self._presences[each.ifname].guards}
        before = {_position(placed): placed[0] for placed in self._routes - names.keys()}
        for placed, ifname in names.items():
            declared = self._presences[ifname].declared[placed[0]]
            what = GUARD if is_guard(placed[0]) else "route"
            words = partial(format_route, declared)
            add = partial(self._routing.add_route, *placed, beside=before.get(_position(placed)))
            yield WantedItem(ifname, what, placed, placed in self._routes, words, add)

    def _add_address(
        self,
        ifname: str,
        ifindex: int,
        address: IpInterface,
        add: Callable[[int, IpInterface], bool],
    ) -> bool:
        if others := self._routing.holders(address.ip) - self._related:
            names = ", ".join(self._name(each) for each in sorted(others))
            sentence = f"address {address} is that of {names} (remove it there, or here)"
            error = KernelRefused(f"{ifname}: {sentence}", errno.EADDRINUSE)
            error.declared, error.ifname = format_address(address), ifname
            raise error
        return add(ifindex, address)

    def superfluous_addresses(self) -> Iterator[Remover]:
        """Go through what removes the addresses of ours that are not to be."""
        for subject in self._subjects:
            presence = self._presences[subject.ifname]
            wanted = {*presence.addresses, *presence.copies}
            if (ifindex := subject.ifindex) is not None:
                for each in self._addresses[ifindex]:
                    if each.is_ours and each.address not in wanted:
                        yield partial(self._routing.remove_address, ifindex, each.address)

    def superfluous_routes(
        self, refused: Collection[WantedItem]
    ) -> Iterator[tuple[Placed, Remover]]:
        """Go through what removes routes, guards last, so that nothing is open in between.

        A route stays while one of its prefix and table is refused, which may be to take its place.
        """
        wanted: set[Placed] = set()
        for each in self._subjects:
            presence = self._presences[each.ifname]
            wanted |= {(route, each.ifindex) for route in presence.routes}
            wanted |= {(route, None) for route in presence.guards}
        kept = {each.network for each in refused}
        replaced = {_hop(placed) for placed in wanted if placed[0].version == 6}
        for placed in sorted(self._routes - wanted, key=lambda each: is_guard(each[0])):
            network = placed[0].destination, placed[0].table
            if network not in kept and _hop(placed) not in replaced:
                yield placed, partial(self._routing.remove_route, *placed)

    def superfluous_rules(self) -> Iterator[tuple[Rule, Remover]]:
        """Go through what removes rules."""
        wanted = [rule for each in self._subjects for rule in each.network.rules]
        for rule in _match_rules(wanted, self._rules)[1]:
            yield rule, partial(self._routing.remove_rule, rule)


def _position(placed: Placed) -> Hashable:
    """Return what the kernel orders by: routes that have it in common follow one another."""
    route, ifindex = placed
    return route.destination, route.table, route.metric, ifindex


def _hop(placed: Placed) -> Hashable:
    """Return what tells an IPv6 route from others."""
    return _position(placed), placed[0].gateway, placed[0].kind


def _match_rules(wanted: Iterable[Rule], present: Iterable[Rule]) -> tuple[set[Rule], list[Rule]]:
    """Return which rules are missing, and which are too much."""
    missing: set[Rule] = set()
    others = [*present]
    for rule in wanted:
        same = next((seen for seen in others if _is_same(rule, seen)), None)
        if same is None:
            missing.add(rule)
        else:
            others.remove(same)
    return missing, others


def _is_same(wanted: Rule, seen: Rule) -> bool:
    return seen == wanted or replace(seen, priority=None) == wanted
