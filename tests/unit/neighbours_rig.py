"""The neighbours of two shapers on two masters, on a kernel in memory, for tests."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from socket import AF_INET, AF_INET6

from shaper.kernel.links import Links
from shaper.kernel.neighbours import Neighbours
from shaper.testing.memory_messages import MemoryMessage
from shaper.testing.memory_netlink import MemoryNetlink
from tests.unit.machine_rig import ETH1

MASTER, OTHER_MASTER, SHAPER, OTHER_SHAPER = 2, 3, 4, 5
PEER = "10.0.0.2"
PEER6 = "2001:db8::2"
MAC = "02:00:00:00:00:99"
OTHER_MAC = "02:00:00:00:00:77"
INCOMPLETE, REACHABLE, STALE, FAILED, NOARP, PERMANENT = 0x01, 0x02, 0x04, 0x20, 0x40, 0x80
EXT_LEARNED = 0x10


class NeighboursRig:
    """The neighbours of two shapers on two masters, and a kernel whose events are handled."""

    def __init__(self) -> None:
        self.kernel = MemoryNetlink()
        for ifindex in (MASTER, OTHER_MASTER, SHAPER, OTHER_SHAPER):
            self.kernel.devices[ifindex] = replace(ETH1, ifindex=ifindex, ifname=f"d{ifindex}")
        self.links = Links()
        self.solicited: list[tuple[int, bytes, str, str]] = []
        self.neighbours = Neighbours(self.kernel, self.links, self._solicit)
        self.events: asyncio.Queue[MemoryMessage] = asyncio.Queue()
        self.kernel.monitor(self.events.put_nowait, lambda: None)

    def _solicit(self, ifindex: int, mac: bytes, source: str, destination: str) -> None:
        self.solicited.append((ifindex, mac, source, destination))

    async def handle(self) -> None:
        """Handle events, those that this leads to included, until there are no more."""
        await asyncio.sleep(0.1)
        while not self.events.empty():
            self.neighbours.handle(self.events.get_nowait())
            await asyncio.sleep(0.1)

    async def ask(self, shaper: int = SHAPER, destination: str = PEER) -> None:
        """Let the kernel solicit for a shaper, and handle what comes of it."""
        self.kernel.neighbour_event("RTM_GETNEIGH", shaper, destination)
        await self.handle()

    async def learn(
        self, state: int, mac: str | None, master: int = MASTER, destination: str = PEER
    ) -> None:
        """Let a master learn something, and handle what comes of it."""
        self.kernel.set_entry(master, destination, state, mac)
        await self.handle()

    def has(self, ifindex: int, destination: str = PEER) -> tuple[int, str | None] | None:
        """Return state and link-layer address of an entry."""
        family = AF_INET6 if ":" in destination else AF_INET
        entry = self.kernel.entries.get((ifindex, family, destination))
        return entry and (entry["state"], entry.get_attr("NDA_LLADDR"))
