"""A machine in memory: kernel, forwarders and daemon, with no process and no privilege."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from shaper.channel.board import Board
from shaper.channel.messages import Notice, Order
from shaper.desired.store import Store
from shaper.errors import ShaperError
from shaper.model import Link, Options, Queue, Spec
from shaper.supervisor.commands import Commands
from shaper.supervisor.pool import Pool
from shaper.supervisor.reconciler import Supervisor
from shaper.testing.memory_kernel import MemoryKernel
from shaper.testing.memory_netlink import MemoryNetlink

ETH1 = Link(
    ifindex=2,
    ifname="eth1",
    mtu=1500,
    address=bytes.fromhex("020000000002"),
    arphrd=1,
    is_up=True,
    is_running=True,
    operstate="UP",
    txqueuelen=1000,
)
SPEC = Spec("shaper0", "eth1", Options(rate_bits=64_000, queue=Queue.FIFO))


class MemoryForwarder:
    """A forwarder that does as it is told, and remembers what that was.

    Attributes:
        told: every message, as its verb and its fields.
        refusals: what the next messages of a verb are refused with.
        gates: what a message of a verb is answered after.
        stopped: whether it was asked to end.
    """

    def __init__(
        self,
        board: Board | None = None,
        pulse: int = 0,
        on_death: Callable[[MemoryForwarder], None] | None = None,
        on_notice: Callable[[Notice], bool] | None = None,
        *,
        is_standby: bool = False,
        on_serve: Callable[[MemoryForwarder], None] = lambda _: None,
    ) -> None:
        self.board = board
        self.pulse = pulse
        self.on_notice = on_notice
        self.is_silent = False
        self.is_standby = is_standby
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.refusals: defaultdict[str, list[ShaperError]] = defaultdict(list)
        self.gates: dict[str, asyncio.Event] = {}
        self.stopped = False
        self.pid = 1
        self._on_death = on_death
        self._on_serve = on_serve

    async def start(self) -> None:
        """Be there at once."""

    def serve(self, place: int) -> None:
        """Stand by no longer."""
        self.is_standby = False
        self.told.append(("serve", {"place": place}))
        self._on_serve(self)

    async def tell(self, order: Order, descriptor: int | None = None) -> None:
        """Remember an order, or refuse it."""
        verb = type(order).__name__.lower()
        if verb in self.gates:
            await self.gates[verb].wait()
        if self.refusals[verb]:
            raise self.refusals[verb].pop(0)
        self.told.append((verb, dataclasses.asdict(order)))

    async def stop(self) -> None:
        """Note it."""
        self.stopped = True

    def leave(self) -> None:
        """Go on."""

    def fileno(self) -> int:
        """Return no channel."""
        return -1

    def die(self) -> None:
        """End without having been asked to."""
        assert self._on_death is not None
        self._on_death(self)

    def verbs(self) -> list[str]:
        """Return the verbs of every message so far."""
        return [verb for verb, _ in self.told]

    def last(self, verb: str) -> dict[str, Any]:
        """Return the fields of the latest message of this verb."""
        return next(fields for each, fields in reversed(self.told) if each == verb)


class Machine:
    """A kernel with eth1, and a daemon that has not started yet.

    Attributes:
        kernel: what netlink, TAPs and packet sockets lead to.
        edge: what else is asked of the kernel.
        forwarders: those that have served so far; the last one is alive.
        captor: what takes traffic by device.
        taps: those made so far, by name.
        next_refusals: what forwarders started from now on refuse, by verb.
        state_directory: where the state file is.
    """

    def __init__(self, state_directory: Path) -> None:
        self.kernel = MemoryNetlink()
        self.kernel.devices[ETH1.ifindex] = ETH1
        self.forwarders: list[MemoryForwarder] = []
        self.next_refusals: dict[str, list[ShaperError]] = {}
        self.state_directory = state_directory
        self.edge = MemoryKernel(self.kernel)
        self.edge.dropped = {"shaper0": 7}
        self.captor, self.taps = self.edge.captor_in_use, self.edge.taps
        self.again()

    def again(self) -> Machine:
        """Put a new daemon, which has not started, in the place of the last one."""
        pool = Pool(1, ring_caps=self.edge.caps, make=self.make_forwarder)
        self.supervisor = Supervisor(
            Store(self.state_directory), pool, self.kernel, kernel=self.edge
        )
        self.commands = Commands(self.supervisor, 0)
        return self

    @contextlib.asynccontextmanager
    async def running(self, *specs: Spec) -> AsyncIterator[Commands]:
        """Run the daemon with these shapers; it ends as a crash would end it."""
        try:
            await self.supervisor.start(specs)
            yield self.commands
        finally:
            await self.supervisor.abandon()

    def spec(self, ifname: str = "shaper0") -> Spec:
        """Return what a shaper is to be."""
        return self.supervisor.devices[ifname].spec

    def state(self, ifname: str = "shaper0") -> str:
        """Return the state of a shaper."""
        plan = self.supervisor.devices[ifname].plan
        assert plan is not None
        return plan.state

    def saved(self) -> list[Spec]:
        """Return what the state file says."""
        return Store(self.state_directory).load()

    def change_link(self, ifindex: int, **changes: Any) -> None:
        """Change a device as an administrator would."""
        self.kernel.put(replace(self.kernel.devices[ifindex], **changes))

    def make_forwarder(
        self, *arguments: Any, is_standby: bool, rings: dict[int, int], bells: dict[int, int]
    ) -> Any:
        """Make a forwarder in memory."""
        forwarder = MemoryForwarder(
            *arguments, is_standby=is_standby, on_serve=self.forwarders.append
        )
        forwarder.refusals.update(self.next_refusals)
        if not is_standby:
            self.forwarders.append(forwarder)
        return forwarder
