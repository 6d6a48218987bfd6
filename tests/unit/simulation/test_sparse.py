"""What sends little never waits behind what sends much."""

from __future__ import annotations

import pytest

from shaper.model import Settings
from shaper.packet.frame import Frame
from tests.unit.gates import fq_codel
from tests.unit.simulation.bottleneck import settings_for, simulate
from tests.unit.simulation.senders import Tcp, Unresponsive
from tests.unit.simulation.stamped_frames import make_frame, read_frame

# What it runs is covered by other tests; beside coverage it takes three times as long.
pytestmark = pytest.mark.no_cover

SPARSE = 99
FULL = 1514


@pytest.mark.parametrize(
    ("rate_bits", "bulk"), [(10**6, 1), (10**6, 32), (10**7, 8), (10**7, 32), (10**8, 8)]
)
def test_a_sparse_flow_waits_for_the_frame_on_the_wire_only(rate_bits: int, bulk: int) -> None:
    """Beside TCP flows its wait is the debt of one frame, rounded up to a jiffy.

    At 1 Mbit/s 32 flows have a round of 387 ms, in which it sends four times. The first second is
    left out, in which the others are new as well.
    """
    settings = settings_for(rate_bits)
    queue = fq_codel(settings)
    sparse = Unresponsive(SPARSE, frames=1, every=101, wire_bytes=98)
    flows = [Tcp(n, round_trip=20) for n in range(bulk)]
    arrivals = simulate(queue, [*flows, sparse], jiffies=8_000, warm_up=1_000)
    waits = [arrival.waited for arrival in arrivals if arrival.flow == SPARSE]
    assert len(waits) >= 68
    assert max(waits) <= settings.unit_bytes * 8 * settings.ticks_per_second // rate_bits + 1


def test_a_sparse_flow_is_the_next_to_leave() -> None:
    """Not one frame of a flow with a backlog leaves between its arrival and its departure."""
    queue = fq_codel(settings_for(10**7))
    behind = 0
    waiting = False
    for now in range(5_000):
        for flow in range(4):
            queue.enqueue(make_frame(flow, now, now=now), now=now)
        if now > 100 and now % 50 == 0:
            queue.enqueue(make_frame(SPARSE, now, now=now, wire_bytes=98), now=now)
            waiting = True
        while (leaving := queue.dequeue(now=now)) is not None:
            if read_frame(leaving).flow == SPARSE:
                waiting = False
            else:
                behind += waiting
    assert behind == 0
    assert not waiting


@pytest.mark.parametrize("rate_bits", [10**8, 10**9, 10**10])
def test_offload_frames_make_nobody_wait_for_more_than_about_a_jiffy(rate_bits: int) -> None:
    """Four flows of the largest offload frames this rate allows, and a sparse one beside them."""
    settings = settings_for(rate_bits, limit_packets=10_000)
    queue = fq_codel(settings)
    segments = settings.unit_bytes // FULL
    waits = []
    for now in range(2_000):
        while queue.backlog_packets < 2_000:
            for flow in range(4):
                queue.enqueue(_train(flow, now, settings, segments), now=now)
        if now > 50 and now % 10 == 0:
            queue.enqueue(make_frame(SPARSE, now, now=now, wire_bytes=98), now=now)
        while (leaving := queue.dequeue(now=now)) is not None:
            sent = read_frame(leaving)
            if sent.flow == SPARSE:
                waits.append(now - sent.sent_at)
    assert segments > 1
    assert len(waits) == 194
    assert max(waits) <= 2


def test_one_flow_of_offload_frames_shares_with_one_of_single_frames() -> None:
    """Wire bytes count: both have half of the rate, within five per cent."""
    settings = settings_for(10**8, limit_packets=10_000)
    queue = fq_codel(settings)
    segments = settings.unit_bytes // FULL
    sent_bytes = [0, 0]
    for now in range(3_000):
        while queue.backlog_packets < 500:
            queue.enqueue(_train(0, now, settings, segments), now=now)
            for _ in range(segments):
                queue.enqueue(make_frame(1, now, now=now), now=now)
        while (leaving := queue.dequeue(now=now)) is not None:
            sent_bytes[read_frame(leaving).flow] += leaving.wire_bytes
    assert sent_bytes[0] / sum(sent_bytes) == pytest.approx(0.5, rel=0.05)


def _train(flow: int, now: int, settings: Settings, segments: int) -> Frame:
    return make_frame(
        flow, now, now=now, wire_bytes=settings.unit_bytes, packets=segments, has_ecn=True
    )
