"""The meter of a ring: what waits, and when flows are to be capped."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from shaper.forwarder.edges import TapSource
from shaper.forwarder.ports import Outcome
from shaper.forwarder.ring_meter import RingMeter
from shaper.forwarder.slots import Slots
from shaper.model import RING_ROW_BYTES, Queue, RingWord
from tests.unit.path_rig import ETHERNET, FRAME, MS, SETTINGS, VNET, PathRig

FAST = replace(SETTINGS, rate_bits=10**9, queue=Queue.FQ_CODEL, limit_packets=10_000)
LEASE_NS = 100 * MS
STANDING_NS = 100 * MS


class MeterRig:
    """A meter and its row."""

    def __init__(self) -> None:
        self.row = memoryview(bytearray(RING_ROW_BYTES)).cast("Q")
        self.meter = RingMeter(self.row)
        self.meter.configure(FAST)

    @property
    def until_ns(self) -> int:
        """Until when flows are capped."""
        return self.row[RingWord.UNTIL_NS]

    def waits(self, frames: int) -> None:
        """Let so many frames wait."""
        self.row[RingWord.ENTERED] = self.row[RingWord.READ] + frames

    def look(self, *times_ns: int) -> None:
        """Look at these times."""
        for now_ns in times_ns:
            self.meter.look(now_ns)


@pytest.fixture
def rig() -> MeterRig:
    """Return a meter of a ring that is empty."""
    return MeterRig()


@pytest.mark.parametrize(
    ("rate_bits", "frames"),
    [(64_000, 64), (32 * 10**6, 64), (50 * 10**6, 100), (10**9, 200), (10**15, 200)],
)
def test_fewer_may_wait_where_fewer_are_read(rig: MeterRig, rate_bits: int, frames: int) -> None:
    """But never fewer than the fragments of a datagram, nor more than are read in a moment."""
    rig.meter.configure(replace(FAST, rate_bits=rate_bits))
    assert rig.row[RingWord.THRESHOLD] == frames


def test_what_is_read_is_counted_and_an_empty_ring_is_known(rig: MeterRig) -> None:
    """Frames that the full ring dropped were counted as waiting, until it was empty."""
    rig.waits(500)
    assert rig.meter.waiting() == 500
    rig.meter.took(64, is_empty=False)
    assert rig.row[RingWord.READ] == 64
    rig.meter.took(3, is_empty=True)
    assert rig.meter.waiting() == 500 - 67
    rig.meter.took(0, is_empty=True)
    assert rig.row[RingWord.READ] == 500


def test_a_successor_counts_on(rig: MeterRig) -> None:
    """From what its row says."""
    rig.row[RingWord.READ] = 1000
    RingMeter(rig.row).took(64, is_empty=False)
    assert rig.row[RingWord.READ] == 1064


def test_a_successor_believes_no_lie(rig: MeterRig) -> None:
    """Of one that was taken over: a lease has ended, and counts that cannot be begin anew."""
    rig.row[:] = memoryview(b"\xff" * RING_ROW_BYTES).cast("Q")
    RingMeter(rig.row).took(64, is_empty=False)
    assert rig.until_ns == 0
    assert (rig.row[RingWord.ENTERED], rig.row[RingWord.READ]) == (0, 64)


def test_a_ring_that_stands_is_capped(rig: MeterRig) -> None:
    """When more than half of what may wait did at every look for a tenth of a second."""
    rig.waits(101)
    rig.look(0, 50 * MS, STANDING_NS - 1)
    assert rig.until_ns == 0
    rig.look(STANDING_NS)
    assert rig.until_ns == STANDING_NS + LEASE_NS


def test_a_burst_after_a_pause_is_none(rig: MeterRig) -> None:
    """However long nothing looked, a ring stands only from the first look that finds it so."""
    rig.look(0)
    rig.waits(5000)
    rig.look(10_000 * MS, 10_050 * MS)
    rig.waits(100)
    rig.look(10_060 * MS)
    rig.waits(5000)
    rig.look(10_070 * MS, 10_170 * MS - 1)
    assert rig.until_ns == 0


def test_the_lease_is_renewed_while_any_look_finds_many(rig: MeterRig) -> None:
    """A ring that is held at its cap is short now and then."""
    rig.waits(101)
    rig.look(0, STANDING_NS)
    rig.waits(0)
    rig.look(150 * MS)
    rig.waits(101)
    rig.look(190 * MS)
    assert rig.until_ns == 190 * MS + LEASE_NS


def test_the_lease_lapses_when_there_are_few(rig: MeterRig) -> None:
    """A tenth of a second later, and then many have to wait anew for as long."""
    rig.waits(101)
    rig.look(0, STANDING_NS)
    rig.waits(100)
    rig.look(150 * MS, 199 * MS)
    assert rig.until_ns == STANDING_NS + LEASE_NS
    rig.waits(101)
    rig.look(200 * MS, 299 * MS)
    assert rig.until_ns == STANDING_NS + LEASE_NS


def test_a_path_meters_what_it_reads_for_a_fair_queue_alone() -> None:
    """One that treats all frames alike would gain nothing."""
    row = memoryview(bytearray(RING_ROW_BYTES)).cast("Q")
    rig = PathRig(FAST, row)
    assert rig.source.meter is not None
    assert row[RingWord.THRESHOLD] == 200
    row[RingWord.ENTERED] = 1000
    rig.run(0)
    rig.run(STANDING_NS)
    assert row[RingWord.UNTIL_NS] == STANDING_NS + LEASE_NS
    for queue in (Queue.FIFO, Queue.CLASSIC):
        rig.path.configure(replace(FAST, queue=queue), 0)
        assert rig.source.meter is None
    rig.path.configure(FAST, 0)
    assert rig.source.meter is not None
    rig.path.configure(None, 0)
    assert rig.source.meter is None


def test_every_way_to_read_is_counted(rig: MeterRig) -> None:
    """What was taken in ahead of its turn once; and an end of the ring is seen, where it is."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        theirs.setblocking(False)
        source = TapSource(theirs.detach(), Slots())
        source.meter = rig.meter
        rig.row[RingWord.ENTERED] = 100
        for _ in range(10):
            ours.send(VNET + FRAME)
        assert source.read_one()
        rig.meter.look(0)
        rig.meter.look(0)
        assert rig.row[RingWord.READ] == 1
        assert len(source.read(2)) == 2
        assert source.fill(3).count == 3
        assert rig.row[RingWord.READ] == 6
        source.absorb()
        assert rig.row[RingWord.READ] == 100
        rig.row[RingWord.ENTERED] = 200
        assert len(source.read(3)) == 3
        assert source.read_one()
        assert rig.row[RingWord.READ] == 100
        assert source.fill(1).count == 0
        assert rig.row[RingWord.READ] == 200
        source.close()


def test_what_entered_after_the_count_is_not_taken_for_read(rig: MeterRig) -> None:
    """Nor the last that were counted, though the ring is empty: they may be on their way."""
    rig.waits(3)
    assert rig.meter.waiting() == 3
    rig.row[RingWord.ENTERED] += 2
    rig.meter.took(2, is_empty=True)
    assert rig.meter.waiting() == 3
    rig.meter.took(2, is_empty=True)
    assert rig.meter.waiting() == 1


def test_what_was_counted_is_read_and_no_read_fails(rig: MeterRig) -> None:
    """One frame more than was counted is left behind, but not for long, nor where all is asked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours:
        theirs.setblocking(False)
        source = TapSource(theirs.detach(), Slots())
        source.meter = rig.meter

        def enter(frames: int) -> None:
            rig.row[RingWord.ENTERED] += frames
            for _ in range(frames):
                ours.send(VNET + FRAME)

        ours.send(VNET + FRAME)
        lengths = []
        for _ in range(17):
            enter(2)
            lengths.append(len(source.read(64)))
        assert lengths == [2] * 15 + [3, 2]
        ours.send(VNET + FRAME)
        enter(1)
        assert len(source.read(64, until_empty=True)) == 2
        source.close()


def test_what_the_full_ring_dropped_is_not_waited_for(rig: MeterRig) -> None:
    """It was counted as waiting until a read fails, and no more then."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours:
        theirs.setblocking(False)
        source = TapSource(theirs.detach(), Slots())
        source.meter = rig.meter
        rig.row[RingWord.ENTERED] = 10
        for _ in range(3):
            ours.send(VNET + FRAME)
        assert [len(source.read(limit)) for limit in (2, 64, 64)] == [2, 1, 0]
        assert rig.row[RingWord.READ] == 10
        source.close()


def test_a_path_without_rows_goes_without() -> None:
    """As on a kernel that has no such programs."""
    rig = PathRig(FAST)
    assert rig.source.meter is None
    rig.source.frames.append(VNET + ETHERNET + FRAME)
    rig.run(0)
    assert rig.count("sent_packets") == 1


def test_a_bell_is_not_waited_for_where_no_program_rings_it(rig: MeterRig) -> None:
    """It was refused, say: more is read then than has entered. Once it is there, it counts."""
    meter = RingMeter(rig.row, has_bell=True)
    meter.took(3, is_empty=True)
    meter.took(0, is_empty=True)
    assert not meter.set_bell(0)
    meter.alone = 1
    meter.look(0)
    meter.took(0, is_empty=True)
    assert not meter.set_bell(0)
    rig.waits(2)
    meter.took(2, is_empty=True)
    assert meter.set_bell(0)
    meter.took(0, is_empty=True)
    assert meter.set_bell(0)


def test_a_path_whose_master_is_gone_is_not_rung_for() -> None:
    """It is tried again after a while; a frame that comes before that cannot leave."""
    row = memoryview(bytearray(RING_ROW_BYTES)).cast("Q")
    rig = PathRig(replace(FAST, rate_bits=10**7, jiffy_ns=2 * MS), row, has_bell=True)
    rig.run(0)
    rig.source.frames.extend([VNET + ETHERNET + bytes(1500)] * 10)
    rig.run(MS)  # the first is alone, and passes
    rig.run(MS)
    assert row[RingWord.BELL] == 1
    rig.sink.outcome = Outcome.GONE
    rig.run(5 * MS)
    assert row[RingWord.BELL] == 0


def test_a_path_waits_for_its_bell_while_frames_wait() -> None:
    """Idle, full or without a master it watches its TAP, or nothing, and is not rung for."""
    row = memoryview(bytearray(RING_ROW_BYTES)).cast("Q")
    rig = PathRig(replace(FAST, rate_bits=10**7, jiffy_ns=2 * MS), row, has_bell=True)
    rig.run(0)
    assert row[RingWord.BELL] == 0
    rig.source.frames.extend([VNET + ETHERNET + bytes(1500)] * 10)
    rig.run(MS)  # the first is alone, and passes
    rig.run(MS)
    assert (rig.wants.wants_frames, row[RingWord.BELL]) == (False, 1)
    rig.path.rang(MS, MS)
    rig.path.bind(None)
    rig.run(2 * MS)
    assert row[RingWord.BELL] == 0
    rig.path.bind(rig.sink)
    rig.run(3 * MS)
    rig.run_to(1000 * MS)
    assert (rig.count("sent_packets"), row[RingWord.BELL]) == (10, 0)
