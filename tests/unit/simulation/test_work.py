"""A frame costs the same work with one flow and with ten thousand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

import pytest

from tests.unit.gates import fq_codel
from tests.unit.simulation.bottleneck import settings_for
from tests.unit.simulation.stamped_frames import make_frame

# What it runs is covered by other tests; beside coverage it takes three times as long.
pytestmark = pytest.mark.no_cover

FLOWS = 10_000
FRAMES = 10_000


def lines_run(work: Callable[[], None]) -> int:
    """Return how many lines of the disciplines are run by some work: time that does not vary."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        nonlocal lines
        if "discipline" not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


def lines_per_frame(flows: int, *, limit_packets: int, size: int, leave: bool) -> float:
    """Return the lines for a frame, when so many flows send in turn into a queue that is full.

    The queue is filled without counting. Then each frame that comes either drives another out,
    or one leaves first.
    """
    settings = settings_for(10**7, limit_packets=limit_packets)
    queue = fq_codel(replace(settings, burst_bytes=10**7), size=size)
    frames = [make_frame(flow, 0, now=0, wire_bytes=600) for flow in range(flows)]
    for count in range(limit_packets):
        queue.enqueue(frames[count % flows], now=0)

    def work() -> None:
        now = 0
        for count in range(FRAMES):
            if leave:
                now = max(now, queue.deadline() or 0)
                queue.dequeue(now=now)
            queue.enqueue(frames[count % flows], now=now)

    return lines_run(work) / FRAMES


@pytest.mark.parametrize("size", [1024, FLOWS], ids=["shared places", "own places"])
@pytest.mark.parametrize("leave", [True, False], ids=["leaving", "dropping"])
def test_work_does_not_grow_with_the_flows(size: int, leave: bool) -> None:
    """Ten thousand flows cost at most twice the lines of one, in the round and at the limit."""
    one = lines_per_frame(1, limit_packets=FLOWS, size=size, leave=leave)
    many = lines_per_frame(FLOWS, limit_packets=FLOWS, size=size, leave=leave)
    assert 10 < one < 150
    assert many < 2 * one


def test_no_frame_pays_for_many() -> None:
    """Each frame of a flood of ever new flows costs a constant, but for the few that clear up."""
    queue = fq_codel(settings_for(10**9), size=1024)
    costs = []
    for flow in range(6_000):
        frame = make_frame(flow, 0, now=flow, wire_bytes=60)

        def work(frame: object = frame, now: int = flow) -> None:
            queue.enqueue(frame, now=now)  # type: ignore[arg-type]
            queue.dequeue(now=now)
            queue.dequeue(now=now)

        costs.append(lines_run(work))
    assert sum(costs) / len(costs) < 200
    assert sum(cost > 200 for cost in costs) <= 6
