"""The forwarders of one daemon: a shaper belongs to one of them, by its slot."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Awaitable, Callable

from shaper.channel.board import Board
from shaper.errors import KernelRefused, ShaperError
from shaper.supervisor.process import Forwarder

# Chosen.
MAX_SHAPERS = 4096  # a megabyte of board
_SHORT_LIFE_SECONDS = 1.0  # one that lived for less is not replaced at once
_PAUSE_SECONDS = 0.5

_log = logging.getLogger(__name__)

Replaced = Callable[[int, Forwarder], Awaitable[None]]


class Pool:
    """A fixed number of forwarders and the board they share.

    Args:
        size: how many forwarders.
    """

    def __init__(self, size: int) -> None:
        self.board = Board.create(MAX_SHAPERS)
        self.size = size
        self._forwarders: list[Forwarder] = []
        self._started_at: dict[int, float] = {}
        self._free_slots = list(range(MAX_SHAPERS - 1, -1, -1))
        self._on_replaced: Replaced | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, on_replaced: Replaced) -> None:
        """Start the forwarders.

        Args:
            on_replaced: awaited with a position and its new forwarder after one died.
        """
        self._on_replaced = on_replaced
        for position in range(self.size):
            self._forwarders.append(await self._spawn(position))

    def stop(self) -> None:
        """End every forwarder."""
        for task in self._tasks:
            task.cancel()
        for forwarder in self._forwarders:
            forwarder.stop()
        self._forwarders.clear()

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

    def is_forwarder(self, pid: int) -> bool:
        """Whether a process is a forwarder, or was started by one: each has its own session."""
        pids = {forwarder.pid for forwarder in self._forwarders}
        return pid in pids or _session(pid) in pids

    async def ping(self) -> None:
        """Return once every forwarder has answered. Raises KernelRefused when one does not."""
        for forwarder in tuple(self._forwarders):
            await forwarder.tell("ping")

    async def _spawn(self, position: int) -> Forwarder:
        self._started_at[position] = time.monotonic()
        forwarder = Forwarder(self.board, lambda dead: self._replace(position, dead))
        await forwarder.start()
        return forwarder

    def _replace(self, position: int, dead: Forwarder) -> None:
        if dead not in self._forwarders:
            return
        task = asyncio.get_running_loop().create_task(self._respawn(position))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _respawn(self, position: int) -> None:
        while True:
            if time.monotonic() - self._started_at[position] < _SHORT_LIFE_SECONDS:
                await asyncio.sleep(_PAUSE_SECONDS)
            try:
                self._forwarders[position] = await self._spawn(position)
                assert self._on_replaced is not None
                await self._on_replaced(position, self._forwarders[position])
            except ShaperError as error:
                _log.error("cannot replace a forwarder: %s", error)
            else:
                return


def _session(pid: int) -> int | None:
    """Return the session of a process; None if it is gone, or cannot be seen."""
    if pid <= 0:
        return None
    try:
        return os.getsid(pid)
    except OSError:
        return None
