"""The limit of fq_codel: which flow gives way, and when it is looked for."""

from __future__ import annotations

from dataclasses import replace

from shaper.packet.frame import parse_frame
from tests.unit.simulation.stamped_frames import make_frame
from tests.unit.strategies import Train, offload
from tests.unit.test_fq_codel import SETTINGS, departures, frame, make


def test_the_largest_flow_gives_way_at_the_limit() -> None:
    """The frame that comes finds a place, and the flow with the most bytes loses its oldest."""
    queue = make(replace(SETTINGS, limit_packets=5))
    for flow, name, length in [(1, 0, 100), (1, 1, 100), (1, 2, 100), (2, 0, 700), (2, 1, 50)]:
        queue.enqueue(frame(flow, name, length), now=0)
    assert queue.room == 0
    queue.enqueue(frame(3, 0, 60), now=0)
    assert queue.dropped == {"limit": 1, "codel": 0}
    assert (queue.backlog_packets, queue.backlog_bytes) == (5, 410)
    left = {(flow, name) for _, flow, name in departures(queue)}
    assert left == {(1, 0), (1, 1), (1, 2), (2, 1), (3, 0)}


def test_a_frame_alone_is_kept_whatever_its_size() -> None:
    """An offload frame of more segments than the limit passes; with a second one, one goes."""
    queue = make(replace(SETTINGS, limit_packets=10, unit_bytes=70_000))
    for flow in (1, 2):
        queue.enqueue(make_frame(flow, 0, now=0, wire_bytes=68_130, packets=45), now=0)
        assert queue.backlog_packets == 45
    assert queue.dropped["limit"] == 45
    assert len(departures(queue)) == 1


def test_a_lower_limit_drops_nothing_that_waits() -> None:
    """Each frame that comes then costs one, so the queue never grows and drains to the limit."""
    queue = make()
    for name in range(50):
        queue.enqueue(frame(1, name), now=0)
    queue.configure(replace(SETTINGS, limit_packets=10), now=0)
    assert queue.backlog_packets == 50
    queue.enqueue(frame(2), now=0)
    assert (queue.backlog_packets, queue.dropped["limit"]) == (50, 1)


def test_the_largest_flow_is_looked_for_only_while_there_is_need() -> None:
    """With the queue half empty a frame is no longer compared with those of other flows."""
    queue = make(replace(SETTINGS, limit_packets=20))
    for name in range(25):
        queue.enqueue(frame(1, name), now=0)
    assert queue.queue._ranking is not None
    while queue.backlog_packets > 8:
        queue.dequeue(now=queue.deadline() or 0)
    queue.enqueue(frame(1), now=10**4)
    assert queue.queue._ranking is None


def test_a_train_that_is_split_at_the_limit_leaves_the_largest_to_be_found() -> None:
    """Its segments fill the queue within a batch; what joins after them is ranked as well."""
    queue = make(replace(SETTINGS, limit_packets=10))
    train = parse_frame(offload(Train(payload_bytes=12 * 1448)))
    queue.enqueue_batch([train, *[frame(7, name) for name in range(25)]], now=0)
    for name in range(25, 50):
        queue.enqueue(frame(7, name), now=0)
    assert queue.backlog_packets == 10
    assert queue.dropped["limit"] == 12 + 50 - 10
