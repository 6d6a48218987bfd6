"""Room for one batch of frames at fixed addresses: read into by readv(2), sent by sendmmsg(2).

A frame that leaves as soon as it is read is never made an object of. Its bytes lie in a slot of
this memory, the headers of its message were laid out once, and its length is all that is filled
in. One batch is under way at a time, so all shapers of a forwarder share one set of slots.

    slot 0: virtio-net header, frame | slot 1: virtio-net header, frame | ...
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from array import array

from shaper.forwarder.ports import MAX_BATCH, READ_BYTES, Measure
from shaper.forwarder.sendmmsg import Headers
from shaper.packet.frame import (
    MAX_SEGMENTS,
    VNET_HEADER_BYTES,
    are_plain,
    may_leave,
    measure,
)

# Chosen: what a batch may hold, so that what is copied in is still in the cache when copied out.
_MAX_BATCH_BYTES = 1 << 18


class Slots:
    """One batch.

    Attributes:
        count: how many frames it holds.
        is_drained: nothing more waited when it was read.
    """

    def __init__(self) -> None:
        # Not a bytearray: of a mapping, only the pages that frames reach cost memory.
        self._memory = memory = mmap.mmap(-1, MAX_BATCH * READ_BYTES)
        self.count = 0
        self.is_drained = False
        self._lengths: list[int] = []
        view = memoryview(memory)
        self._slots = [
            view[slot * READ_BYTES : (slot + 1) * READ_BYTES] for slot in range(MAX_BATCH)
        ]
        self._vectors = [[slot] for slot in self._slots]
        first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self._headers = Headers(MAX_BATCH)
        self._headers.addresses[:] = memoryview(
            array("Q", (first + slot * READ_BYTES for slot in range(MAX_BATCH)))
        )

    def fill(self, descriptor: int, limit: int) -> int:
        """Read at most `limit` frames; return the errno that ended it, 0 if it is full."""
        lengths = self._lengths = []
        append, readv = lengths.append, os.readv
        total = number = 0
        try:
            for vector in self._vectors[:limit]:
                length = readv(descriptor, vector)
                append(length)
                total += length
                if total > _MAX_BATCH_BYTES:
                    break
        except OSError as error:
            number = error.errno or errno.EIO
        self.count = len(lengths)
        self.is_drained = number != 0
        return number

    def release(self, descriptor: int) -> None:
        """Let go of a descriptor, which is closed next: none is held."""

    def put(self, frames: list[bytes]) -> None:
        """Take frames that were read before, at most `MAX_BATCH` of them."""
        for slot, data in zip(self._slots, frames, strict=False):
            slot[: len(data)] = data
        self._lengths = [len(data) for data in frames]
        self.count = len(frames)
        self.is_drained = False

    def measure(
        self, header_bytes_removed: int, *, keeps_neighbours: bool = False
    ) -> Measure | None:
        """Return what the batch occupies on the wire; None if not all of it may leave."""
        lengths, count = self._lengths, self.count
        removed = VNET_HEADER_BYTES + header_bytes_removed
        if are_plain(self._memory, READ_BYTES, count):
            wire_bytes = sum(lengths) - count * removed
            return Measure(count, wire_bytes, lengths[-1] - removed, max(lengths) - removed)
        sizes = []
        for slot, length in zip(self._slots, lengths, strict=False):
            frame = slot[:length]
            if not may_leave(frame, keeps_neighbours=keeps_neighbours):
                return None
            sizes.append(measure(frame, header_bytes_removed))
            if sizes[-1][1] > MAX_SEGMENTS:
                return None
        wire = [wire_bytes for wire_bytes, _ in sizes]
        return Measure(sum(packets for _, packets in sizes), sum(wire), wire[-1], max(wire))

    def send(self, descriptor: int) -> tuple[int, int]:
        """Send the batch; return how many frames were, and the errno that stopped it or 0."""
        count = self.count
        self._headers.lengths[:count] = memoryview(array("Q", self._lengths))
        return self._headers.send(descriptor, count)

    def take(self) -> list[bytes]:
        """Return the frames as objects, to be kept when the slots are used again."""
        return [
            bytes(slot[:length]) for slot, length in zip(self._slots, self._lengths, strict=False)
        ]
