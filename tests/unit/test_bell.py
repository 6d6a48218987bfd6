"""The bell of a forwarder, in memory that is laid out as the kernel lays out a ring buffer."""

from __future__ import annotations

import mmap
import os
import struct

import pytest

from shaper.channel.bell import Bell, BellCall
from shaper.channel.ring_rows import RingRows

PAGE = mmap.PAGESIZE
RECORD = struct.Struct("=QQQ")
BUSY = 1 << 31


class RigBell:
    """A ring buffer, and the bell that reads it."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("bell")
        os.ftruncate(self.descriptor, 4 * PAGE)
        self.bell = Bell(os.dup(self.descriptor))
        self._written = 0

    def ring(self, row: int, at_ns: int, header: int = 16) -> None:
        """Write a record, in both places where the kernel shows it."""
        record = RECORD.pack(header, row, at_ns)
        for at, byte in enumerate(record):
            place = (self._written + at) % PAGE
            for page in (2, 3):
                os.pwrite(self.descriptor, bytes([byte]), page * PAGE + place)
        self._written += RECORD.size
        os.pwrite(self.descriptor, struct.pack("=Q", self._written), PAGE)

    @property
    def read_bytes(self) -> int:
        """How far it was read."""
        return int(struct.unpack("=Q", os.pread(self.descriptor, 8, 0))[0])


@pytest.fixture
def rig() -> RigBell:
    """Return a bell that has not rung."""
    return RigBell()


def test_each_ring_is_told_once(rig: RigBell) -> None:
    """In their order, however often the buffer has been used anew."""
    assert rig.bell.take() == []
    for number in range(0, 2000, 2):
        rig.ring(number, 10**18 + number)
        rig.ring(number + 1, 7)
        assert rig.bell.take() == [BellCall(number, 10**18 + number), BellCall(number + 1, 7)]
    assert rig.bell.take() == []
    assert rig.read_bytes == 2000 * RECORD.size


def test_what_is_being_written_is_told_later(rig: RigBell) -> None:
    """Nor is what comes behind it."""
    rig.ring(1, 1)
    rig.ring(2, 2, 16 | BUSY)
    rig.ring(3, 3)
    assert rig.bell.take() == [BellCall(1, 1)]
    assert rig.bell.take() == []


@pytest.mark.parametrize("said", [0, 8, 25, 2**63, 2**64 - 8])
def test_a_successor_begins_anew(rig: RigBell, said: int) -> None:
    """Whatever its predecessor, which may have been taken over, says that it has read."""
    rig.ring(1, 1)
    rig.bell.close()
    os.pwrite(rig.descriptor, struct.pack("=Q", said), 0)
    successor = Bell(os.dup(rig.descriptor))
    successor.begin()
    assert rig.read_bytes == RECORD.size
    rig.ring(2, 2)
    assert successor.take() == [BellCall(2, 2)]
    assert rig.read_bytes == 2 * RECORD.size


def test_what_cannot_be_mapped_is_refused() -> None:
    """And closed."""
    descriptor = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(OSError, match="Permission denied"):
        Bell(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_standby_keeps_the_bell_of_its_place(rig: RigBell) -> None:
    """As long as it may have any place, it has none."""
    rows = RingRows()
    assert rows.bell is None
    rows.add_bell(0, os.dup(rig.descriptor))
    first = rows.bell
    assert first is not None
    rows.add_bell(1, os.dup(rig.descriptor))
    assert rows.bell is None
    rows.keep(1)
    assert rows.bell is not None
    assert rows.bell is not first
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first.fileno())
