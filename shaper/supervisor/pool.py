"""The forwarders of one daemon: a shaper belongs to one of them, by its slot.

One that dies is replaced by the one that stands by, or else by one that is started, whatever it
takes: a start that fails, for want of descriptors or of memory, is tried again until it succeeds.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from shaper.channel.board import MAX_SHAPERS, Board
from shaper.channel.messages import Notice, Ping
from shaper.errors import KernelRefused, ShaperError
from shaper.events import Event, Kind, tell
from shaper.kernel.ring_caps import NO_CAPS, RingCaps
from shaper.kernel.tap import Tap
from shaper.supervisor.keepsakes import NOTHING_KEPT, Keepsakes
from shaper.supervisor.predecessors import Predecessors
from shaper.supervisor.process import Forwarder
from shaper.supervisor.ring_cap import RingCap
from shaper.supervisor.standby import Standby

# Chosen.
_SHORT_LIFE_SECONDS = 1.0  # one that lived for less is not replaced at once
_PAUSE_SECONDS = 0.5
_MAX_PAUSE_SECONDS = 5.0  # between attempts to replace one
_TELL_SECONDS = 60.0  # between two lines on the same failure

_log = logging.getLogger(__name__)

Replaced = Callable[[int, Forwarder], Awaitable[None]]
Noticed = Callable[[Notice], None]


class MakeForwarder(Protocol):
    """Makes a forwarder, as the class does."""

    def __call__(
        self,
        board: Board,
        pulse: int,
        on_death: Callable[[Forwarder], None],
        on_notice: Callable[[Notice], bool],
        *,
        is_standby: bool,
        rings: Mapping[int, int],
        bells: Mapping[int, int],
    ) -> Forwarder:
        """Start its process. Raises KernelRefused."""
        ...


@dataclass
class Place:
    """Where a forwarder is.

    Attributes:
        pulse: the row of its pulse.
        position: among those that serve; None: it stands by.
        since: when it came to its position, in the event loop's time.
    """

    pulse: int
    position: int | None
    since: float


class Pool:
    """A fixed number of forwarders and the board they share.

    Args:
        size: how many forwarders.
        keepsakes: what outlives a restart.
        ring_caps: the programs on TAPs, which they share memory with.
        make: makes a forwarder.

    Attributes:
        predecessors: the forwarders of the daemon before.
    """

    def __init__(
        self,
        size: int,
        keepsakes: Keepsakes = NOTHING_KEPT,
        ring_caps: RingCaps = NO_CAPS,
        make: MakeForwarder = Forwarder,
    ) -> None:
        self.ring_caps = ring_caps
        self._make = make
        self.predecessors = Predecessors(keepsakes)
        self.board = Board.create(MAX_SHAPERS + size + 1)
        self.size = size
        self._forwarders: list[Forwarder] = []
        self._standby = Standby(lambda: self._spawn(None))
        self._spare: Place | None = None  # of the one that stands by
        self._free_pulses = list(range(MAX_SHAPERS + size, MAX_SHAPERS - 1, -1))
        self._free_slots = list(range(MAX_SHAPERS - 1, -1, -1))
        self._on_replaced: Replaced | None = None
        self._on_notice: Noticed | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, on_replaced: Replaced, on_notice: Noticed) -> None:
        """Start the forwarders.

        Args:
            on_replaced: awaited with a position and its new forwarder after one died.
            on_notice: called with what a forwarder tells of a shaper of its own.
        """
        self._on_replaced, self._on_notice = on_replaced, on_notice
        for position in range(self.size):
            self._forwarders.append(await self._spawn(position))
        self._standby.arrange()

    async def stop(self) -> None:
        """End every forwarder."""
        for task in self._tasks:
            task.cancel()
        forwarders, self._forwarders = self._forwarders, []
        await asyncio.gather(self._standby.stop(), *(each.stop() for each in forwarders))
        self.ring_caps.close()

    async def rest(self) -> None:
        """End our part; forwarders that are well go on while the manager holds their channels."""
        for task in self._tasks:
            task.cancel()
        forwarders, self._forwarders = self._forwarders, []
        for forwarder in forwarders:
            if forwarder.is_silent:  # it might not see that the channel is closed
                self.predecessors.forget(forwarder.pid)
                await forwarder.stop()
            else:
                forwarder.leave()
        await self._standby.stop()
        self.ring_caps.close()

    def take_slot(self) -> int:
        """Return a cleared slot. Raises KernelRefused when there is none."""
        if not self._free_slots:
            raise KernelRefused(
                f"there are {MAX_SHAPERS} shapers already, and no room for more", errno.ENOSPC
            )
        slot = self._free_slots.pop()
        self.board.clear(slot)
        return slot

    def free_slot(self, slot: int) -> None:
        """Give a slot back."""
        self._free_slots.append(slot)

    def position_of(self, slot: int) -> int:
        """Return which forwarder a slot belongs to."""
        return slot % self.size

    def forwarder_of(self, slot: int) -> Forwarder:
        """Return the forwarder that a slot belongs to."""
        return self._forwarders[self.position_of(slot)]

    def ring_cap(self, tap: Tap, slot: int) -> RingCap:
        """Return what keeps flows from filling the ring of a slot's TAP."""
        return RingCap(self.ring_caps, tap, self.position_of(slot), slot)

    def is_forwarder(self, pid: int) -> bool:
        """Whether a process is a forwarder, or was started by one: each has its own session."""
        pids = {forwarder.pid for forwarder in self._forwarders} | self._standby.pids()
        return pid in pids or _session(pid) in pids

    def is_stalled(self, slot: int) -> bool:
        """Whether the forwarder of a slot does not answer, or is being replaced."""
        position = self.position_of(slot)
        return position < len(self._forwarders) and self._forwarders[position].is_silent

    def has_stalled(self) -> bool:
        """Whether any of them does not answer, or is being replaced."""
        return any(forwarder.is_silent for forwarder in self._forwarders)

    async def ping(self) -> None:
        """Return once every forwarder has answered. Raises KernelRefused when one does not."""
        for forwarder in tuple(self._forwarders):
            await forwarder.tell(Ping())

    async def _spawn(self, position: int | None) -> Forwarder:
        """Start a forwarder for a position; None: to stand by."""
        now = asyncio.get_running_loop().time()
        place = Place(self._free_pulses.pop(), position, now)
        caps = self.ring_caps
        rings = {at: rows for at, rows in enumerate(caps.rows) if position in (None, at)}
        bells = {at: bell for at, bell in enumerate(caps.bells) if position in (None, at)}
        try:
            forwarder = self._make(
                self.board,
                place.pulse,
                partial(self._replace, place),
                partial(self._pass_on, place),
                is_standby=position is None,
                rings=rings,
                bells=bells,
            )
            try:
                await forwarder.start()
                if forwarder.is_silent:  # its last words were that it has started
                    raise KernelRefused(f"forwarder {forwarder.pid} is gone", errno.EPIPE)
            except BaseException:
                await forwarder.stop()
                raise
        except BaseException:
            self._free_pulses.append(place.pulse)
            raise
        if position is not None:
            self.predecessors.keep(forwarder.pid, forwarder.fileno())
        else:
            self._spare = place
        return forwarder

    def _pass_on(self, place: Place, notice: Notice) -> bool:
        """Pass a notice on; return False if it is of a shaper of another forwarder, or of none."""
        if not 0 <= notice.slot < MAX_SHAPERS or self.position_of(notice.slot) != place.position:
            return False
        if self._on_notice is not None:
            self._on_notice(notice)
        return True

    def _replace(self, place: Place, dead: Forwarder) -> None:
        if self._standby.forget(dead):
            self._free_pulses.append(place.pulse)
        if dead not in self._forwarders or place.position is None:
            return
        self._free_pulses.append(place.pulse)
        self.predecessors.forget(dead.pid)
        task = asyncio.get_running_loop().create_task(self._respawn(place.position, place.since))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _respawn(self, position: int, since: float) -> None:
        """Replace a forwarder that was at a position since then."""
        if asyncio.get_running_loop().time() - since < _SHORT_LIFE_SECONDS:
            await asyncio.sleep(_PAUSE_SECONDS)
        forwarder = await self._enlist(position) or await self._spawn_at_last(position)
        self._forwarders[position] = forwarder
        assert self._on_replaced is not None
        try:
            await self._on_replaced(position, forwarder)
        except Exception:  # whatever it is, it must not be the end of this forwarder's shapers
            _log.exception("handing shapers over to forwarder %d", forwarder.pid)
        tell(Event(Kind.FORWARDER_REPLACED), "forwarder %d is in its place", forwarder.pid)
        self._standby.arrange()

    async def _spawn_at_last(self, position: int) -> Forwarder:
        """Start a forwarder, however often that fails before."""
        loop = asyncio.get_running_loop()
        pause, told_at = _PAUSE_SECONDS, -math.inf
        while True:
            try:
                return await self._spawn(position)
            except (ShaperError, OSError) as error:
                if loop.time() - told_at >= _TELL_SECONDS:
                    told_at = loop.time()
                    _log.error("cannot replace a forwarder: %s; trying again", error)
            except Exception:
                _log.exception("cannot replace a forwarder; trying again")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    async def _enlist(self, position: int) -> Forwarder | None:
        """Return the forwarder that stood by, at its position now; None where there is none."""
        forwarder = await self._standby.take()
        if forwarder is not None and self._spare is not None:
            self._spare.position, self._spare.since = position, asyncio.get_running_loop().time()
            self._spare = None
            forwarder.serve(position)
            self.predecessors.keep(forwarder.pid, forwarder.fileno())
        return forwarder


def _session(pid: int) -> int | None:
    """Return the session of a process; None if it is gone, or cannot be seen."""
    if pid <= 0:
        return None
    try:
        return os.getsid(pid)
    except OSError:
        return None
