"""A path with an emulated link: frames leave the bucket as without, and arrive later or never."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shaper.channel.board import ALTERATIONS
from shaper.line_options import PER_BILLION, Delay, LineOptions, RandomLoss
from shaper.model import Queue
from tests.unit.path_rig import FRAME, MS, SETTINGS, PathRig

DELAY = LineOptions(Delay(20 * MS))
FAST = replace(SETTINGS, rate_bits=10_000_000, limit_packets=1000, ticks_per_second=1_000_000)
LINKED = replace(FAST, line=DELAY)


def run_out(rig: PathRig, now_ns: int) -> int:
    """Run at every deadline until there is none; return when the last was."""
    while (deadline_ns := rig.wants.deadline_ns) is not None and deadline_ns < now_ns + 10**10:
        now_ns = max(now_ns, deadline_ns)
        rig.run(now_ns)
        if not rig.count("backlog_packets"):
            break
    return now_ns


@pytest.mark.parametrize("queue", [Queue.FIFO, Queue.FQ_CODEL])
def test_a_frame_arrives_after_its_delay(queue: Queue) -> None:
    """To within a tenth of a millisecond; until then it counts as waiting."""
    rig = PathRig(replace(LINKED, queue=queue))
    rig.source.frames += [FRAME]
    rig.run(MS)
    assert (rig.count("sent_packets"), rig.count("backlog_packets")) == (0, 1)
    assert 21 * MS <= run_out(rig, MS) <= 21.1 * MS
    assert (rig.count("sent_packets"), rig.count("backlog_packets")) == (1, 0)


def test_a_change_of_the_delay_neither_loses_nor_reorders() -> None:
    """What is under way arrives first, also when there is no link any more."""
    rig = PathRig(LINKED)
    frames = [FRAME[:-1] + bytes([number]) for number in range(4)]
    rig.source.frames += frames[:2]
    rig.run(MS)
    rig.path.configure(replace(LINKED, line=LineOptions(Delay(MS))), 2 * MS)
    rig.source.frames += frames[2:3]
    rig.run(2 * MS)
    rig.path.configure(FAST, 3 * MS)
    rig.source.frames += frames[3:]
    rig.run(3 * MS)
    run_out(rig, 3 * MS)
    assert rig.sink.frames == frames


def test_what_is_lost_is_counted_once_whatever_is_changed() -> None:
    """Sent, lost on the link and waiting are all there was, through changes of link and queue."""
    rig = PathRig(LINKED)
    lossy = replace(LINKED, line=LineOptions(loss=RandomLoss(500_000_000), seed=3))
    now_ns, put = MS, 0
    for settings in (lossy, LINKED, replace(lossy, queue=Queue.FQ_CODEL), FAST, lossy, FAST):
        rig.path.configure(settings, now_ns)
        rig.source.frames += [FRAME] * 20
        put += 20
        rig.run(now_ns)
        now_ns = run_out(rig, now_ns) + MS
        accounted = rig.count("sent_packets") + rig.count("loss") + rig.count("backlog_packets")
        assert accounted == put
    assert 15 <= rig.count("loss") <= 45
    assert len(rig.sink.frames) == rig.count("sent_packets")


def test_a_flush_counts_what_is_under_way() -> None:
    """As what waits in the queue."""
    rig = PathRig(LINKED)
    rig.source.frames += [FRAME] * 3
    rig.run(MS)
    rig.path.flush()
    rig.run(2 * MS)
    assert (rig.count("flush"), rig.count("backlog_packets")) == (3, 0)


def test_frames_are_read_as_they_come() -> None:
    """A departure that is near does not keep the TAP unwatched: the delay counts from then on."""
    rig = PathRig(LINKED)
    rig.source.frames += [FRAME]
    rig.run(MS)
    rig.run(21 * MS - MS // 2)
    assert rig.wants.wants_frames


def test_what_a_link_changes_is_counted_through_changes_and_a_successor() -> None:
    """Frames that are doubled, damaged and reordered, each by itself."""
    rig = PathRig(replace(FAST, line=LineOptions(duplicate=PER_BILLION, corrupt=PER_BILLION)))
    rig.source.frames += [FRAME] * 3
    rig.run(MS)
    run_out(rig, MS)
    rig.path.configure(None, 2 * MS)
    rig.path.configure(replace(FAST, line=LineOptions(reorder=PER_BILLION)), 3 * MS)
    rig.source.frames += [FRAME]
    rig.run(4 * MS)
    counts = [rig.count(what) for what in ALTERATIONS]
    assert counts == [3, 3, 1]
    assert rig.count("sent_packets") == 7
