"""The loop answers its bell, here a pipe in which the rows lie that ring."""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from shaper.channel import ring_rows
from shaper.channel.bell import BellCall
from shaper.channel.board import MAX_SHAPERS
from shaper.channel.messages import Bells, Close, Ping, Rings
from shaper.model import RING_ROW_BYTES, Queue, RingWord
from tests.unit.loop_rig import FAST, HEADER, LoopRig, RigWire
from tests.unit.test_ring_program import four

SECOND_NS = 10**9
PLACE, SLOT = 0, 0
ETHERNET_BYTES = 14
# A frame in a minute, and the TAP is not watched for less than a jiffy of an hour.
SLOW = replace(
    FAST,
    rate_bits=1514 * 8 // 60,
    burst_bytes=10 * 1514,
    queue=Queue.FQ_CODEL,
    ticks_per_second=10**6,
    jiffy_ns=3600 * SECOND_NS,
    reserve_bytes=1514,
)
BULK, PING = (HEADER + four(port=port)[ETHERNET_BYTES:] for port in (1, 7))


class StandInBell:
    """A bell that a test rings by writing rows to the other end of a pipe."""

    began = 0

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._descriptor

    def begin(self) -> None:
        """Count it."""
        StandInBell.began += 1

    def take(self) -> list[BellCall]:
        """Return the calls."""
        rows = struct.iter_unpack("=Q", os.read(self._descriptor, mmap.PAGESIZE))
        return [BellCall(row, time.monotonic_ns()) for (row,) in rows]

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


class BellRig(LoopRig):
    """A loop with rows and a bell."""

    def __init__(self) -> None:
        super().__init__()
        rows = os.memfd_create("rows")
        os.ftruncate(rows, MAX_SHAPERS * RING_ROW_BYTES)
        self.row = memoryview(mmap.mmap(rows, MAX_SHAPERS * RING_ROW_BYTES)).cast("Q")
        self._rows = rows
        self._bell, self._ringer = os.pipe()

    def __enter__(self) -> BellRig:
        super().__enter__()
        assert self.ask(Rings(PLACE), self._rows) is None
        assert self.ask(Bells(PLACE), self._bell) is None
        return self

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        for descriptor in (self._rows, self._bell, self._ringer):
            os.close(descriptor)

    def comes(self, wire: RigWire, data: bytes) -> None:
        """Let a frame come, counted as the program does."""
        self.row[RingWord.ENTERED] += 1
        wire.tap.send(data)

    def backlog(self) -> RigWire:
        """Return a path with a backlog of a flow that has sent much, and a departure far away."""
        wire = self.wire()
        for _ in range(9):
            self.comes(wire, BULK + bytes(1400))
        self.path(SLOT, replace(SLOW, rate_bits=2 * 10**5), wire)
        wire.received(3)
        assert self.configure(SLOW) is None
        wire.received(self.count("sent_packets") - 3)
        assert self.count("backlog_packets") > 0
        return wire

    def ring(self, row: int) -> None:
        """Ring for a row."""
        os.write(self._ringer, struct.pack("=Q", row))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[BellRig]:
    """Run a loop without paths."""
    monkeypatch.setattr(ring_rows, "Bell", StandInBell)
    monkeypatch.setattr(StandInBell, "began", 0)
    with BellRig() as rig:
        yield rig


def test_a_path_that_does_not_watch_its_tap_is_woken(rig: BellRig) -> None:
    """And sends the frame of a sparse flow at once; the bell is set before and after."""
    wire = rig.backlog()
    assert rig.row[RingWord.BELL] == 1
    waiting = rig.count("backlog_packets")
    rig.comes(wire, PING)
    for _ in range(3):
        assert rig.ask(Ping()) is None
    assert rig.row[RingWord.READ] < rig.row[RingWord.ENTERED]
    rig.row[RingWord.BELL] = 0
    rig.ring(SLOT)
    assert wire.received(1) == [PING]
    rig.until(lambda: rig.row[RingWord.BELL] == 1)
    assert rig.count("backlog_packets") == waiting


def test_a_ring_for_no_path_is_passed_over(rig: BellRig) -> None:
    """As for a shaper that is gone since; others are answered."""
    wire = rig.backlog()
    for row in (SLOT + 1, MAX_SHAPERS, 2**64 - 1):
        rig.ring(row)
        assert rig.ask(Ping()) is None
    rig.comes(wire, PING)
    rig.ring(SLOT)
    assert wire.received(1) == [PING]
    assert rig.ask(Close(SLOT)) is None
    rig.ring(SLOT)
    assert rig.ask(Ping()) is None


def test_the_bell_begins_anew_once(rig: BellRig) -> None:
    """With the first path, as the one before has read by then; no path's rings are lost later."""
    assert StandInBell.began == 0
    rig.backlog()
    assert StandInBell.began == 1
    assert rig.ask(Close(SLOT)) is None
    rig.path()
    assert StandInBell.began == 1


def test_without_a_bell_the_loop_goes_on() -> None:
    """A descriptor that cannot be mapped is refused, and nothing is waited for."""
    with LoopRig() as rig:
        null = os.open("/dev/null", os.O_RDONLY)
        assert "denied" in (rig.ask(Bells(PLACE), null) or "")
        os.close(null)
        wire = rig.path()
        wire.tap.send(PING)
        assert wire.received(1) == [PING]
