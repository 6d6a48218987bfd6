"""What the kernel reports: devices and neighbours, followed and never lost track of.

Events are taken in as they come and handled by one task, so that handling may wait for netlink
while more arrive. Where the kernel says that events were lost, everything is asked for anew.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from shaper.errors import KernelRefused, ShaperError
from shaper.kernel.links import Links
from shaper.kernel.neighbours import Neighbours
from shaper.kernel.netlink import Monitor, Netlink
from shaper.kernel.wire import Message
from shaper.model import Link

# Chosen.
_RETRY_SECONDS = 0.2  # after the kernel refused to answer

_log = logging.getLogger(__name__)

Changed = Callable[[set[int]], Awaitable[None]]


class Watcher:
    """Keeps `links` current and the neighbours of shapers resolved.

    Args:
        netlink: where requests go.
        on_changed: awaited with the indices of devices that changed or vanished.
    """

    def __init__(self, netlink: Netlink, on_changed: Changed) -> None:
        self.links = Links()
        self.neighbours = Neighbours(netlink)
        self._netlink = netlink
        self._on_changed = on_changed
        self._dirty: set[int] = set()
        self._neighbour_events: deque[Message] = deque()
        self._newer_than_dump: list[Message] | None = None
        self._has_overflown = False
        self._has_work = asyncio.Event()
        self._monitor: Monitor | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, and take the first full dump."""
        self._monitor = Monitor(self._take, self._overflow)
        await self._dump()
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._monitor is not None:
            self._monitor.close()

    async def look_at(self, ifindex: int) -> Link | None:
        """Return a device that no event may have told of yet; None if there is none.

        Most often its event waits to be heard, and the kernel need not be asked.
        """
        if self._monitor is not None:
            self._monitor.hear()
        if (link := self.links.index(ifindex)) is not None:
            return link
        try:
            messages = await self._netlink.link(ifindex)
        except KernelRefused as error:
            if error.errno != errno.ENODEV:
                raise
            return None
        for message in messages:
            self._update(message)
        return self.links.index(ifindex)

    def mark(self, ifindex: int) -> None:
        """Have a device looked at again."""
        self._dirty.add(ifindex)
        self._has_work.set()

    def _take(self, message: Message) -> None:
        event = message["event"]
        # Bridges tell of their ports in the same events, with a family of their own.
        if event in ("RTM_NEWLINK", "RTM_DELLINK") and message["family"] == socket.AF_UNSPEC:
            if self._newer_than_dump is not None:
                self._newer_than_dump.append(message)
            self._update(message)
        elif event in ("RTM_GETNEIGH", "RTM_NEWNEIGH", "RTM_DELNEIGH"):
            self._neighbour_events.append(message)
            self._has_work.set()

    def _update(self, message: Message) -> None:
        ifindex = self.links.update(message)
        if ifindex is not None:
            self.mark(ifindex)

    async def _dump(self) -> set[int]:
        """Ask for all devices. Events that come in meanwhile are newer than the answer."""
        self._newer_than_dump = []
        try:
            indices = self.links.replace(await self._netlink.links())
            for message in self._newer_than_dump:
                self._update(message)
        finally:
            self._newer_than_dump = None
        return indices

    def _overflow(self) -> None:
        self._has_overflown = True
        self._has_work.set()

    async def _work(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            # Apart, so that a device that cannot be dealt with keeps no neighbour waiting.
            await self._attempt(self._catch_up_with_links())
            await self._attempt(self._catch_up_with_neighbours())

    async def _attempt(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except ShaperError as error:
            _log.error("following the kernel: %s; trying again", error)
            asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._has_work.set)
        except Exception:  # one event that is not understood must not end the following
            _log.exception("following the kernel; trying again")
            asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._has_work.set)

    async def _catch_up_with_links(self) -> None:
        if self._has_overflown:
            _log.warning("netlink events were lost: looking at everything anew")
            self._has_overflown = False
            await self._start_anew()
        dirty, self._dirty = self._dirty, set()
        try:
            if dirty:
                await self._on_changed(dirty)
        except BaseException:
            self._dirty |= dirty
            raise

    async def _catch_up_with_neighbours(self) -> None:
        while self._neighbour_events:
            await self.neighbours.handle(self._neighbour_events.popleft())

    async def _start_anew(self) -> None:
        try:
            self._dirty |= await self._dump()
            await self.neighbours.refresh()
        except BaseException:
            self._has_overflown = True
            raise
