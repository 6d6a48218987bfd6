"""The law holds with sparse flows, whatever they owe, however the wake-ups fall."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from shaper.desired.plan import ETHERNET_HEADER_BYTES, make_settings
from shaper.discipline.fq_codel import FqCodel
from shaper.discipline.gate import Gate
from shaper.model import Options, Settings
from shaper.trace import Playback, Trace
from tests.unit.simulation.stamped_frames import make_frame

SECOND = 1_000_000  # ticks
TRACE = Trace((0, 40_000, 50_000, 90_000), (10**7, 0, 10**6, 3 * 10**7), 100_000)


class Step(NamedTuple):
    """What comes after a pause, and how late what leaves then has left."""

    pause_us: int
    lengths: list[tuple[int, int]]  # flows, and how many bytes more than the least
    late_us: int
    is_patient: bool


STEPS = st.lists(
    st.builds(
        Step,
        st.one_of(st.integers(0, 3000), st.sampled_from([0, 1, 120_000])),
        st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0, 38, 500, 9000])), max_size=12),
        st.sampled_from([0, 0, 300, 5000]),
        st.booleans(),
    ),
    min_size=5,
    max_size=60,
)


def departures(
    gate: Gate, steps: list[Step], largest_bytes: int, *, start: int = 0
) -> tuple[list[tuple[int, int]], int]:
    """Return when frames left and how long they were, as paths ask for them; and the last tick."""
    now, left = start, []
    for number, step in enumerate(steps):
        now += step.pause_us
        gate.is_patient = step.is_patient
        frames = [
            make_frame(flow, number, now=number, wire_bytes=min(60 + more, largest_bytes))
            for flow, more in step.lengths
        ]
        gate.enqueue_batch(frames, now=now)
        sent = [frame.wire_bytes for frame in gate.dequeue_batch(now=now, limit=64)]
        while (deadline := gate.deadline()) is not None and deadline <= now:
            more = [frame.wire_bytes for frame in gate.dequeue_batch(now=now, limit=64)]
            assert more, "it would be asked for ever"
            sent += more
        now += step.late_us
        if sent:
            gate.left_late(sum(sent), now=now)
        left += [(now, each) for each in sent]
        deadline = gate.deadline()
        if deadline is not None and not step.is_patient:
            now = max(now, deadline)
    return left, now


def gate_for(settings: Settings) -> Gate:
    """Return a gate of fq_codel."""
    return Gate(FqCodel(settings, now=0, key=b"key"), settings, now=0)


def settings_for(options: Options, mtu: int) -> Settings:
    """Return what a shaper of a device has."""
    settings = make_settings(options, mtu)
    assert settings is not None
    return settings


@given(
    rate_bits=st.sampled_from([64_000, 10**6, 10**7, 10**8]),
    mtu=st.sampled_from([576, 1280, 1500, 9000]),
    surplus_bytes=st.sampled_from([None, 0, 1, 1514, 2000, 3100, 20_000]),
    steps=STEPS,
)
def test_law(rate_bits: int, mtu: int, surplus_bytes: int | None, steps: list[Step]) -> None:
    """Bytes in (t1, t2] <= B + R * (t2 - t1), with any MTU and with the smallest bucket."""
    largest_bytes = mtu + ETHERNET_HEADER_BYTES
    burst_bytes = None if surplus_bytes is None else largest_bytes + surplus_bytes
    options = Options(rate_bits=rate_bits, burst_bytes=burst_bytes)
    settings = settings_for(options, mtu)
    left, _ = departures(gate_for(settings), steps, largest_bytes)
    for first, (start, _) in enumerate(left):
        total = 0
        for now, wire_bytes in left[first:]:
            total += wire_bytes
            earned = settings.rate_bits * (now - start)
            assert total * 8 * SECOND <= settings.burst_bytes * 8 * SECOND + earned


@given(steps=STEPS, surplus_bytes=st.sampled_from([None, 0, 2000]))
def test_law_of_a_trace(steps: list[Step], surplus_bytes: int | None) -> None:
    """Bytes in (t1, t2] <= B + what it offers; and nothing leaves while it offers nothing."""
    playback = Playback(TRACE, 0)
    burst_bytes = None if surplus_bytes is None else 1514 + surplus_bytes
    settings = settings_for(Options(playback=playback, burst_bytes=burst_bytes), 1500)
    in_time = [step._replace(late_us=0) for step in steps]
    left, _ = departures(gate_for(settings), in_time, 1514)
    assert all(TRACE.rate_at(now) for now, _ in left)
    for first, (start, _) in enumerate(left):
        total = 0
        for now, wire_bytes in left[first:]:
            total += wire_bytes
            offered, until_us = TRACE.offered(start, now)
            assert until_us == now
            assert total * 8 * SECOND <= settings.burst_bytes * 8 * SECOND + offered


@given(
    rates=st.lists(st.sampled_from([10**6, 10**7, 10**8]), min_size=2, max_size=2),
    steps=STEPS,
)
def test_law_across_a_change_of_speed(rates: list[int], steps: list[Step]) -> None:
    """What was owed before is owed after: a window has the larger bucket at most."""
    before, after = (settings_for(Options(rate_bits=rate), 1500) for rate in rates)
    gate = gate_for(before)
    in_time = [step._replace(late_us=0) for step in steps]
    half = len(steps) // 2
    left, changed_at = departures(gate, in_time[:half], 1514)
    gate.configure(after, now=changed_at)
    left += departures(gate, in_time[half:], 1514, start=changed_at)[0]
    burst_bytes = max(before.burst_bytes, after.burst_bytes)
    for first, (start, _) in enumerate(left):
        total = 0
        for now, wire_bytes in left[first:]:
            total += wire_bytes
            earned = max(0, min(now, changed_at) - start) * before.rate_bits
            earned += max(0, now - max(start, changed_at)) * after.rate_bits
            assert total * 8 * SECOND <= burst_bytes * 8 * SECOND + earned
