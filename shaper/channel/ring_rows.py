"""What the program on a TAP and the forwarder that reads it tell each other: mapped memory.

The supervisor makes it (`kernel.ring_caps`), a row for each slot, and hands the descriptor over
before the forwarder confines itself: after that nothing can be mapped. Each forwarder has rows of
its own, so one that was taken over lies to the programs of its own shapers at most. With them
comes what rings for them (`bell`).
"""

from __future__ import annotations

import mmap
import os

from shaper.channel.bell import Bell
from shaper.channel.board import MAX_SHAPERS
from shaper.model import RING_ROW_BYTES, RING_WORD_BYTES

_ROW_WORDS = RING_ROW_BYTES // RING_WORD_BYTES


class RingRows:
    """The rows that a forwarder has: of one place, or of all while it stands by."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[mmap.mmap, memoryview]] = {}
        self._bells: dict[int, Bell] = {}

    def add(self, place: int, descriptor: int) -> None:
        """Map the rows of a place; the descriptor is closed. Raises OSError."""
        memory = mmap.mmap(descriptor, MAX_SHAPERS * RING_ROW_BYTES)
        self._places[place] = memory, memoryview(memory).cast("Q")
        os.close(descriptor)

    def add_bell(self, place: int, descriptor: int) -> None:
        """Map the bell of a place, which takes the descriptor. Raises OSError."""
        self._bells[place] = Bell(descriptor)

    def keep(self, place: int) -> None:
        """Let go of the rows of other places, before the first frame is touched."""
        for other in self._places.keys() - {place}:
            memory, words = self._places.pop(other)
            words.release()
            memory.close()
        for other in self._bells.keys() - {place}:
            self._bells.pop(other).close()

    @property
    def bell(self) -> Bell | None:
        """What rings for the rows; None where nothing does."""
        return next(iter(self._bells.values())) if len(self._bells) == 1 else None

    def row(self, slot: int) -> memoryview | None:
        """Return the words of a slot, to be indexed by `RingWord`; None where there are none."""
        if len(self._places) != 1:
            return None
        ((_, words),) = self._places.values()
        return words[slot * _ROW_WORDS : (slot + 1) * _ROW_WORDS]
