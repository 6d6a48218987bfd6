"""Keeps declared addresses, routes and rules true.

What should be is computed from what is declared and what is seen (`desired.declared`); what
differs is added or removed. Any change of addresses, routes and rules in the kernel leads to a new
look, and so does any change of a shaper; a look at nothing new changes nothing. Whatever is put
into the kernel bears our protocol, and what does not bear it is never removed.

What is new comes before what is old goes, and an old route stays while the kernel refuses the one
that takes its place. A command that declares something else has it added while it waits (`hold`,
`settle`), and is refused with all of it where the kernel refuses one thing.

What is declared is restored when it is removed; the log says so, once a minute for each
thing at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Hashable
from dataclasses import dataclass, field, replace
from functools import partial

from shaper.desired.declared import is_guard
from shaper.errors import ShaperError
from shaper.kernel.routing import Routing
from shaper.kernel.routing_monitor import RoutingMonitor
from shaper.kernel.wire import Wire
from shaper.network import PROTOCOL, Network, Rule
from shaper.supervisor.declarations import Declarations
from shaper.supervisor.differences import GUARD, Differences, Thing, WantedItem
from shaper.supervisor.subjects import Devices, Subject, device_name, subjects
from shaper.supervisor.vanished import Vanished

# Chosen.
_SETTLE_SECONDS = 0.02  # a lease or a link that comes back is several events
_RETRY_SECONDS = 1.0  # after the kernel refused something
_QUIET_SECONDS = 60.0  # the same thing is told once in so long

_log = logging.getLogger(__name__)


@dataclass
class _Remembered:
    """What a keeper knows of what it has put into the kernel.

    Attributes:
        placed: what has been true, so that its return is told.
        refused: what was refused when it was last looked at.
        own: what tells that something is ours.
        has_looked: the first look is over.
    """

    placed: set[Hashable] = field(default_factory=set)
    refused: set[Hashable] = field(default_factory=set)
    own: set[Hashable] = field(default_factory=set)
    has_looked: bool = False


class NetworkKeeper:
    """Makes declarations true, and keeps them so.

    Args:
        routing: requests to the kernel.
        subjects: returns every shaper there is now.
        name: returns what a device is called, by its index.

    Attributes:
        explain: returns what is told of a refusal.
    """

    def __init__(
        self,
        routing: Routing,
        subjects: Callable[[], Collection[Subject]],
        name: Callable[[int], str] = "device {}".format,
    ) -> None:
        self.explain: Callable[[ShaperError], str] = str
        self._routing = routing
        self._subjects = subjects
        self._name = name
        self._vanished = Vanished(routing)
        self._has_work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._held: list[int] | None = None  # devices brought up since `hold`, until `settle`
        self._memory = _Remembered()
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
            self._attempt(partial(self._routing.remove_route, seen.route, seen.ifindex))
        for rule in self._own_rules():
            self._attempt(partial(self._routing.remove_rule, rule))
        self._memory.placed.clear()

    def inventory(self) -> dict[str, Network]:
        """Return for each shaper a declaration of everything that concerns it now, for `save`.

        Raises ShaperError where the kernel does not list it.
        """
        return Declarations(self._routing).inventory(self._subjects())

    def hold(self) -> None:
        """Look at nothing until `settle` or `put_back` is called."""
        self._held = []

    def settle(self, ifnames: Collection[str]) -> None:
        """Add what these shapers declare; what is not declared any more goes with the next look.

        What the kernel has refused before is no obstacle: it is tried again as always.

        Raises KernelRefused for what cannot be. It names the shaper and what was declared.
        """
        concerned = {*ifnames}
        subjects = [each for each in self._subjects() if each.ifname in concerned]
        for each in self._differences(subjects).wanted():
            self._memory.own.add(_owned(each.thing))
            if each.is_there:
                continue
            try:
                each.add()
            except ShaperError as error:
                if each.key not in self._memory.refused:
                    raise each.refusal(error) from error
            else:
                if isinstance(each.thing, int) and self._held is not None:
                    self._held.append(each.thing)
        self._go_on()

    def put_back(self) -> None:
        """Make true what is declared again, and take away what `settle` added."""
        for ifindex in self._held or ():
            self._attempt(partial(self._routing.take_down, ifindex))
        with contextlib.suppress(ShaperError):  # the next look does it
            self.look()
        self._go_on()

    def _go_on(self) -> None:
        self._held = None
        self.mark()

    def look(self) -> bool:
        """Make everything true; return whether the kernel refused nothing."""
        subjects = self._subjects()
        differences = self._differences(subjects)
        wanted = [*differences.wanted_of_devices()]
        refused = [each for each in wanted if not self._make_true(each)]
        results = [self._attempt(each) for each in differences.superfluous_addresses()]
        if results:  # with the last address of a device its routes have gone
            differences = self._differences(subjects)
        # Guards first: what waits for its route waits closed.
        ways = sorted(differences.wanted_ways(), key=lambda each: each.what != GUARD)
        refused += [each for each in ways if not self._make_true(each)]
        self._remember([*wanted, *ways], refused)
        results += [
            *(
                self._attempt(remove)
                for placed, remove in differences.superfluous_routes(refused)
                if self._is_ours(placed)
            ),
            *(
                self._attempt(remove)
                for rule, remove in differences.superfluous_rules()
                if self._is_ours(rule)
            ),
        ]
        self._memory.has_looked = True
        self._vanished.look(subjects)
        return all(results) and not refused

    async def _work(self) -> None:
        while True:
            await self._has_work.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
            self._has_work.clear()
            if self._held is not None:
                continue  # it is marked again afterwards
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

    def _differences(self, subjects: Collection[Subject]) -> Differences:
        related = {each for one in self._subjects() for each in (one.ifindex, one.master_index)}
        return Differences(self._routing, subjects, self._name, related)

    def _remember(self, wanted: Collection[WantedItem], refused: Collection[WantedItem]) -> None:
        keys = {each.key for each in wanted}
        memory = self._memory
        memory.refused = {each.key for each in refused}
        memory.placed = (memory.placed & keys) | (keys - memory.refused)
        memory.own.update(_owned(each.thing) for each in wanted)

    def _is_ours(self, thing: Thing) -> bool:
        """Whether something that bears our protocol was put there by this daemon.

        The first look takes over what an earlier daemon left. Later ones leave to another daemon
        of the same namespace what is its own.
        """
        return not self._memory.has_looked or _owned(thing) in self._memory.own

    def _own_rules(self) -> list[Rule]:
        return [each.rule for each in self._routing.rules() if each.protocol == PROTOCOL]

    def _make_true(self, wanted: WantedItem) -> bool:
        """Add something that is not there; return whether it is there now."""
        if wanted.is_there:
            return True
        try:
            is_new = wanted.add()
        except ShaperError as error:
            self._tell(logging.ERROR, self.explain(wanted.refusal(error)))
            return False
        if is_new and wanted.key in self._memory.placed:
            self._tell(logging.WARNING, f"{wanted} was gone: restored")
        return True

    def _attempt(self, change: Callable[[], object]) -> bool:
        try:
            change()
        except ShaperError as error:
            self._tell(logging.ERROR, str(error))
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
            supervisor.on_reconciled, supervisor.keeper = keeper.mark, keeper
            try:
                yield keeper
            finally:
                await keeper.stop()


def _owned(thing: Thing) -> Hashable:
    """Return what tells something that is ours.

    It is not the priority that a rule got, nor the source of a route, which IPv6 forgets when the
    address is removed.
    """
    if isinstance(thing, Rule):
        return replace(thing, priority=None)
    if isinstance(thing, tuple):
        return replace(thing[0], source=None), thing[1]
    return thing
