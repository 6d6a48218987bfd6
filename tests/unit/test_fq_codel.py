"""The fq_codel discipline: its rules by literal times, and the contract of every discipline."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.model import Queue, Settings
from shaper.packet.frame import Frame, parse_frame
from tests.unit.gates import SteppedGate, fq_codel
from tests.unit.simulation.bottleneck import settings_for
from tests.unit.simulation.stamped_frames import make_frame, read_frame
from tests.unit.strategies import Train, offload

FULL = 1514
KEY = b"any key will do"
SETTINGS = Settings(
    rate_bits=64_000,
    unit_bytes=FULL,
    burst_bytes=FULL,
    queue=Queue.FIFO,
    limit_packets=100,
    ticks_per_second=1000,
)


def make(settings: Settings = SETTINGS, **others: int) -> SteppedGate:
    """Return an empty discipline at jiffy 0."""
    return fq_codel(settings, key=KEY, **others)


def frame(flow: int, name: int = 0, wire_bytes: int = 800) -> Frame:
    """Return a frame of a flow."""
    return make_frame(flow, name, now=0, wire_bytes=wire_bytes)


def departures(queue: SteppedGate) -> list[tuple[int, int, int]]:
    """Return (jiffy, flow, name) of everything that leaves, woken exactly at each deadline."""
    sent = []
    while (now := queue.deadline()) is not None:
        while (leaving := queue.dequeue(now=now)) is not None:
            sent.append((now, *read_frame(leaving)[:2]))
    return sent


def test_flows_take_turns_at_the_rate() -> None:
    """Two flows of frames that fill a turn alternate; 800 bytes take 100 jiffies at 64 kbit/s."""
    queue = make(replace(SETTINGS, unit_bytes=800, burst_bytes=800))
    for name, flow in enumerate([1, 1, 1, 2, 2]):
        queue.enqueue(frame(flow, name), now=0)
    assert queue.flows == 2
    sent = departures(queue)
    assert sent == [(0, 1, 0), (100, 2, 3), (200, 1, 1), (300, 2, 4), (400, 1, 2)]
    assert queue.flows == 0


def test_turns_are_of_bytes() -> None:
    """While a flow sends one frame of 1500 bytes, one of 100 sends fifteen."""
    queue = make()
    for name in range(10):
        queue.enqueue(frame(1, name, 1500), now=0)
    for name in range(150):
        queue.enqueue(frame(2, name, 100), now=0)
    queue.configure(replace(SETTINGS, limit_packets=1000), now=0)
    flows = [flow for _, flow, _ in departures(queue)][:80]
    assert 4 <= flows.count(1) <= 6


def test_a_new_flow_goes_before_the_old() -> None:
    """What arrives while another flow has a backlog leaves next, and only its first quantum."""
    queue = make()
    for name in range(5):
        queue.enqueue(frame(1, name, FULL), now=0)
    assert queue.dequeue(now=0) is not None
    for name in range(5):
        queue.enqueue(frame(2, name, FULL), now=1)
    assert [flow for _, flow, _ in departures(queue)] == [2, 1, 2, 1, 2, 1, 2, 1, 2]


def test_pausing_gains_nothing() -> None:
    """A flow that is empty for a moment is old when it comes back, and waits for its turn."""
    queue = make()
    for name in range(5):
        queue.enqueue(frame(1, name, FULL), now=0)
    queue.enqueue(frame(2, 0, FULL), now=0)
    flows = []
    for _ in range(6):
        leaving = queue.dequeue(now=queue.deadline() or 0)
        assert leaving is not None
        flows.append(read_frame(leaving).flow)
        if flows[-1] == 2:
            queue.enqueue(frame(2, 0, FULL), now=0)
    assert flows == [1, 2, 1, 2, 1, 2]


def test_a_flow_that_sends_little_goes_first_within_the_round() -> None:
    """Frames of 300 bytes pass the others one by one, until they have used up a quantum."""
    queue = make()
    for name in range(4):
        for flow in range(1, 9):
            queue.enqueue(frame(flow, name, FULL), now=0)
    for _ in range(8):
        queue.dequeue(now=queue.deadline() or 0)
    flows = []
    for name in range(7):
        queue.enqueue(frame(9, name, 300), now=0)
        for _ in range(2):
            leaving = queue.dequeue(now=queue.deadline() or 0)
            assert leaving is not None
            flows.append(read_frame(leaving).flow)
    assert [flow == 9 for flow in flows] == [True, False] * 6 + [False, False]


def test_a_new_rate_applies_to_what_waits_and_loses_nothing() -> None:
    """Twice the rate in mid-wait: the debt left is paid twice as fast, in the same order."""
    queue = make()
    for name, length in enumerate([800, 801]):
        queue.enqueue(frame(1, name, length), now=0)
    queue.dequeue(now=0)
    queue.configure(replace(SETTINGS, rate_bits=128_000), now=50)
    assert departures(queue) == [(75, 1, 1)]
    assert queue.dropped == {"limit": 0, "codel": 0}


def test_another_hz_keeps_departures_and_delays() -> None:
    """Frames leave in the same moments, and have waited as long, counted in the new jiffies."""
    queue = make()
    for name in range(3):
        queue.enqueue(frame(1, name, 800), now=0)
    queue.dequeue(now=0)
    queue.configure(replace(SETTINGS, ticks_per_second=100), now=50)
    assert [now for now, _, _ in departures(queue)] == [10, 20]
    assert queue.delay_now == 20


def test_another_hz_starts_the_control_law_anew() -> None:
    """A queue that stands under the old HZ is found standing an interval later under the new."""
    fast = replace(SETTINGS, rate_bits=2 * 10**6, ticks_per_second=10_000, limit_packets=1000)
    queue = make(fast)
    for name in range(500):
        queue.enqueue(frame(1, name), now=0)
    for now in range(5_000):
        queue.dequeue(now=now)
    before = queue.dropped["codel"]
    queue.configure(replace(fast, ticks_per_second=100), now=5_000)
    for now in range(50, 100):
        queue.dequeue(now=now)
        queue.dequeue(now=now)
    assert queue.dropped["codel"] > before > 0


def test_turns_follow_the_largest_frame() -> None:
    """When the largest frame becomes smaller, nobody goes on spending a turn of the old size."""
    queue = make(replace(SETTINGS, unit_bytes=10 * FULL))
    for name in range(4):
        for flow in (1, 2):
            queue.enqueue(frame(flow, name, FULL), now=0)
    queue.configure(SETTINGS, now=0)
    assert [flow for _, flow, _ in departures(queue)] == [1, 2, 1, 2, 1, 2, 1, 2]


def test_offload_frames_too_large_for_a_new_rate_are_cut() -> None:
    """What waits and what comes is cut into segments of the same flow, and stays in order."""
    large, small = replace(SETTINGS, unit_bytes=70_000), SETTINGS
    train = parse_frame(offload(Train(payload_bytes=6000)))
    queue = make(large)
    queue.enqueue(train, now=0)
    queue.configure(small, now=0)
    queue.enqueue(train, now=1)
    assert (queue.backlog_packets, queue.backlog_bytes) == (10, 2 * train.wire_bytes)
    assert queue.flows == 1
    frames = queue.drain()
    assert [each.packets for each in frames] == [1] * 10
    assert [each.wire_bytes for each in frames[:5]] == [each.wire_bytes for each in frames[5:]]


def test_drain_gives_everything_back_in_the_order_it_came() -> None:
    """Across flows too, for a fifo that takes over; nothing waits afterwards."""
    queue = make()
    for now in range(20):
        queue.enqueue(frame(now % 3, now), now=now)
    assert [read_frame(each).sequence for each in queue.drain()] == list(range(20))
    assert (queue.backlog_packets, queue.backlog_bytes, queue.flows) == (0, 0, 0)
    assert queue.deadline() is None
    queue.enqueue(frame(1), now=30)
    assert departures(queue) == [(30, 1, 0)]


def test_flush_counts_what_it_drops() -> None:
    """What is flushed is counted under the reason given, and nothing waits any more."""
    queue = make()
    queue.enqueue(frame(1), now=0)
    queue.enqueue(make_frame(2, 0, now=0, packets=3), now=0)
    queue.flush("flush")
    assert queue.dropped["flush"] == 4
    assert queue.dequeue(now=0) is None


def test_overlimits_and_the_debt_it_starts_with() -> None:
    """A queue that takes over waits until the other's traffic is paid for; each asking counts."""
    queue = fq_codel(SETTINGS, key=KEY, opens_at=40)
    queue.enqueue(frame(1), now=0)
    assert queue.deadline() == queue.opens_at() == 40
    assert queue.dequeue(now=39) is None
    assert queue.overlimits == 1
    assert queue.dequeue(now=40) is not None
    assert queue.dequeue(now=41) is None
    assert queue.overlimits == 1


def test_achieved_rate_counts_only_the_time_in_use() -> None:
    """A second of idleness in the middle leaves the achieved rate at the configured one."""
    queue = make()
    for now in (0, 0, 1200):
        queue.enqueue(frame(1), now=now)
        if now:
            assert departures(queue) == [(1200, 1, 0)]
        elif queue.backlog_packets == 2:
            departures(queue)
    assert 2400 * 8 * 10**9 // queue.busy_ns(2400) == 64_000


def test_delays_are_told() -> None:
    """The delay now is that of the last frame; the percentile forgets after ten seconds."""
    queue = make()
    for name in range(3):
        queue.enqueue(frame(1, name), now=0)
    departures(queue)
    assert queue.delay_now == 200
    assert queue.delay_percentile(50, now=300) == pytest.approx(100, rel=1 / 16)
    assert queue.delay_percentile(99, now=9_000) == pytest.approx(200, rel=1 / 16)
    assert queue.delay_percentile(99, now=10_001) is None


@pytest.mark.parametrize("has_ecn", [True, False])
def test_a_standing_queue_is_marked_or_dropped_and_counted(has_ecn: bool) -> None:
    """Senders that allow it are told by a mark, and lose nothing; others lose frames."""
    queue = make(settings_for(10**7))
    marked = 0
    for now in range(1000):
        for name in (0, 1):
            queue.enqueue(make_frame(1, name, now=now, has_ecn=has_ecn), now=now)
        while (leaving := queue.dequeue(now=now)) is not None:
            marked += read_frame(leaving).is_marked
    assert (queue.dropped["codel"] == 0) == has_ecn
    assert marked == queue.ecn_marks
    assert (marked > 10) == has_ecn


def test_more_flows_than_there_is_room_for_share_places() -> None:
    """Nothing is lost or out of order, and after a pause flows have their own places again."""
    fast = replace(SETTINGS, limit_packets=10_000, rate_bits=10**9, burst_bytes=10**6)
    queue = make(fast, size=8)
    for name in range(20):
        for flow in range(100):
            queue.enqueue(frame(flow, name, 60), now=0)
    assert 8 < queue.flows <= 16
    names: dict[int, list[int]] = {}
    for _, flow, name in departures(queue):
        names.setdefault(flow, []).append(name)
    assert names == {flow: list(range(20)) for flow in range(100)}
    for flow in range(200, 208):
        queue.enqueue(frame(flow), now=10**6)
    assert queue.flows == 8


@given(seed=st.integers(0, 2**32))
def test_no_flow_is_reordered_as_places_fill_and_clear(seed: int) -> None:
    """Flows come and go through a table of four; each one's frames leave in order."""
    chance = random.Random(seed)
    queue = make(replace(SETTINGS, rate_bits=10**8), size=4)
    last: dict[int, int] = {}
    for name in range(300):
        now = name // 4
        queue.enqueue(frame(chance.randrange(chance.choice([3, 12])), name, 100), now=now)
        for _ in range(chance.choice([0, 1, 3])):
            leaving = queue.dequeue(now=now)
            if leaving is not None:
                sent = read_frame(leaving)
                assert last.get(sent.flow, -1) < sent.sequence
                last[sent.flow] = sent.sequence


def test_delays_are_those_of_frames_on_either_way() -> None:
    """A train weighs as one frame whether it waited or passed."""
    queue = make(replace(SETTINGS, rate_bits=10**9, unit_bytes=20_000, burst_bytes=40_000))
    train = parse_frame(offload(Train(payload_bytes=12 * 1448)))
    queue.passed(1, now=0)
    queue.enqueue(train, now=0)
    assert queue.dequeue(now=5) == train
    assert queue.delay_percentile(50, now=5) == 0
    assert queue.delay_percentile(51, now=5) == 5
