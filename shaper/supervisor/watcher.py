"""What the kernel reports: devices, addresses and neighbours, tracked, with a resync after losses.

Events are taken in as they come and handled by one task, so that handling may wait for netlink
while more arrive. Where the kernel says that events were lost, those that are left are older than
the lost ones: they are thrown away before everything is asked for anew.

Once a minute the tables are held to a dump, so that a fault of any kind, ours or the kernel's, is
one of a minute. What had to be put right is counted and logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from shaper.errors import KernelRefused, ShaperError
from shaper.kernel.addresses import Addresses, entry_of, is_link_local
from shaper.kernel.links import Links, parse_link
from shaper.kernel.linux import LINUX, Kernel
from shaper.kernel.neighbours import Neighbours
from shaper.kernel.netlink import Monitor, Netlink
from shaper.kernel.netlink_messages import Message
from shaper.model import Link

# Chosen.
_RETRY_SECONDS = 0.2  # after the kernel refused to answer
_CHECK_SECONDS = 60.0  # between two looks at whether what is believed is so

_LINK_EVENTS = ("RTM_NEWLINK", "RTM_DELLINK")
_ADDRESS_EVENTS = ("RTM_NEWADDR", "RTM_DELADDR")
_NEIGHBOUR_EVENTS = ("RTM_GETNEIGH", "RTM_NEWNEIGH", "RTM_DELNEIGH")

_log = logging.getLogger(__name__)

Changed = Callable[[set[int]], Awaitable[None]]


class Watcher:
    """Keeps `links` and `addresses` current and the neighbours of shapers resolved.

    Args:
        netlink: where requests go.
        on_changed: awaited with the indices of devices that changed or vanished, or whose
            addresses did.
        kernel: where events come from.

    Attributes:
        put_right: how much a look at everything found to be otherwise than believed.
    """

    def __init__(self, netlink: Netlink, on_changed: Changed, kernel: Kernel = LINUX) -> None:
        self.links = Links()
        self.addresses = Addresses()
        self.neighbours = Neighbours(netlink, self.links)
        self.put_right = 0
        self._netlink = netlink
        self._listen = kernel.monitor
        self._on_changed = on_changed
        self._dirty: set[int] = set()
        self._unclear: set[int] = set()  # devices whose last event does not tell everything
        self._neighbour_events: deque[Message] = deque()
        self._heard: list[Message] | None = None  # while a dump is on its way
        self._has_overflown = False
        self._is_check_due = False
        self._has_work = asyncio.Event()
        self._monitor: Monitor | None = None
        self._task: asyncio.Task[None] | None = None
        self._clock: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen, and take the first full dump."""
        self._monitor = self._listen(self._take, self._overflow)
        self._dump()
        self._schedule_check()
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Stop listening."""
        if self._clock is not None:
            self._clock.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._monitor is not None:
            self._monitor.close()

    def look_at(self, ifindex: int) -> Link | None:
        """Return a device that no event may have told of yet; None if there is none.

        Most often its event waits to be heard, and the kernel need not be asked.
        """
        if self._monitor is not None:
            self._monitor.hear()
        if (link := self.links.index(ifindex)) is not None:
            return link
        self._ask_for(ifindex)
        return self.links.index(ifindex)

    def mark(self, ifindex: int) -> None:
        """Have a device looked at again."""
        self._dirty.add(ifindex)
        self._has_work.set()

    def _take(self, message: Message) -> None:
        event = message["event"]
        if self._heard is not None and event in (*_LINK_EVENTS, *_ADDRESS_EVENTS):
            self._heard.append(message)
        if event in _LINK_EVENTS:
            self._take_link(message)
        elif event in _ADDRESS_EVENTS:
            self._take_address(message)
        elif event in _NEIGHBOUR_EVENTS:
            self._neighbour_events.append(message)
            self._has_work.set()

    def _take_link(self, message: Message) -> None:
        # Bridges tell of their ports in the same events, with a family of their own; IPv6 tells
        # of its own settings in messages that lack most of a device's.
        if message["family"] == socket.AF_UNSPEC:
            self._update(message)
        elif message["family"] == socket.AF_INET6:
            self._clear_up(message["index"])

    def _take_address(self, message: Message) -> None:
        ifindex = self.addresses.update(message)
        if ifindex is not None:
            self.mark(ifindex)
        elif is_link_local(message):
            self._clear_up(message["index"])

    def _clear_up(self, ifindex: int) -> None:
        self._unclear.add(ifindex)
        self._has_work.set()

    def _update(self, message: Message) -> None:
        ifindex = self.links.update(message)
        if ifindex is not None:
            self.mark(ifindex)

    def _ask_for(self, ifindex: int) -> None:
        try:
            messages = self._netlink.link(ifindex)
        except KernelRefused as error:
            if error.errno != errno.ENODEV:
                raise
            return
        for message in messages:
            self._update(message)

    def _dump(self) -> set[int]:
        """Ask for everything; return the indices of all devices, and of those gone.

        Events that wait are thrown away: after an overflow the last ones are missing. Those that
        come in meanwhile may be newer than the answer.
        """
        if self._monitor is not None:
            self._monitor.drain()
        heard = self._heard = []
        try:
            links, addresses = self._netlink.links(), self._netlink.addresses()
        finally:
            self._heard = None
        indices = self.links.replace(links) | self.addresses.replace(addresses)
        for message in heard:
            self._take(message)
        return indices

    def _overflow(self) -> None:
        self._has_overflown = True
        self._has_work.set()

    def _schedule_check(self) -> None:
        loop = asyncio.get_running_loop()
        self._clock = loop.call_later(_CHECK_SECONDS, self._request_check)

    def _request_check(self) -> None:
        self._is_check_due = True
        self._has_work.set()
        self._schedule_check()

    async def _work(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            # Apart, so that a device that cannot be dealt with keeps no neighbour waiting.
            with self._attempting():
                await self._catch_up_with_links()
            with self._attempting():
                self._catch_up_with_neighbours()
            if self._is_check_due:
                self._is_check_due = False
                with self._attempting():
                    self._check()

    @contextlib.contextmanager
    def _attempting(self) -> Iterator[None]:
        """Tell what fails, and have it tried again."""
        try:
            yield
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
            self._start_anew()
        while self._unclear:
            self._ask_for(self._unclear.pop())
        dirty, self._dirty = self._dirty, set()
        try:
            if dirty:
                await self._on_changed(dirty)
        except BaseException:
            self._dirty |= dirty
            raise

    def _catch_up_with_neighbours(self) -> None:
        """Handle neighbour events; of the same question asked again and again, the first."""
        asked: set[tuple[int, str | None]] = set()
        while self._neighbour_events:
            event = self._neighbour_events.popleft()
            if event["event"] == "RTM_GETNEIGH":
                question = event["ifindex"], event.get_attr("NDA_DST")
                if question in asked:
                    continue
                asked.add(question)
            self.neighbours.handle(event)

    def _start_anew(self) -> None:
        try:
            self._dirty |= self._dump()
            self.neighbours.refresh()
        except BaseException:
            self._has_overflown = True
            raise

    def _check(self) -> None:
        """Hold what is believed to a dump, and put right what is otherwise."""
        if self._monitor is not None:
            self._monitor.hear()
        heard = self._heard = []
        links, addresses = self.links.by_index.copy(), self.addresses.entries()
        try:
            link_messages = self._netlink.links()
            address_messages = self._netlink.addresses()
            if self._monitor is not None:
                self._monitor.hear()
        finally:
            self._heard = None
        touched = {message["index"] for message in heard}
        seen = {link.ifindex: link for link in map(parse_link, link_messages)}
        wrong = {each for each in links | seen if _told(links.get(each)) != _told(seen.get(each))}
        entries = {entry for entry in map(entry_of, address_messages) if entry is not None}
        wrong |= {ifindex for ifindex, _ in addresses ^ entries}
        for message in link_messages:
            if message["index"] not in touched | wrong:
                self._update(message)
        if (wrong - touched) and not self._has_overflown:
            self._tell(wrong - touched)
            self._overflow()
        count = self.neighbours.check()
        if count:
            _log.warning("put right: %d neighbour entries", count)
        self.put_right += count

    def _tell(self, wrong: set[int]) -> None:
        self.put_right += len(wrong)
        known = (self.links.index(each) for each in sorted(wrong))
        names = (link.ifname for link in known if link is not None)
        _log.warning("put right: %d devices, %s", len(wrong), ", ".join(names) or "not known")


def _told(link: Link | None) -> Link | None:
    """Return a device without what the kernel changes and tells nothing of: no fault of ours."""
    return link and replace(link, ipv6_mtu=None)
