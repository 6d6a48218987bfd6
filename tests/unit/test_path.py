"""A path moves frames from its source to its sink, and accounts for every one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shaper.channel.board import FIELDS, SLOT_WORDS, Board
from shaper.forwarder.path import Path
from shaper.forwarder.path_states import PathState
from shaper.forwarder.ports import Outcome
from shaper.model import DATAGRAM_FRAMES, Queue
from shaper.testing.memory_ports import MemorySink, MemorySource
from tests.unit.path_rig import ARP, FRAME, MS, SETTINGS, PathRig


@pytest.fixture
def rig() -> PathRig:
    """Return a path at 64 kbit/s."""
    return PathRig()


def test_frames_pass_untouched_and_at_their_time(rig: PathRig) -> None:
    """The first frame leaves at once, the next when it is paid for, byte for byte as read."""
    rig.source.frames.extend([FRAME, FRAME])
    rig.run(0)
    assert rig.sink.frames == [FRAME]
    assert rig.wants.deadline_ns == 100 * MS
    rig.run(99 * MS)
    assert len(rig.sink.frames) == 1
    rig.run(100 * MS)
    assert rig.sink.frames == [FRAME, FRAME]
    assert rig.wants.deadline_ns == 250 * MS  # nothing waits: that is when delays are told
    assert rig.count("sent_bytes") == 1600
    assert rig.count("sent_packets") == 2


def test_an_idle_path_waits_for_its_tap_and_for_nothing_else(rig: PathRig) -> None:
    """Without traffic there is no deadline: an idle shaper costs no wake-ups."""
    rig.run(0)
    assert rig.wants.wants_frames
    assert rig.wants.deadline_ns is None


def test_a_full_path_does_not_read_its_tap(rig: PathRig) -> None:
    """With the discipline full the rest waits in the ring, and readability wakes nobody."""
    rig.source.frames.extend([FRAME] * 100)
    rig.run(0)
    assert not rig.wants.wants_frames
    assert rig.count("backlog_packets") == 9
    assert len(rig.source.frames) == 90


def test_overshoot_is_met_with_loss_as_fast_as_frames_leave() -> None:
    """For every frame sent at most one more is read and dropped, so a flood costs next to nothing.

    And a sender that offers twice the rate meets its losses here: the ring does not grow.
    """
    rig = PathRig(replace(SETTINGS, limit_packets=DATAGRAM_FRAMES))
    rig.source.frames.extend([FRAME] * 200)
    rig.run(0)
    rig.run_to(1000 * MS)
    sent = len(rig.sink.frames)
    assert sent == 11
    assert 0 < rig.count("limit") <= sent


def test_a_short_queue_does_not_let_its_ring_grow(rig: PathRig) -> None:
    """The ring holds a whole datagram: a flood of ten times the rate does not wait there."""
    rig.source.frames.extend([FRAME] * 100)
    rig.run(0)
    rig.run_to(1000 * MS)
    assert len(rig.sink.frames) == 11
    assert not rig.source.frames


@pytest.mark.parametrize(("jiffies", "listens"), [(1, False), (2, False), (4, True)])
def test_a_path_that_is_about_to_wake_does_not_listen(jiffies: int, listens: bool) -> None:
    """Up to two jiffies before a departure the timer alone drives it: one wake-up a frame."""
    rig = PathRig(replace(SETTINGS, rate_bits=8 * 800 * 1000 // jiffies))
    rig.source.frames.extend([FRAME] * 3)
    rig.run(0)
    assert rig.wants.deadline_ns == jiffies * MS
    assert rig.wants.wants_frames is listens


def test_a_sparse_flow_does_not_miss_the_next_departure() -> None:
    """What came since the last run is read before anything leaves, and goes before bulk."""
    rig = PathRig(replace(SETTINGS, rate_bits=8 * 800 * 1000, queue=Queue.FQ_CODEL))
    rig.source.frames.extend([FRAME] * 4)
    rig.run(0)
    rig.run(1 * MS)  # by then the flow in bulk has used its quantum
    sparse = FRAME[:-1] + b"\1"
    sparse = sparse[:36] + b"\1\2\3\4" + sparse[40:]
    rig.source.frames.append(sparse)
    rig.run(2 * MS)
    assert rig.sink.frames == [FRAME, FRAME, sparse]


def test_neighbour_frames_never_leave(rig: PathRig) -> None:
    """ARP is dropped under its own counter and costs no tokens."""
    rig.source.frames.extend([ARP, FRAME])
    rig.run(0)
    assert rig.sink.frames == [FRAME]
    assert rig.count("neighbour") == 1


def test_back_pressure_keeps_the_frame(rig: PathRig) -> None:
    """A full socket loses nothing: the frame goes out once there is room, before its successor."""
    rig.source.frames.append(FRAME)
    rig.sink.outcome = Outcome.BLOCKED
    rig.run(0)
    assert rig.path.state is PathState.BLOCKED
    assert not rig.wants.wants_frames
    assert rig.count("backlog_packets") == 1
    rig.sink.outcome = Outcome.SENT
    rig.path.unblock()
    rig.run(5 * MS)
    assert rig.sink.frames == [FRAME]
    assert rig.count("backlog_packets") == 0


@pytest.mark.parametrize(
    "outcome",
    [Outcome.NOBUFS, Outcome.OVERSIZE, Outcome.GONE, Outcome.PROTOCOL, Outcome.ERROR],
)
def test_every_refusal_has_its_own_counter(rig: PathRig, outcome: Outcome) -> None:
    """A frame the master refuses is counted once, under its reason, and not as sent."""
    rig.source.frames.append(FRAME)
    rig.sink.outcome = outcome
    rig.run(0)
    assert rig.count(outcome.value) == 1
    assert rig.count("sent_packets") == 0
    assert rig.count("busy_bytes") == 0


def test_a_refused_frame_does_not_hold_up_its_successors(rig: PathRig) -> None:
    """Of a batch in which the master refuses one frame, the others leave, in order."""
    frames = [FRAME[:60] + bytes([number]) for number in range(3)]
    rig.path.configure(replace(SETTINGS, rate_bits=10**9), 0)
    rig.source.frames.extend(frames)
    rig.sink.refuse = {1: Outcome.OVERSIZE}
    rig.run(0)
    rig.run_to(1000 * MS)
    assert rig.sink.frames == [frames[0], frames[2]]
    assert rig.count("oversize") == 1
    assert rig.count("sent_packets") == 2


def test_what_waits_outlives_the_master(rig: PathRig) -> None:
    """When the master goes only the frame in flight is lost; the rest leaves through the next."""
    rig.source.frames.extend([FRAME] * 3)
    rig.sink.outcome = Outcome.GONE
    rig.run(0)
    assert rig.count("master") == 1
    successor = MemorySink()
    rig.path.bind(successor)
    assert rig.sink.is_closed
    rig.run(1000 * MS)
    rig.run_to(2000 * MS)
    assert successor.frames == [FRAME, FRAME]


def test_master_that_was_away_too_briefly_to_be_seen_is_tried_again(rig: PathRig) -> None:
    """Without a word from the supervisor, a frame goes out ten times a second until one passes."""
    rig.source.frames.extend([FRAME] * 5)
    rig.sink.outcome = Outcome.GONE
    rig.run(0)
    rig.run_to(150 * MS)
    assert rig.count("master") == 2
    rig.sink.outcome = Outcome.SENT
    rig.run_to(1000 * MS)
    assert rig.sink.frames == [FRAME] * 3


def test_without_a_speed_nothing_moves() -> None:
    """Before a speed is set the TAP is not read and nothing is sent."""
    rig = PathRig()
    rig.path.configure(None, 0)
    rig.source.frames.append(FRAME)
    rig.run(0)
    assert rig.sink.frames == []
    assert len(rig.source.frames) == 1


@pytest.mark.parametrize(("first", "second"), [("fifo", "classic"), ("classic", "fifo")])
def test_another_queue_takes_over_what_waits(first: str, second: str) -> None:
    """Frames change queues in order, none is lost, and counting goes on."""
    rig = PathRig(replace(SETTINGS, queue=Queue(first)))
    frames = [FRAME[:-1] + bytes([number]) for number in range(5)]
    rig.source.frames.extend(frames)
    rig.run(0)
    overlimits = rig.count("overlimits")
    rig.path.configure(replace(SETTINGS, queue=Queue(second)), 10 * MS)
    rig.run(10 * MS)
    rig.run_to(2000 * MS)
    assert rig.sink.frames == frames
    assert rig.count("overlimits") >= overlimits


@pytest.mark.parametrize(("first", "second"), [("fifo", "classic"), ("classic", "fifo")])
def test_another_queue_grants_no_burst(first: str, second: str) -> None:
    """The frame that was to leave at 100 ms leaves no earlier because the queue was changed.

    The classic queue may send 20 ms early, as the driver did.
    """
    rig = PathRig(replace(SETTINGS, queue=Queue(first)))
    rig.source.frames.extend([FRAME] * 3)
    rig.run(0)
    rig.path.configure(replace(SETTINGS, queue=Queue(second)), 10 * MS)
    rig.run(10 * MS)
    rig.run(75 * MS)
    assert len(rig.sink.frames) == 1


def test_flush_is_counted(rig: PathRig) -> None:
    """What waits when the device is taken down is counted as `flush`."""
    rig.source.frames.extend([FRAME] * 3)
    rig.run(0)
    rig.path.flush()
    rig.run(1 * MS)
    assert rig.count("flush") == 2
    assert rig.count("backlog_bytes") == 0


def test_a_successor_counts_on(rig: PathRig) -> None:
    """A new forwarder with the same row continues the counts of the one that died."""
    rig.source.frames.append(FRAME)
    rig.run(0)
    successor = Path(MemorySource(), rig.board.row(0), b"")
    sink = MemorySink()
    successor.bind(sink)
    successor.configure(SETTINGS, 0)
    successor.source.frames.append(FRAME)  # type: ignore[attr-defined]
    successor.run(0)
    assert rig.count("sent_packets") == 2


def test_a_deleted_tap_is_not_waited_for(rig: PathRig) -> None:
    """A TAP that is gone would be readable for ever: nobody listens to it any more."""
    rig.source.is_gone = True
    rig.run(0)
    assert not rig.wants.wants_frames


def test_every_field_has_room_on_the_board() -> None:
    """A slot holds all fields, and its neighbour's are not touched."""
    assert len(FIELDS) <= SLOT_WORDS
    board = Board.create(2)
    board.row(1)[0] = 7
    assert board.read(0)["sent_bytes"] == 0
    board.clear(1)
    assert board.read(1)["sent_bytes"] == 0


def test_what_others_have_written_on_the_board_ends_no_path() -> None:
    """Another forwarder can write any number there, at any time; a path takes it for none."""
    rig = PathRig()
    rig.board.row(0)[:] = memoryview(b"\xff" * 8 * SLOT_WORDS).cast("Q")
    rig.path = Path(rig.source, rig.board.row(0), b"")
    assert all(count == 0 for count in rig.board.row(0))
    rig.path.bind(rig.sink)
    rig.board.row(0)[:] = memoryview(b"\xff" * 8 * SLOT_WORDS).cast("Q")
    rig.path.configure(SETTINGS, 0)
    rig.source.frames.extend([FRAME, FRAME, ARP])
    rig.run(0)
    rig.run(100 * MS)
    assert (rig.count("sent_packets"), rig.count("sent_bytes")) == (2, 1600)
    assert (rig.count("crash"), rig.count("neighbour")) == (0, 1)
