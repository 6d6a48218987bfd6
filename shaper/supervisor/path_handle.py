"""One shaper's path in whichever forwarder has it: what that one has been told of it."""

from __future__ import annotations

import os

from shaper.channel import bulk, messages
from shaper.model import Settings
from shaper.supervisor.process import Forwarder
from shaper.supervisor.ring_cap import RingCap


class PathHandle:
    """Gives orders about one path. Raises KernelRefused where the forwarder refuses one.

    Args:
        slot: the shaper's row on the board, by which the forwarder knows it.
        ring_cap: keeps flows from filling the TAP's ring.
    """

    def __init__(self, slot: int, ring_cap: RingCap) -> None:
        self._slot = slot
        self._ring_cap = ring_cap
        self._forwarder: Forwarder | None = None
        self._is_open = False  # the forwarder has the TAP
        self._is_configured = False  # ... and settings
        self._is_bound = False  # ... and the master's socket

    async def hand_over(self, forwarder: Forwarder, tap: int) -> None:
        """Let this forwarder carry the frames of a TAP, of which it knows nothing yet."""
        self._forwarder, self._is_open = forwarder, False
        await self.open(tap)

    async def open(self, tap: int) -> None:
        """Give the TAP over, unless the forwarder has it."""
        if self._is_open:
            return
        await self.tell(messages.Open(self._slot), tap)
        self._is_open, self._is_configured, self._is_bound = True, False, False

    async def configure(self, settings: Settings | None) -> None:
        """Change the settings; None: no speed."""
        self._ring_cap.realize(settings)
        if settings is None and not self._is_configured:
            return
        self._is_configured = True
        order = messages.Configure(self._slot, settings)
        if settings is None or not bulk.is_needed(settings):
            await self.tell(order)
            return
        beside = bulk.pack(settings)
        try:
            await self.tell(order, beside)
        finally:
            os.close(beside)

    def release_ring(self) -> None:
        """Cap no flow any more: the row may be another's from now on."""
        self._ring_cap.release()

    async def bind(self, order: messages.Bind, sock: int) -> None:
        """Lend the master's socket."""
        self._is_bound = True
        await self.tell(order, sock)

    async def unbind(self) -> None:
        """Take the master's socket back, if it was lent."""
        if self._is_bound:
            await self.tell(messages.Unbind(self._slot))
        self._is_bound = False

    async def tell(self, order: messages.Order, descriptor: int | None = None) -> None:
        """Give an order, if there is a forwarder."""
        if self._forwarder is not None:
            await self._forwarder.tell(order, descriptor)
