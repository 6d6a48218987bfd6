"""What comes at once into an idle shaper arrives, however slow the rate."""

from __future__ import annotations

import pytest

from shaper.discipline.codel import BURST_BYTES, setpoints
from tests.unit.gates import SteppedGate, fq_codel
from tests.unit.simulation.bottleneck import settings_for, simulate
from tests.unit.simulation.senders import Unresponsive
from tests.unit.simulation.stamped_frames import make_frame

# What it runs is covered by other tests; beside coverage it takes three times as long.
pytestmark = pytest.mark.no_cover

FULL = 1514


def arrive(queue: SteppedGate, frames: int, now: int) -> int:
    """Let a burst come, then all of it leave; return how many frames were handed out."""
    for name in range(frames):
        queue.enqueue(make_frame(1, name, now=now, wire_bytes=FULL), now=now)
    left = 0
    while (deadline := queue.deadline()) is not None:
        left += queue.dequeue(now=max(now, deadline)) is not None
    return left


@pytest.mark.parametrize("rate_bits", [9_600, 64_000, 256_000, 10**6, 10**7])
@pytest.mark.parametrize("fragments", [2, 9, 11, 45])
def test_the_fragments_of_a_datagram_all_arrive(rate_bits: int, fragments: int) -> None:
    """From two to the 45 of the largest datagram, again and again, at any rate."""
    settings = settings_for(rate_bits)
    queue = fq_codel(settings)
    drained = fragments * FULL * 8 * settings.ticks_per_second // rate_bits + 1
    for round_number in range(10):
        assert arrive(queue, fragments, round_number * (drained + 1)) == fragments
    assert queue.dropped == {"limit": 0, "codel": 0}


def test_a_burst_is_spared_up_to_the_largest_datagram() -> None:
    """Of a burst of ten times that, which is no datagram, some is dropped."""
    queue = fq_codel(settings_for(64_000))
    frames = 10 * BURST_BYTES // FULL
    assert arrive(queue, frames, 0) < frames
    assert queue.dropped["codel"] > 0


def test_a_standing_queue_is_no_burst() -> None:
    """A flood from the first frame on is met an interval after its burst has left."""
    settings = settings_for(10**6)
    queue = fq_codel(settings)
    points = setpoints(settings)
    burst = BURST_BYTES * 8 * settings.ticks_per_second // settings.rate_bits
    flood = Unresponsive(1, frames=1, every=10)
    simulate(queue, [flood], jiffies=burst + 3 * points.interval)
    assert queue.dropped["codel"] > 0
