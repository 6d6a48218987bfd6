"""What is on the board: at once what a successor needs, and the rest soon enough to be shown."""

from __future__ import annotations

from dataclasses import replace

from shaper.model import Queue
from tests.unit.path_rig import FRAME, MS, SETTINGS, PathRig

FLOWS = replace(SETTINGS, queue=Queue.FQ_CODEL, limit_packets=100)


def test_each_run_tells_what_left_and_what_waits() -> None:
    """So that what a forwarder had in its hands when it died can be counted."""
    rig = PathRig(FLOWS)
    rig.source.frames.extend([FRAME] * 5)
    for run in range(4):
        rig.run(100 * MS * run + run)
        left = len(rig.sink.frames)
        assert left == run + 1
        assert rig.count("sent_packets") == left
        assert rig.count("sent_bytes") == 800 * left
        assert rig.count("backlog_packets") == 5 - left
        assert rig.count("backlog_bytes") == 800 * (5 - left)


def test_the_rest_is_told_every_ten_milliseconds_while_frames_wait() -> None:
    """Not by each run, and never later."""
    rig = PathRig(replace(FLOWS, rate_bits=8 * 800 * 1000))
    rig.source.frames.extend([FRAME] * 50)
    behind = []
    for ms in range(49):
        rig.run(ms * MS)
        behind.append((rig.count("sent_bytes") - rig.count("busy_bytes")) // 800)
    assert behind == [*range(10)] * 4 + [*range(9)]
    rig.run(49 * MS)
    assert rig.count("backlog_packets") == 0
    assert rig.count("busy_bytes") == rig.count("sent_bytes") == 50 * 800


def test_what_no_departure_will_tell_is_told_by_itself() -> None:
    """Frames wait and have no master any more: the path comes again for what is left to tell."""
    rig = PathRig(replace(FLOWS, rate_bits=8 * 800 * 1000))
    rig.source.frames.extend([FRAME] * 50)
    for ms in range(3):
        rig.run(ms * MS)
    rig.path.bind(None)
    rig.run(3 * MS)
    assert rig.count("busy_bytes") == 800
    assert rig.wants.deadline_ns == 10 * MS
    rig.run(10 * MS)
    assert rig.count("busy_bytes") == 2400
    assert rig.wants.deadline_ns == 250 * MS


def test_all_is_told_when_nothing_waits_any_more() -> None:
    """By the run that sends the last frame, however soon after another it comes."""
    rig = PathRig(replace(FLOWS, rate_bits=10**9))
    rig.source.frames.extend([FRAME] * 3)
    rig.run(0)
    rig.run_to(3 * MS)
    assert rig.count("sent_packets") == 3
    assert rig.count("backlog_packets") == 0
    assert rig.count("busy_bytes") == 2400
    assert rig.count("delay_ns") > 0
