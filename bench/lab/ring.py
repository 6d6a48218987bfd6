"""A packet socket that receives into memory shared with the kernel (TPACKET_V3).

Frames arrive in blocks with the kernel's nanosecond stamp beside each, and no system call for
any. Half a minute of 100 Mbit/s, or seconds of a flood, can wait in the ring unread, so that the
reading need not disturb what is measured. See Documentation/networking/packet_mmap.rst.
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from bench.lab.filters import attach

# Specified by include/uapi/linux/if_packet.h and if_ether.h.
SOL_PACKET = 263
PACKET_RX_RING = 5
PACKET_STATISTICS = 6
PACKET_VERSION = 10
PACKET_IGNORE_OUTGOING = 23
TPACKET_V3 = 2
TP_STATUS_USER = 1
ETH_P_ALL = 0x0003
STATUS_AT = 8  # in a block: version, offset of private data, then its header
BLOCK = struct.Struct("=III")  # status, frames, offset of the first
FRAME = struct.Struct("=IIIIIIHH")  # next, sec, nsec, snap, length, status, mac, net
STATISTICS = struct.Struct("=III")  # frames seen, of these lost, queue freezes

# Chosen.
BLOCK_BYTES = 1 << 20
BLOCKS = 64  # 64 MB: 400 000 frames cut to their headers
RETIRE_MS = 50  # how long a block that does not fill is kept back
SLOT_BYTES = 2048  # must divide the block; version 3 ignores it otherwise


class Caught(NamedTuple):
    """A frame as it was seen."""

    time_ns: int  # CLOCK_REALTIME, when the frame entered this end's network stack
    wire_bytes: int  # from the link-layer header on, whole even where the copy is cut
    header: bytes


class Ring:
    """Everything an interface receives that a filter keeps; what it sends is left out."""

    def __init__(
        self, interface: str, program: bytes, blocks: int = BLOCKS, block_bytes: int = BLOCK_BYTES
    ) -> None:
        # Protocol 0 receives nothing until the filter and the ring are in place.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._blocks, self._block_bytes = blocks, block_bytes
        self._next = 0
        self._lost = 0
        attach(self._socket, program)
        self._socket.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        slots = block_bytes * blocks // SLOT_BYTES
        request = struct.pack("=7I", block_bytes, blocks, SLOT_BYTES, slots, RETIRE_MS, 0, 0)
        self._socket.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
        self._memory = mmap.mmap(self._socket.fileno(), block_bytes * blocks)
        self._memory.madvise(mmap.MADV_DONTFORK)  # no child reads it, and to copy it takes time
        self._socket.bind((interface, ETH_P_ALL))

    def is_filling(self) -> bool:
        """Whether a quarter of the ring waits to be read."""
        ahead = (self._next + self._blocks // 4) % self._blocks * self._block_bytes
        status, _, _ = BLOCK.unpack_from(self._memory, ahead + STATUS_AT)
        return bool(status & TP_STATUS_USER)

    def read(self) -> Iterator[Caught]:
        """Yield the frames of every block that the kernel has handed over, and give it back."""
        while True:
            block = self._next * self._block_bytes
            status, count, first = BLOCK.unpack_from(self._memory, block + STATUS_AT)
            if not status & TP_STATUS_USER:
                return
            yield from self._frames(block + first, count)
            struct.pack_into("=I", self._memory, block + STATUS_AT, 0)
            self._next = (self._next + 1) % self._blocks

    def _frames(self, at: int, count: int) -> Iterator[Caught]:
        """Yield the `count` frames of a block, the first of them at offset `at`."""
        memory, unpack = self._memory, FRAME.unpack_from
        for _ in range(count):
            step, seconds, nanoseconds, kept, length, _status, mac, _net = unpack(memory, at)
            header = memory[at + mac : at + mac + kept]
            yield Caught(seconds * 1_000_000_000 + nanoseconds, length, header)
            at += step

    def lost(self) -> int:
        """Return how many frames the filter kept and the ring had no room for."""
        answer = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, STATISTICS.size)
        # Asking sets the kernel's count back to nothing.
        self._lost += STATISTICS.unpack(answer)[1]
        return self._lost

    def close(self) -> None:
        """Stop receiving and give the memory back."""
        self._memory.close()
        self._socket.close()
