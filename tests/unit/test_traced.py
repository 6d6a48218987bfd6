"""What leaves under a trace is what the trace offers, window by window."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from shaper.discipline.traced import make_bucket
from shaper.model import Queue, Settings
from shaper.packet.frame import Frame
from shaper.trace import Playback, Trace
from tests.unit.gates import fifo

FRAME_BYTES = 1514
MS = 1000  # ticks
SECOND = 1_000_000
BEGAN = 5 * SECOND
HOUR = 3600 * SECOND
FRAME = Frame(bytes(60), FRAME_BYTES, 1)


def settings_of(trace: Trace, surplus_bytes: int = 5000) -> Settings:
    """Return settings that follow a trace."""
    return Settings(
        rate_bits=trace.mean_bits,
        unit_bytes=FRAME_BYTES,
        burst_bytes=FRAME_BYTES + surplus_bytes,
        queue=Queue.FIFO,
        limit_packets=100_000,
        ticks_per_second=SECOND,
        playback=Playback(trace, BEGAN),
    )


def offered_bytes(trace: Trace, start: int, end: int) -> int:
    """Return what a trace offers between two ticks."""
    offered, _ = trace.offered(start - BEGAN, end - BEGAN)
    return offered // SECOND // 8


def departures(trace: Trace, until: int) -> list[int]:
    """Return when frames leave that have all waited from the beginning, to the tick."""
    gate = fifo(settings_of(trace), now=BEGAN)
    gate.enqueue_batch([FRAME] * 2000, now=BEGAN)
    left: list[int] = []
    now = BEGAN
    while now < until:
        left += [now] * len(gate.dequeue_batch(now=now, limit=64))
        deadline = gate.deadline()
        assert deadline is not None
        now = max(now + 1, deadline)
    return left


RATES = st.lists(
    st.tuples(st.integers(1, 300), st.sampled_from([0, 200_000, 2_000_000, 20_000_000])),
    min_size=2,
    max_size=12,
).filter(lambda steps: any(rate for _, rate in steps))


@given(RATES, st.integers(0, 900))
def test_every_window_has_what_the_trace_offers(steps: list[tuple[int, int]], start: int) -> None:
    """To within one frame, in windows of 100 ms, where wake-ups come on time."""
    starts = [0]
    for length_ms, _ in steps:
        starts.append(starts[-1] + length_ms * MS)
    trace = Trace(tuple(starts[:-1]), tuple(rate for _, rate in steps), starts[-1])
    begin, end = BEGAN + start * MS, BEGAN + (start + 100) * MS
    left = departures(trace, end)
    received = sum(FRAME_BYTES for at in left if begin < at <= end)
    assert abs(received - offered_bytes(trace, begin, end)) <= FRAME_BYTES


def test_steps_of_a_millisecond_lose_nothing_to_late_wake_ups() -> None:
    """Credit passes from step to step, as far as the bucket has room."""
    trace = Trace((0, MS), (0, 20_000_000), 2 * MS)
    gate = fifo(settings_of(trace), now=BEGAN)
    gate.enqueue_batch([FRAME] * 2000, now=BEGAN)
    received = 0
    for now in range(BEGAN, BEGAN + SECOND, 700):  # in no step with those of the trace
        received += FRAME_BYTES * len(gate.dequeue_batch(now=now, limit=64))
    assert abs(received - 10_000_000 // 8) <= 2 * FRAME_BYTES + 2500


def test_nothing_leaves_in_a_gap_and_nothing_spins() -> None:
    """Not even the frame that the bucket would let pass; the next look is at its end."""
    gate = fifo(settings_of(Trace((0, SECOND), (8_000_000, 0), 3 * SECOND)), now=BEGAN)
    in_gap = BEGAN + SECOND + 10
    assert not gate.admit(FRAME_BYTES, FRAME_BYTES, in_gap, has_waited=False)
    gate.enqueue_batch([FRAME], now=in_gap)
    assert gate.dequeue_batch(now=in_gap, limit=64) == []
    assert gate.deadline() == BEGAN + 3 * SECOND
    assert len(gate.dequeue_batch(now=BEGAN + 3 * SECOND, limit=64)) == 1


def test_one_that_ends_with_nothing_is_looked_at_once_an_hour() -> None:
    """It offers nothing any more, and says so."""
    gate = fifo(settings_of(Trace((0, SECOND), (8_000_000, 0), 2 * SECOND, False)), now=BEGAN)
    gate.enqueue_batch([FRAME], now=BEGAN + 9 * SECOND)
    assert gate.dequeue_batch(now=BEGAN + 9 * SECOND, limit=64) == []
    assert gate.deadline() == BEGAN + 9 * SECOND + HOUR


def test_a_pause_of_a_day_saves_nothing_up_and_takes_no_time() -> None:
    """However many steps there were in it."""
    trace = Trace(tuple(range(0, SECOND, MS)), (8_000_000, 16_000_000) * 500, SECOND)
    bucket = make_bucket(settings_of(trace), now=BEGAN)
    bucket.charge(FRAME_BYTES)
    began = time.thread_time()
    bucket.rest(BEGAN + 24 * HOUR)
    assert bucket.budget_bytes == 0
    bucket.accrue(BEGAN + 48 * HOUR)
    assert bucket.budget_bytes == 5000
    assert time.thread_time() - began < 0.5


def test_debts_pass_from_a_speed_to_a_trace_and_back() -> None:
    """A change grants no burst."""
    trace = Trace((0,), (8_000_000,), SECOND)
    traced = settings_of(trace)
    constant = Settings(8_000_000, FRAME_BYTES, 6514, Queue.FIFO, 1000, SECOND)
    gate = fifo(constant, now=BEGAN)
    assert gate.admit(8 * FRAME_BYTES, FRAME_BYTES, BEGAN, has_waited=False) is False
    assert gate.admit(FRAME_BYTES, FRAME_BYTES, BEGAN, has_waited=False)
    gate.configure(traced, now=BEGAN)
    assert gate.opens_at() == BEGAN + FRAME_BYTES
    gate.configure(constant, now=BEGAN)
    assert gate.opens_at() == BEGAN + FRAME_BYTES
