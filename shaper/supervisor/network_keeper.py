"""Keeps declared addresses, routes and rules true.

What should be is computed from what is declared and what is seen (`desired.declared`); what
differs is added or removed. Any change of addresses, routes and rules in the kernel leads to a new
look, and so does any change of a shaper; a look at nothing new changes nothing. Whatever is put
into the kernel bears our protocol, and what does not bear it is never removed.

What is declared is restored when it is removed; the log says so, once a minute for each
thing at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Set
from dataclasses import replace
from typing import TypeVarTuple

from shaper.desired.declared import MasterNetwork, NextHop, Presence, is_guard, presence
from shaper.desired.inventory import Seen, inventory
from shaper.desired.ip_route import format_route
from shaper.desired.ip_rule import format_rule
from shaper.errors import ShaperError
from shaper.kernel.route_messages import BY_ROUTERS, RTPROT_KERNEL
from shaper.kernel.routing import Routing
from shaper.kernel.routing_monitor import RoutingMonitor
from shaper.kernel.wire import Wire
from shaper.network import MAIN_TABLE, PROTOCOL, Network, Route, Rule
from shaper.supervisor.subjects import Devices, Subject, device_name, subjects
from shaper.supervisor.vanished import Vanished

# Chosen.
_SETTLE_SECONDS = 0.02  # a lease or a link that comes back is several events
_RETRY_SECONDS = 1.0  # after the kernel refused something
_QUIET_SECONDS = 60.0  # the same thing is told once in so long

_log = logging.getLogger(__name__)

Values = TypeVarTuple("Values")
Placed = tuple[Route, int | None]  # a route, and the device that it leads through


class NetworkKeeper:
    """Makes declarations true, and keeps them so.

    Args:
        routing: requests to the kernel.
        subjects: returns every shaper there is now.
        name: returns what a device is called, by its index.
    """

    def __init__(
        self,
        routing: Routing,
        subjects: Callable[[], Collection[Subject]],
        name: Callable[[int], str] = "device {}".format,
    ) -> None:
        self._routing = routing
        self._subjects = subjects
        self._name = name
        self._vanished = Vanished(routing)
        self._has_work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._placed: set[str] = set()  # what has been true, so that its return is a restoration
        self._own: set[Placed | Rule] = set()
        self._has_looked = False
        self._told_at: dict[str, float] = {}

    def start(self) -> None:
        """Look from now on whenever `mark` is called."""
        self._task = asyncio.get_running_loop().create_task(self._work())
        self.mark()

    async def stop(self) -> None:
        """Stop looking; what is in the kernel stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def mark(self) -> None:
        """Have everything looked at, soon."""
        self._has_work.set()

    def withdraw(self) -> None:
        """Remove our routes and rules, guards last: for a clean stop, behind the devices."""
        for seen in sorted(self._routing.own_routes(), key=lambda each: is_guard(each.route)):
            self._attempt("", self._routing.remove_route, seen.route, seen.ifindex)
        for rule in self._own_rules():
            self._attempt("", self._routing.remove_rule, rule)
        self._placed.clear()

    def inventory(self) -> dict[str, Network]:
        """Return for each shaper a declaration of everything that concerns it now, for `save`.

        Raises ShaperError where the kernel does not list it.
        """
        rules = tuple(
            seen.rule for seen in self._routing.rules() if seen.protocol != RTPROT_KERNEL
        )
        found = {}
        for subject in self._subjects():
            wanted = self._presence(subject)
            seen = self._seen(subject, rules)
            found[subject.ifname] = inventory(subject.ifname, subject.network, wanted, seen)
            # A rule that concerns two shapers is saved with the first.
            rules = tuple(rule for rule in rules if rule not in found[subject.ifname].rules)
        return found

    def _seen(self, subject: Subject, rules: tuple[Rule, ...]) -> Seen:
        if subject.ifindex is None:
            return Seen(is_up=False, addresses=(), routes=(), rules=())
        addresses = [each.address for each in self._routing.addresses(subject.ifindex)]
        routes = self._routing.routes_through(subject.ifindex)
        return Seen(
            is_up=subject.is_up,
            addresses=tuple(each for each in addresses if not each.is_link_local),
            routes=tuple(each.route for each in routes if each.protocol not in BY_ROUTERS),
            rules=rules,
        )

    def look(self) -> bool:
        """Make everything true; return whether the kernel refused nothing."""
        subjects = self._subjects()
        wanted = {subject.ifname: self._presence(subject) for subject in subjects}
        results = [
            *self._make_up(subjects),
            *self._make_addresses_true(subjects, wanted),
            *self._make_routes_true(subjects, wanted),
            *self._make_rules_true(subjects),
        ]
        self._has_looked = True
        self._vanished.look(subjects)
        return all(results)

    async def _work(self) -> None:
        while True:
            await self._has_work.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
            self._has_work.clear()
            try:
                is_true = self.look()
            except ShaperError as error:  # not even a list could be had
                self._tell(logging.ERROR, str(error))
                is_true = False
            except Exception:
                _log.exception("keeping declared routes; trying again")
                is_true = False
            if not is_true:
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self.mark)

    def _presence(self, subject: Subject) -> Presence:
        network, master = subject.network, MasterNetwork()
        follows = network.follows_master or any(route.follows_master for route in network.routes)
        if follows and subject.master_index is not None:
            master = self._master_network(subject.master_index)
        return presence(network, master)

    def _master_network(self, ifindex: int) -> MasterNetwork:
        seen = [each for each in self._routing.addresses(ifindex) if each.is_lasting]
        defaults = [
            each.route
            for each in self._routing.routes_through(ifindex)
            if each.protocol != PROTOCOL
            and each.route.destination.prefixlen == 0
            and each.route.table == MAIN_TABLE
        ]
        sources = {each.address.version: each.address.ip for each in reversed(seen)}
        hops = {}
        for route in sorted(defaults, key=lambda each: each.metric or 0, reverse=True):
            source = sources.get(4) if route.version == 4 else None
            hops[route.version] = NextHop(route.gateway, route.source or source)
        return MasterNetwork(tuple(each.address for each in seen), hops)

    def _make_up(self, subjects: Collection[Subject]) -> Iterator[bool]:
        for subject in subjects:
            if subject.ifindex is not None and subject.network.is_up and not subject.is_up:
                what = f"{subject.ifname}: being up"
                yield self._add(what, self._routing.bring_up, subject.ifindex)

    def _make_addresses_true(
        self, subjects: Collection[Subject], wanted: dict[str, Presence]
    ) -> Iterator[bool]:
        related = {each for one in subjects for each in (one.ifindex, one.master_index)}
        for subject in subjects:
            if subject.ifindex is not None:
                yield from self._make_addresses_of(
                    subject.ifname, subject.ifindex, wanted[subject.ifname], related
                )

    def _make_addresses_of(
        self, ifname: str, ifindex: int, wanted: Presence, related: Set[int | None]
    ) -> Iterator[bool]:
        """Make the addresses of one shaper true; `related` are all shapers and their masters."""
        seen = self._routing.addresses(ifindex)
        held = {each.address for each in seen}
        adders = dict.fromkeys(wanted.addresses, self._routing.add_address)
        adders |= dict.fromkeys(wanted.copies, self._routing.add_copy)
        for address, add in adders.items():
            if address in held:
                continue
            if others := self._routing.holders(address.ip) - related:
                names = ", ".join(self._name(each) for each in sorted(others))
                self._tell(
                    logging.ERROR,
                    f"{ifname}: address {address} is that of {names} (remove it there, or here)",
                )
                yield False
            else:
                yield self._add(f"{ifname}: address {address}", add, ifindex, address)
        for each in seen:
            if each.is_ours and each.address not in adders:
                yield self._attempt("", self._routing.remove_address, ifindex, each.address)

    def _make_routes_true(
        self, subjects: Collection[Subject], wanted: dict[str, Presence]
    ) -> Iterator[bool]:
        names: dict[Placed, str] = {}
        for subject in subjects:
            seen = wanted[subject.ifname]
            names |= {(route, None): subject.ifname for route in seen.guards}
            if subject.is_up:
                names |= {(route, subject.ifindex): subject.ifname for route in seen.routes}
        present = {(each.route, each.ifindex) for each in self._routing.own_routes()}
        self._own |= names.keys()
        for placed, ifname in names.items():
            if placed not in present:
                what = f"{ifname}: route {format_route(placed[0])}"
                yield self._add(what, self._routing.add_route, *placed)
        # Guards last, so that nothing is open in between.
        for placed in sorted(present - names.keys(), key=lambda each: is_guard(each[0])):
            if self._is_ours(placed):
                yield self._attempt("", self._routing.remove_route, *placed)

    def _make_rules_true(self, subjects: Collection[Subject]) -> Iterator[bool]:
        names = {rule: each.ifname for each in subjects for rule in each.network.rules}
        present = self._own_rules()
        self._own |= {replace(rule, priority=None) for rule in names}
        for rule, ifname in names.items():
            same = next((seen for seen in present if _is_same(rule, seen)), None)
            if same is not None:
                present.remove(same)
                continue
            what = f"{ifname}: rule {format_rule(rule)}"
            yield self._add(what, self._routing.add_rule, rule)
        for rule in present:
            if self._is_ours(replace(rule, priority=None)):
                yield self._attempt("", self._routing.remove_rule, rule)

    def _is_ours(self, thing: Placed | Rule) -> bool:
        """Whether something that bears our protocol was put there by this daemon.

        The first look takes over what an earlier daemon left. Later ones leave to another daemon
        of the same namespace what is its own.
        """
        return not self._has_looked or thing in self._own

    def _own_rules(self) -> list[Rule]:
        return [each.rule for each in self._routing.rules() if each.protocol == PROTOCOL]

    def _add(self, what: str, add: Callable[[*Values], None], *values: *Values) -> bool:
        """Add something; tell whether it could be, and in the log if it had been there."""
        if not self._attempt(what, add, *values):
            return False
        if what in self._placed:
            self._tell(logging.WARNING, f"{what} was gone: restored")
        self._placed.add(what)
        return True

    def _attempt(self, what: str, change: Callable[[*Values], None], *values: *Values) -> bool:
        try:
            change(*values)
        except ShaperError as error:
            self._tell(logging.ERROR, f"{what}: {error}" if what else str(error))
            return False
        return True

    def _tell(self, level: int, sentence: str) -> None:
        now = time.monotonic()
        if now - self._told_at.get(sentence, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._told_at[sentence] = now
            _log.log(level, "%s", sentence)


def withdraw_all() -> None:
    """Remove every route and rule that bears our protocol, whichever daemon left it."""
    with contextlib.closing(Wire()) as wire:
        NetworkKeeper(Routing(wire), list).withdraw()


@contextlib.asynccontextmanager
async def kept(supervisor: Devices) -> AsyncIterator[NetworkKeeper]:
    """Keep declarations true, from when the supervisor has started on."""
    with contextlib.closing(Wire()) as wire:
        keeper = NetworkKeeper(
            Routing(wire),
            lambda: subjects(supervisor),
            lambda index: device_name(supervisor, index),
        )
        monitor = RoutingMonitor(
            keeper.mark, lambda: {each.ifindex for each in supervisor.devices.values()}
        )
        with contextlib.closing(monitor):
            supervisor.on_reconciled = keeper.mark
            try:
                yield keeper
            finally:
                await keeper.stop()


def _is_same(wanted: Rule, seen: Rule) -> bool:
    return seen == wanted or replace(seen, priority=None) == wanted
