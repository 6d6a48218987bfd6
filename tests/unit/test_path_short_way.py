"""Frames that may leave at once pass a path without being queued, and are accounted for alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shaper.forwarder.path_states import PathState
from shaper.forwarder.ports import Outcome
from shaper.model import Queue
from tests.unit.path_rig import ARP, FRAME, MS, SETTINGS, PathRig

FAST = replace(SETTINGS, rate_bits=10**9, burst_bytes=10**5, limit_packets=1000, idle_bytes=10**5)
US = 1_000


@pytest.mark.parametrize("queue", [Queue.FIFO, Queue.FQ_CODEL])
def test_what_may_leave_at_once_is_passed_on_in_order(queue: Queue) -> None:
    """A frame alone, then a batch, then more than a batch: none waits, and all are counted."""
    rig = PathRig(replace(FAST, queue=queue))
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
    assert rig.wants.wants_frames


def test_what_waits_in_the_tap_alone_earns_credit_as_if_queued() -> None:
    """Read too slowly to need a queue, a flood still leaves at the rate, in whole batches."""
    rig = PathRig(replace(FAST, ticks_per_second=1_000_000, idle_bytes=0))
    rig.source.frames.extend([FRAME] * 1000)
    now_ns, rounds = 0, 0
    while rig.source.frames:
        rig.run(now_ns)
        now_ns += 500 * US  # a batch takes 410 us of the rate
        rounds += 1
    assert rounds < 20
    assert rig.count("sent_packets") + rig.count("backlog_packets") == 1000


def test_a_batch_that_the_rate_does_not_allow_is_queued() -> None:
    """Of ten frames the first passes alone; the others leave one by one, as they are paid for."""
    rig = PathRig()
    rig.run(0)
    rig.source.frames.extend([FRAME] * 10)
    for round_number in range(3):
        rig.run(1 * MS + round_number * US)
    assert rig.sink.frames == [FRAME]
    assert rig.count("backlog_packets") == 9
    rig.run_to(1000 * MS)
    assert rig.sink.frames == [FRAME] * 10
    assert rig.wants.wants_frames


def test_neighbour_frames_do_not_pass_in_a_batch_either() -> None:
    """ARP among other frames, and alone, is dropped under its own counter."""
    rig = PathRig(FAST)
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
    rig = PathRig(FAST)
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
    rig = PathRig(FAST)
    rig.run(0)
    frames = [FRAME[:-1] + bytes([number]) for number in range(6)]
    rig.source.frames.extend(frames)
    rig.run(1 * MS)
    rig.sink.refuse = {3: Outcome.BLOCKED}
    rig.run(1 * MS + US)
    assert rig.path.state is PathState.BLOCKED
    assert rig.count("backlog_packets") == 3
    rig.path.unblock()
    rig.run(2 * MS)
    assert rig.sink.frames == frames
    assert rig.count("sent_packets") == 6


def test_a_master_that_goes_on_the_short_way_is_waited_for() -> None:
    """One frame is lost as `master`; the path then rests, and goes on when the master is back."""
    rig = PathRig(FAST)
    rig.run(0)
    rig.source.frames.extend([FRAME] * 3)
    rig.sink.refuse = {0: Outcome.GONE}
    rig.run(1 * MS)
    assert rig.count("master") == 1
    assert rig.wants.deadline_ns == 101 * MS
    rig.run_to(200 * MS)
    assert rig.sink.frames == [FRAME] * 2


def test_a_delay_is_none_for_what_did_not_wait() -> None:
    """The delays of fq_codel count frames that took the short way as well."""
    slow = replace(SETTINGS, rate_bits=800_000, burst_bytes=3000)  # a frame takes 8 ms
    rig = PathRig(replace(slow, queue=Queue.FQ_CODEL, ticks_per_second=1_000_000))
    rig.run(0)
    for number in range(1, 121):
        rig.source.frames.append(FRAME)
        rig.run(number * 20 * MS)
    rig.source.frames.extend([FRAME] * 2)
    rig.run(2420 * MS)
    rig.run(2420 * MS + US)
    rig.run_to(3000 * MS)
    assert rig.count("sent_packets") == 122
    assert rig.count("delay_ns") > 7 * MS
    assert rig.count("delay_p99_ns") == 0


def test_departures_fall_on_eighths_of_a_jiffy() -> None:
    """A departure at 100.1 ms is made at 100.125 ms, and what is earned by then is not lost."""
    rig = PathRig(
        replace(SETTINGS, ticks_per_second=1_000_000, burst_bytes=3000, rate_bits=63_936)
    )
    rig.source.frames.extend([FRAME] * 5)
    rig.run(0)
    assert rig.wants.deadline_ns == 100 * MS + 125 * US
    rig.run_to(1000 * MS)
    assert len(rig.sink.frames) == 5
    assert rig.count("busy_ns") == 5 * 800 * 8 * 10**9 // 63_936


def test_a_small_bucket_is_served_more_finely() -> None:
    """What is earned while a departure is rounded up has to find room in the bucket."""
    rig = PathRig(
        replace(SETTINGS, ticks_per_second=1_000_000, burst_bytes=1515, rate_bits=64_000_000)
    )
    rig.source.frames.extend([FRAME] * 9)
    rig.run(0)
    assert rig.wants.deadline_ns is not None
    assert rig.wants.deadline_ns <= 101 * US


def test_a_pause_after_a_full_batch_earns_nothing() -> None:
    """A batch as long as the limit is not taken for one of many: idling is no credit."""
    rig = PathRig(replace(FAST, ticks_per_second=1_000_000, idle_bytes=0))
    rig.run(0)
    rig.source.frames.extend([FRAME])
    rig.run(1 * MS)
    for start_ns in (2 * MS, 3_600_000 * MS):
        rig.source.frames.extend([FRAME] * 64)
        for round_number in range(3):
            rig.run(start_ns + round_number * US)
        rig.run_to(start_ns + 500 * MS)
    assert rig.count("sent_packets") == 129
    assert rig.count("busy_ns") < 2 * MS


def test_a_late_run_that_sent_nothing_earns_nothing() -> None:
    """Told of a late end after ARP alone, the bucket does not take the pause for work."""
    rig = PathRig(replace(FAST, ticks_per_second=1_000_000))
    rig.run(0)
    rig.source.frames.append(ARP)
    rig.run(3_600_000 * MS)
    rig.path.left_late(3_600_002 * MS)
    assert rig.count("busy_ns") == 0
    rig.source.frames.append(FRAME)
    rig.run(3_600_003 * MS)
    assert rig.count("busy_ns") == 800 * 8


def test_the_last_delays_are_told_and_forgotten() -> None:
    """Frames that waited 100 ms show in p99 soon after, without traffic, and not for ever."""
    rig = PathRig(replace(SETTINGS, queue=Queue.FQ_CODEL, ticks_per_second=1_000_000))
    rig.run(0)
    rig.source.frames.extend([FRAME] * 2)
    rig.run(1 * MS)
    rig.run(1 * MS + US)
    rig.run_to(102 * MS)
    assert rig.count("sent_packets") == 2
    rig.run_to(400 * MS)
    assert rig.count("delay_p99_ns") > 90 * MS
    rig.run_to(20_000 * MS)
    assert rig.count("delay_p99_ns") == 0
    assert rig.wants.deadline_ns is None


def test_what_was_read_ahead_goes_first() -> None:
    """Frames taken in before the ring is made shorter are not overtaken by later ones."""
    rig = PathRig(FAST)
    rig.run(0)
    rig.path.absorb()
    assert rig.path.state is PathState.QUEUED
    rig.source.frames.extend([FRAME] * 3)
    rig.run(1 * MS)
    assert rig.sink.frames == [FRAME] * 3


def test_a_limit_below_the_backlog_does_no_harm() -> None:
    """With more waiting than fits, and something sent, an empty TAP is read like any other."""
    rig = PathRig(replace(SETTINGS, limit_packets=100, burst_bytes=3000))
    rig.source.frames.extend([FRAME] * 60)
    rig.run(0)
    rig.path.configure(replace(SETTINGS, limit_packets=5, burst_bytes=3000), 1 * MS)
    rig.run_to(10_000 * MS)
    assert rig.count("sent_packets") == 60
