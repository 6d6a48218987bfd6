"""Frames of sparse flows wait for none; what has more to send leaves a jiffy's worth at a time.

At 10 Mbit/s a full frame takes 1211.2 us.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from shaper.discipline.codel import Law, setpoints
from shaper.discipline.flow_table import FlowQueue
from shaper.discipline.fq_codel import FqCodel
from shaper.discipline.gate import Gate
from shaper.discipline.sparse_flows import SparseFlows
from shaper.kernel.ring_bell import SPARSE_BYTES
from shaper.model import Queue, Settings
from shaper.packet.frame import Frame
from shaper.trace import Playback, Trace
from tests.unit.simulation.stamped_frames import make_frame, read_frame

FULL, SMALL = 1514, 98
BULK, PING, OTHER = 1, 2, 3
FRAME_US = 1212
SETTINGS = Settings(
    rate_bits=10_000_000,
    unit_bytes=FULL,
    burst_bytes=26_514,
    queue=Queue.FQ_CODEL,
    limit_packets=1000,
    ticks_per_second=1_000_000,
    jiffy_ns=2_000_000,
    reserve_bytes=FULL,
)


def make(settings: Settings = SETTINGS, *, bulk_frames: int = 40) -> Gate:
    """Return a gate with a backlog of one flow, of which the first frame has left."""
    gate = Gate(FqCodel(settings, now=0, key=b"key"), settings, now=0)
    gate.enqueue_batch([frame(BULK, number) for number in range(bulk_frames)], now=0)
    assert flows(gate, 0) == [BULK]
    return gate


def frame(flow: int, name: int = 0, wire_bytes: int = FULL) -> Frame:
    """Return a frame of a flow."""
    return make_frame(flow, name, now=0, wire_bytes=wire_bytes)


def flows(gate: Gate, now: int) -> list[int]:
    """Return the flows of the frames that leave."""
    return [read_frame(each)[0] for each in gate.dequeue_batch(now=now, limit=64)]


def test_a_sparse_frame_leaves_while_the_bucket_is_closed() -> None:
    """And at once, whatever has just left; what it owes delays the others."""
    gate = make()
    gate.enqueue_batch([frame(PING, wire_bytes=SMALL)], now=1)
    assert (gate.deadline() or 0) <= 1
    assert flows(gate, 1) == [PING]
    assert gate.deadline() == (FULL + SMALL) * 8 // 10 + 1
    assert flows(gate, FRAME_US) == []
    assert flows(gate, FRAME_US + 80) == [BULK]


def test_sparse_frames_owe_a_full_frame_beyond_the_largest_at_most() -> None:
    """Fifteen of 98 bytes; the next waits until it is within that."""
    gate = make()
    gate.enqueue_batch([frame(each, wire_bytes=SMALL) for each in range(10, 30)], now=1)
    assert flows(gate, 1) == list(range(10, 25))
    owed_bytes = FULL + 15 * SMALL
    assert gate.deadline() == -(-(owed_bytes + SMALL - 2 * FULL) * 8 // 10)
    assert flows(gate, gate.deadline() or 0) == [25]


def test_a_sparse_frame_does_not_wait_behind_a_new_flow_with_more() -> None:
    """Whose full frame is not paid for."""
    gate = make()
    gate.enqueue_batch([frame(OTHER), frame(PING, wire_bytes=SMALL)], now=1)
    assert flows(gate, 1) == [PING]
    assert flows(gate, 2 * FRAME_US) == [OTHER]


@pytest.mark.parametrize("waiting", [[FULL], [SMALL] * 16], ids=["a full frame", "as many bytes"])
def test_a_flow_with_a_full_frame_is_not_sparse(waiting: list[int]) -> None:
    """In one or in several frames."""
    gate = make()
    gate.enqueue_batch([frame(OTHER, wire_bytes=each) for each in waiting], now=1)
    assert flows(gate, 1) == []


def test_a_flow_of_which_codel_might_drop_is_not_sparse() -> None:
    """What is announced must leave: with a small MTU a full frame is less."""
    settings = replace(SETTINGS, unit_bytes=1294)
    queue = FqCodel(settings, now=0, key=b"key")
    queue.enqueue_batch([frame(BULK, wire_bytes=1294)] * 2, now=0)
    queue.take(0, now=0, limit=1)
    queue.enqueue_batch([frame(PING, wire_bytes=each) for each in (60, 100)], now=0)
    assert queue.sparse_bytes() == 60
    queue.enqueue_batch([frame(PING, wire_bytes=1294)], now=0)
    assert queue.sparse_bytes() == 0


def test_what_was_sparse_is_forgotten() -> None:
    """Also where nothing asks for it: a note lasts as long as its frame."""
    sparse = SparseFlows([])
    flow = FlowQueue(Law(setpoints(SETTINGS), lambda frame: None, lambda frame: None), 1)
    flow.is_new, flow.deficit = True, FULL
    for _ in range(100):
        sparse.note(flow)  # it is empty, as the frame before has left
    assert len(sparse) == 1


def test_a_patient_gate_follows_a_trace_all_the_same() -> None:
    """Where its rate is low a jiffy's worth of its mean would take long."""
    trace = Trace((0, 1_000_000), (1_000_000, 199_000_000), 2_000_000)
    gate = make(replace(SETTINGS, rate_bits=trace.mean_bits, playback=Playback(trace, 0)))
    gate.is_patient = True
    assert gate.deadline() == FULL * 8


def test_a_flow_that_has_used_up_its_quantum_is_not_sparse() -> None:
    """It waits its turn, however small its frames."""
    gate = make()
    left = 0
    for _ in range(40):
        gate.enqueue_batch([frame(PING, wire_bytes=SMALL)], now=1 + left)
        left += len(flows(gate, 1 + left))
    assert left == 15


def test_a_flow_that_begins_alone_is_not_sparse() -> None:
    """Its frames wait until those before them are paid for, however small they are."""
    gate = Gate(FqCodel(SETTINGS, now=0, key=b"key"), SETTINGS, now=0)
    gate.enqueue_batch([frame(PING, number, SMALL) for number in range(5)], now=0)
    for number in range(5):
        assert gate.deadline() == -(-number * SMALL * 8 // 10)
        assert flows(gate, gate.deadline() or 0) == [PING]


def test_nothing_is_kept_for_sparse_flows_unless_settings_say_so() -> None:
    """As where a frame is charged for more than its bytes, or the surplus is a full frame."""
    gate = make(replace(SETTINGS, reserve_bytes=0))
    gate.enqueue_batch([frame(PING, wire_bytes=SMALL)], now=1)
    assert flows(gate, 1) == []
    assert flows(gate, FRAME_US) == [PING]


def test_the_reserve_is_taken_from_the_surplus() -> None:
    """So that B holds: what was saved and what may be owed is no more than before."""
    gate = make(bulk_frames=100)
    surplus_frames = len(flows(gate, 10**9)) - 1
    assert surplus_frames == (26_514 - 2 * FULL) // FULL


@pytest.mark.parametrize(
    ("unit_bytes", "jiffy_us", "together"),
    [(FULL, 500, 1), (FULL, 2000, 2), (FULL, 5000, 4), (FULL, 9000, 7)],
)
def test_a_patient_gate_lets_a_jiffys_worth_leave_together(
    unit_bytes: int, jiffy_us: int, together: int
) -> None:
    """In whole frames, and at the rate all the same."""
    settings = replace(SETTINGS, unit_bytes=unit_bytes, jiffy_ns=jiffy_us * 1000)
    gate = make(settings)
    gate.is_patient = True
    left = [len(flows(gate, gate.deadline() or 0)) for _ in range(4)]
    assert left == [together] * 4
    assert gate.opens_at() == -(-(1 + 4 * together) * FULL * 8 // 10)


def test_a_patient_gate_waits_for_no_more_than_there_is() -> None:
    """The last frame leaves as soon as it may."""
    gate = make(bulk_frames=2)
    gate.is_patient = True
    assert gate.deadline() == FRAME_US
    gate.enqueue_batch([frame(PING, wire_bytes=SMALL)], now=1)
    assert (gate.deadline() or 0) <= 1


def test_a_frame_of_no_bytes_leaves_a_patient_gate() -> None:
    """A header alone is nothing on the wire of a master that has no such header."""
    gate = make(bulk_frames=1)
    gate.enqueue_batch([frame(BULK)._replace(wire_bytes=0)], now=1)
    gate.is_patient = True
    assert gate.deadline() == FRAME_US
    assert flows(gate, FRAME_US) == [BULK]


def test_a_small_bucket_lets_less_leave_together() -> None:
    """Half of the surplus at most, so that a late wake-up does not lose the other."""
    settings = replace(SETTINGS, burst_bytes=3 * FULL, jiffy_ns=10_000_000, reserve_bytes=0)
    gate = make(settings)
    gate.is_patient = True
    assert [len(flows(gate, gate.deadline() or 0)) for _ in range(3)] == [2, 2, 2]


@pytest.mark.parametrize("crowd_percent", [30, 90])
def test_a_crowd_of_small_flows_takes_no_more_than_its_bytes(crowd_percent: int) -> None:
    """Flows of one frame each, for a second: bulk has the rest of the rate, less what is owed."""
    gate = make()
    pace = SMALL * 8 * 100 // (10 * crowd_percent)
    left_bytes = {True: 0, False: 0}
    for now in range(250, 1_000_000, 250):
        begun = range((now - 250) // pace, now // pace)
        come = [frame(10 + number, wire_bytes=SMALL) for number in begun]
        gate.enqueue_batch([*come, frame(BULK)] if gate.room > 900 else come, now=now)
        for each in gate.dequeue_batch(now=now, limit=64):
            left_bytes[read_frame(each)[0] == BULK] += each.wire_bytes
    due_bytes = 1_250_000 * (100 - crowd_percent) // 100
    assert due_bytes - 3 * FULL < left_bytes[True] < due_bytes + 3 * FULL
    assert left_bytes[False] > 1_250_000 * crowd_percent // 100 - 3 * FULL


def test_what_rings_is_what_the_queue_takes_for_sparse() -> None:
    """Less than a full frame, for the program on the TAP and for the queue."""
    assert setpoints(SETTINGS).full_frame_bytes == SPARSE_BYTES
