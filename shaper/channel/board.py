"""The board: the counters of every shaper, in memory that supervisor and forwarder share.

The forwarder writes, the supervisor reads: showing statistics costs the forwarder nothing, and
the counts outlive a forwarder that dies. A slot is a row of 64-bit integers, one a field, each
stored whole (an aligned 8-byte store), so a reader may see a row half updated but never half a
number.

The supervisor makes the memory (`memfd_create`) and hands the descriptor over. Its size is sealed,
so that a reader is never sent SIGBUS, and what is read is bounded: a forwarder that was taken over
can write nonsense, which is shown as such and breaks nothing.

After the slots comes a row for each forwarder, the pulse: a word that changes while it runs paths.
"""

from __future__ import annotations

import fcntl
import mmap
import os

DROP_REASONS = (
    "limit",  # the queue was full
    "codel",  # fq_codel: its flow had kept others of it waiting for too long
    "latency",  # classic: it would have waited for more than five seconds
    "collision",  # classic: the head gave way to the tail
    "neighbour",  # ARP, ND, MLD, IGMP, LLDP and the like, which belong to the master
    "nobufs",  # the master's own queue was full (ENOBUFS)
    "oversize",  # larger than the master's MTU (EMSGSIZE)
    "master",  # the master went away or down while the frame was on its way
    "protocol",  # neither IPv4 nor IPv6, towards a master without a link-layer header
    "unreachable",  # a tunnel knows no peer for the destination (ENOKEY, EDESTADDRREQ)
    "malformed",  # too short, or its headers contradict what they describe (EINVAL)
    "excessive",  # more segments, tags or extension headers than are worked through
    "loop",  # the master is a tunnel, and led it back to the shaper
    "loss",  # by the emulated link, as it was told to
    "line",  # too much was under way on it
    "error",  # any other refusal of the kernel
    "flush",  # waiting when the device was taken down, detached or removed
    "crash",  # in the hands of a forwarder that died
)
ALTERATIONS = (  # by an emulated link, as it was told to; none of them is a loss
    "duplicated",
    "corrupted",
    "reordered",
)
FIELDS = (
    "sent_bytes",
    "sent_packets",
    "overlimits",
    "backlog_bytes",
    "backlog_packets",
    "busy_bytes",
    "busy_ns",
    "ecn_marks",
    "flows",
    "delay_ns",
    "delay_p99_ns",
    *DROP_REASONS,
    *ALTERATIONS,
    "lately_burst_bytes",  # the largest burst of the last ten seconds
    "second_delay_p99_ns",  # what 99 of 100 frames of the worst of these did not exceed
)

FIRST_DROP = FIELDS.index(DROP_REASONS[0])
FIRST_ALTERATION = FIELDS.index(ALTERATIONS[0])
ECN_MARKS = FIELDS.index("ecn_marks")
BACKLOG_PACKETS = FIELDS.index("backlog_packets")

SLOT_WORDS = 40  # FIELDS and room to grow; a multiple of a cache line
WORD_BYTES = 8

MAX_SHAPERS = 4096  # chosen: a megabyte of board

# Chosen: no count reaches it (4 EiB sent), and sums and JSON have room above it.
MAX_COUNT = 1 << 62

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Board:
    """Rows of counters in shared memory.

    Args:
        descriptor: what `create` returned, here or in the other process; it is kept open.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0)
        self._words = memoryview(self._memory).cast("Q")

    @classmethod
    def create(cls, slots: int) -> Board:
        """Make the memory for `slots` rows, all zero, of a size that nothing can change."""
        descriptor = os.memfd_create("shaper-board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, slots * SLOT_WORDS * WORD_BYTES)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return cls(descriptor)

    def row(self, slot: int) -> memoryview:
        """Return the words of one slot, to be indexed by the position in FIELDS."""
        return self._words[slot * SLOT_WORDS : (slot + 1) * SLOT_WORDS]

    def read(self, slot: int) -> dict[str, int]:
        """Return the counters of one slot by name, each at most `MAX_COUNT`."""
        counts = (min(count, MAX_COUNT) for count in self.row(slot))
        return dict(zip(FIELDS, counts, strict=False))

    def snapshot(self, slots: int) -> bytes:
        """Return the first rows as they are now, to be compared row by row."""
        return bytes(self._memory[: slots * SLOT_WORDS * WORD_BYTES])

    def pulse(self, slot: int) -> int:
        """Return the word that a forwarder changes while it runs paths."""
        return self._words[slot * SLOT_WORDS]

    def clear(self, slot: int) -> None:
        """Set every counter of a slot to zero, for its next owner."""
        self.row(slot)[:] = memoryview(bytes(SLOT_WORDS * WORD_BYTES)).cast("Q")
