"""A path moves frames from its source to its sink, and accounts for every one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shaper.forwarder.board import FIELDS, SLOT_WORDS, Board
from shaper.forwarder.path import Path
from shaper.forwarder.ports import MemorySink, MemorySource, Outcome
from shaper.model import Queue, Settings

MS = 1_000_000
VNET = bytes(10)
ETHERNET = bytes(12) + b"\x08\x00"
FRAME = VNET + ETHERNET + bytes(786)  # 800 bytes on the wire: 100 ms at 64 kbit/s
ARP = VNET + bytes(12) + b"\x08\x06" + bytes(28)
SETTINGS = Settings(
    rate_bits=64_000,
    unit_bytes=1514,
    burst_bytes=1514,
    queue=Queue.FIFO,
    limit_packets=10,
    hz=1000,
)


class Rig:
    """A path with fakes at both ends and its counters at hand."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.board = Board.create(1)
        self.source = MemorySource()
        self.sink = MemorySink()
        self.path = Path(self.source, self.board.row(0))
        self.path.bind(self.sink)
        self.path.configure(settings, 0)

    def run(self, now_ns: int) -> None:
        """Run once at this time."""
        self.path.run(now_ns)

    def run_to(self, end_ns: int) -> None:
        """Run at every deadline up to a time."""
        while self.path.deadline_ns is not None and self.path.deadline_ns <= end_ns:
            self.run(self.path.deadline_ns)

    def count(self, field: str) -> int:
        """Return a counter from the board."""
        return self.board.read(0)[field]


@pytest.fixture
def rig() -> Rig:
    """Return a path at 64 kbit/s."""
    return Rig()


def test_frames_pass_untouched_and_at_their_time(rig: Rig) -> None:
    """The first frame leaves at once, the next when it is paid for, byte for byte as read."""
    rig.source.frames.extend([FRAME, FRAME])
    rig.run(0)
    assert rig.sink.frames == [FRAME]
    assert rig.path.deadline_ns == 100 * MS
    rig.run(99 * MS)
    assert len(rig.sink.frames) == 1
    rig.run(100 * MS)
    assert rig.sink.frames == [FRAME, FRAME]
    assert rig.path.deadline_ns is None
    assert rig.count("sent_bytes") == 1600
    assert rig.count("sent_packets") == 2


def test_an_idle_path_waits_for_its_tap_and_for_nothing_else(rig: Rig) -> None:
    """Without traffic there is no deadline: an idle shaper costs no wake-ups."""
    rig.run(0)
    assert rig.path.wants_frames
    assert rig.path.deadline_ns is None


def test_a_full_path_does_not_read_its_tap(rig: Rig) -> None:
    """With the discipline full the rest waits in the ring, and readability wakes nobody."""
    rig.source.frames.extend([FRAME] * 100)
    rig.run(0)
    assert not rig.path.wants_frames
    assert rig.count("backlog_packets") == 9
    assert len(rig.source.frames) == 90


def test_overshoot_is_met_with_loss_as_fast_as_frames_leave(rig: Rig) -> None:
    """For every frame sent at most one more is read and dropped, so a flood costs next to nothing.

    And a sender that offers twice the rate meets its losses here: the ring does not grow.
    """
    rig.source.frames.extend([FRAME] * 100)
    rig.run(0)
    rig.run_to(1000 * MS)
    sent = len(rig.sink.frames)
    assert sent == 11
    assert 0 < rig.count("limit") <= sent


def test_a_path_that_is_about_to_wake_does_not_listen() -> None:
    """With the next departure a jiffy away the timer alone drives it: at most HZ wake-ups."""
    rig = Rig(replace(SETTINGS, rate_bits=8 * 800 * 1000))  # a frame a jiffy
    rig.source.frames.extend([FRAME] * 3)
    rig.run(0)
    assert rig.path.deadline_ns == 1 * MS
    assert not rig.path.wants_frames


def test_neighbour_frames_never_leave(rig: Rig) -> None:
    """ARP is dropped under its own counter and costs no tokens."""
    rig.source.frames.extend([ARP, FRAME])
    rig.run(0)
    assert rig.sink.frames == [FRAME]
    assert rig.count("neighbour") == 1


def test_back_pressure_keeps_the_frame(rig: Rig) -> None:
    """A full socket loses nothing: the frame goes out once there is room, before its successor."""
    rig.source.frames.append(FRAME)
    rig.sink.outcome = Outcome.BLOCKED
    rig.run(0)
    assert rig.path.is_blocked
    assert not rig.path.wants_frames
    assert rig.count("backlog_packets") == 1
    rig.sink.outcome = Outcome.SENT
    rig.path.is_blocked = False
    rig.run(5 * MS)
    assert rig.sink.frames == [FRAME]
    assert rig.count("backlog_packets") == 0


@pytest.mark.parametrize(
    "outcome",
    [Outcome.NOBUFS, Outcome.OVERSIZE, Outcome.GONE, Outcome.PROTOCOL, Outcome.ERROR],
)
def test_every_refusal_has_its_own_counter(rig: Rig, outcome: Outcome) -> None:
    """A frame the master refuses is counted once, under its reason, and not as sent."""
    rig.source.frames.append(FRAME)
    rig.sink.outcome = outcome
    rig.run(0)
    assert rig.count(outcome.value) == 1
    assert rig.count("sent_packets") == 0
    assert rig.count("busy_bytes") == 0


def test_a_refused_frame_does_not_hold_up_its_successors(rig: Rig) -> None:
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


def test_what_waits_outlives_the_master(rig: Rig) -> None:
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


def test_master_that_was_away_too_briefly_to_be_seen_is_tried_again(rig: Rig) -> None:
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
    rig = Rig()
    rig.path.configure(None, 0)
    rig.source.frames.append(FRAME)
    rig.run(0)
    assert rig.sink.frames == []
    assert len(rig.source.frames) == 1


@pytest.mark.parametrize(("first", "second"), [("fifo", "classic"), ("classic", "fifo")])
def test_another_queue_takes_over_what_waits(first: str, second: str) -> None:
    """Frames change queues in order, none is lost, and counting goes on."""
    rig = Rig(replace(SETTINGS, queue=Queue(first)))
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
    rig = Rig(replace(SETTINGS, queue=Queue(first)))
    rig.source.frames.extend([FRAME] * 3)
    rig.run(0)
    rig.path.configure(replace(SETTINGS, queue=Queue(second)), 10 * MS)
    rig.run(10 * MS)
    rig.run(75 * MS)
    assert len(rig.sink.frames) == 1


def test_flush_is_counted(rig: Rig) -> None:
    """What waits when the device is taken down is counted as `flush`."""
    rig.source.frames.extend([FRAME] * 3)
    rig.run(0)
    rig.path.flush()
    rig.run(1 * MS)
    assert rig.count("flush") == 2
    assert rig.count("backlog_bytes") == 0


def test_a_successor_counts_on(rig: Rig) -> None:
    """A new forwarder with the same row continues the counts of the one that died."""
    rig.source.frames.append(FRAME)
    rig.run(0)
    successor = Path(MemorySource(), rig.board.row(0))
    sink = MemorySink()
    successor.bind(sink)
    successor.configure(SETTINGS, 0)
    successor.source.frames.append(FRAME)  # type: ignore[attr-defined]
    successor.run(0)
    assert rig.count("sent_packets") == 2


def test_a_deleted_tap_is_not_waited_for(rig: Rig) -> None:
    """A TAP that is gone would be readable for ever: nobody listens to it any more."""
    rig.source.is_gone = True
    rig.run(0)
    assert not rig.path.wants_frames


FAST = replace(SETTINGS, rate_bits=10**9, burst_bytes=10**5, limit_packets=1000, idle_bytes=10**5)
US = 1_000


@pytest.mark.parametrize("queue", [Queue.FIFO, Queue.FQ_CODEL])
def test_what_may_leave_at_once_is_passed_on_in_order(queue: Queue) -> None:
    """A frame alone, then a batch, then more than a batch: none waits, and all are counted."""
    rig = Rig(replace(FAST, queue=queue))
    rig.run(0)
    frames = [FRAME[:-1] + bytes([number]) for number in range(100)]
    for now_ns, arriving in ((1 * MS, frames[:1]), (2 * MS, frames[1:30]), (3 * MS, frames[30:])):
        rig.source.frames.extend(arriving)
        for round_number in range(4):
            rig.run(now_ns + round_number * US)
    assert rig.sink.frames == frames
    assert rig.count("sent_packets") == 100
    assert rig.count("busy_bytes") == rig.count("sent_bytes") == 100 * 800
    assert rig.count("overlimits") == rig.count("flows") == 0
    assert rig.path.wants_frames


def test_a_batch_that_the_rate_does_not_allow_is_queued() -> None:
    """Of ten frames the first passes alone; the others leave one by one, as they are paid for."""
    rig = Rig()
    rig.run(0)
    rig.source.frames.extend([FRAME] * 10)
    for round_number in range(3):
        rig.run(1 * MS + round_number * US)
    assert rig.sink.frames == [FRAME]
    assert rig.count("backlog_packets") == 9
    rig.run_to(1000 * MS)
    assert rig.sink.frames == [FRAME] * 10
    assert rig.path.wants_frames


def test_neighbour_frames_do_not_pass_in_a_batch_either() -> None:
    """ARP among other frames, and alone, is dropped under its own counter."""
    rig = Rig(FAST)
    rig.run(0)
    rig.source.frames.extend([ARP])
    rig.run(1 * MS)
    rig.source.frames.extend([FRAME, FRAME, ARP, FRAME])
    for round_number in range(3):
        rig.run(2 * MS + round_number * US)
    assert rig.sink.frames == [FRAME] * 3
    assert rig.count("neighbour") == 2


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("outcome", [Outcome.OVERSIZE, Outcome.NOBUFS])
def test_a_frame_refused_on_the_short_way_is_counted(position: int, outcome: Outcome) -> None:
    """Alone or in the middle of a batch: one is lost, under its reason, and the others leave."""
    rig = Rig(FAST)
    rig.run(0)
    frames = [FRAME[:-1] + bytes([number]) for number in range(5)]
    rig.sink.refuse = {position: outcome}
    rig.source.frames.extend(frames)
    for round_number in range(4):
        rig.run(1 * MS + round_number * US)
    assert rig.sink.frames == [each for each in frames if each is not frames[position]]
    assert rig.count(outcome.value) == 1
    assert rig.count("sent_packets") == 4
    assert rig.count("busy_bytes") == 4 * 800


def test_back_pressure_on_the_short_way_keeps_all_frames() -> None:
    """A socket that is full in the middle of a batch: the rest waits, and leaves in order."""
    rig = Rig(FAST)
    rig.run(0)
    frames = [FRAME[:-1] + bytes([number]) for number in range(6)]
    rig.source.frames.extend(frames)
    rig.run(1 * MS)
    rig.sink.refuse = {3: Outcome.BLOCKED}
    rig.run(1 * MS + US)
    assert rig.path.is_blocked
    assert rig.count("backlog_packets") == 3
    rig.path.is_blocked = False
    rig.run(2 * MS)
    assert rig.sink.frames == frames
    assert rig.count("sent_packets") == 6


def test_a_master_that_goes_on_the_short_way_is_waited_for() -> None:
    """One frame is lost as `master`; the path then rests, and goes on when the master is back."""
    rig = Rig(FAST)
    rig.run(0)
    rig.source.frames.extend([FRAME] * 3)
    rig.sink.refuse = {0: Outcome.GONE}
    rig.run(1 * MS)
    assert rig.count("master") == 1
    assert rig.path.deadline_ns == 101 * MS
    rig.run_to(200 * MS)
    assert rig.sink.frames == [FRAME] * 2


def test_a_delay_is_none_for_what_did_not_wait() -> None:
    """The delays of fq_codel count frames that took the short way as well."""
    rig = Rig(replace(FAST, queue=Queue.FQ_CODEL, hz=1_000_000))
    rig.run(0)
    rig.source.frames.append(FRAME)
    rig.run(300 * MS)
    assert rig.count("delay_ns") == rig.count("delay_p99_ns") == 0
    assert rig.path._discipline is not None
    assert rig.path._discipline.delay_percentile(99, now=300_000) == 0


def test_departures_fall_on_quarters_of_a_jiffy() -> None:
    """A departure at 100.1 ms is made at 100.25 ms, and what is earned by then is not lost."""
    rig = Rig(replace(SETTINGS, hz=1_000_000, burst_bytes=3000, rate_bits=63_936))
    rig.source.frames.extend([FRAME] * 5)
    rig.run(0)
    assert rig.path.deadline_ns == 100 * MS + 250 * US
    rig.run_to(1000 * MS)
    assert len(rig.sink.frames) == 5
    assert rig.count("busy_ns") == 5 * 800 * 8 * 10**9 // 63_936


def test_a_small_bucket_is_served_more_finely() -> None:
    """What is earned while a departure is rounded up has to find room in the bucket."""
    rig = Rig(replace(SETTINGS, hz=1_000_000, burst_bytes=1515, rate_bits=64_000_000))
    rig.source.frames.extend([FRAME] * 9)
    rig.run(0)
    assert rig.path.deadline_ns is not None
    assert rig.path.deadline_ns <= 101 * US


def test_every_field_has_room_on_the_board() -> None:
    """A slot holds all fields, and its neighbour's are not touched."""
    assert len(FIELDS) <= SLOT_WORDS
    board = Board.create(2)
    board.row(1)[0] = 7
    assert board.read(0)["sent_bytes"] == 0
    board.clear(1)
    assert board.read(1)["sent_bytes"] == 0
