"""Taking traffic by device, in memory: what is taken is only noted."""

from __future__ import annotations

import socket

from shaper.errors import ShaperError
from shaper.kernel.captor import Captor, Taken, WantedCapture


class MemoryTaken(Taken):
    """Traffic that is taken, as far as tests see it."""

    def __init__(self, wanted: WantedCapture) -> None:
        super().__init__()
        self.wanted = wanted
        self.group: str | None = None
        self.is_closed = False
        self.was_removed = False

    def is_in_place(self) -> bool:
        """Whether a test has not removed it."""
        return not self.was_removed

    def set_group(self, path: str | None) -> None:
        """Keep it."""
        self.group = path

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


class MemoryCaptor(Captor):
    """Takes traffic of devices that are not there.

    Attributes:
        every: all that was ever taken, in order.
        trusted: the shapers that have a socket.
        refusals: what the next questions whether traffic can be taken are answered with.
    """

    def __init__(self) -> None:
        self.every: list[MemoryTaken] = []
        self.trusted: set[int] = set()
        self.refusals: list[ShaperError] = []

    @property
    def taken(self) -> list[WantedCapture]:
        """What is taken now."""
        return [each.wanted for each in self.every if not each.is_closed]

    def trust(self, shaper: int, sock: socket.socket | None, *, is_own: bool = False) -> None:
        """Keep it."""
        self.trusted.discard(shaper)
        if sock is not None:
            self.trusted.add(shaper)

    def check(self) -> None:
        """Refuse as a test says."""
        if self.refusals:
            raise self.refusals.pop(0)

    def take(self, wanted: WantedCapture) -> Taken:
        """Keep it."""
        self.every.append(MemoryTaken(wanted))
        return self.every[-1]

    def close(self) -> None:
        """There is nothing to let go of."""
