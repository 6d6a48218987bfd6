"""CoDel does what the pseudo-code of RFC 8289 does, step by step."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.discipline.codel import PARTS_A_TICK, Codel, Law, Setpoints, setpoints
from shaper.model import Queue, Settings
from shaper.packet.frame import Frame
from tests.unit.oracles.rfc8289 import CodelQueue

FULL = 1514


def settings(rate_bits: int, ticks_per_second: int = 1000, unit_bytes: int = FULL) -> Settings:
    """Return settings of which CoDel reads these three."""
    return Settings(
        rate_bits=rate_bits,
        unit_bytes=unit_bytes,
        burst_bytes=unit_bytes,
        queue=Queue.FIFO,
        limit_packets=1000,
        ticks_per_second=ticks_per_second,
    )


@pytest.mark.parametrize(
    ("rate_bits", "ticks_per_second", "unit_bytes", "expected"),
    [
        (10**9, 1000, 68_130, (5, 100, FULL)),
        (10**7, 1000, FULL, (5, 100, FULL)),
        (10**6, 1000, FULL, (19, 114, FULL)),  # 1.5 frames: 18.2 ms
        (64_000, 1000, FULL, (284, 568, FULL)),  # 283.9 ms, and twice that
        (10**7, 100, FULL, (2, 11, FULL)),  # a tick of 10 ms cannot tell 5 ms
        (10**7, 10_000, FULL, (50, 1000, FULL)),
        (10**9, 1000, 590, (5, 100, 590)),  # a small MTU
    ],
)
def test_setpoints_suit_the_rate(
    rate_bits: int, ticks_per_second: int, unit_bytes: int, expected: tuple[int, int, int]
) -> None:
    """5 ms and 100 ms where they can be met, and otherwise what a frame and a half takes."""
    assert setpoints(settings(rate_bits, ticks_per_second, unit_bytes)) == expected


@given(
    rate_bits=st.integers(8, 10**12),
    ticks_per_second=st.sampled_from([10, 100, 1000, 1024, 100_000]),
    unit_bytes=st.integers(60, 70_000),
)
def test_no_rate_asks_for_what_cannot_be(
    rate_bits: int, ticks_per_second: int, unit_bytes: int
) -> None:
    """The target is never under the time of 1.5 frames, nor over half of the interval."""
    target, interval, _ = setpoints(settings(rate_bits, ticks_per_second, unit_bytes))
    assert target * rate_bits >= 1.5 * unit_bytes * 8 * ticks_per_second
    assert target * 1000 >= 5 * ticks_per_second
    assert interval >= 2 * target
    assert interval * 1000 >= 100 * ticks_per_second


class Bench:
    """A CoDel queue whose frames are names, with what became of them."""

    def __init__(self, points: Setpoints) -> None:
        self.dropped: list[int] = []
        self.marked: list[int] = []
        self.queue = Codel(Law(points, self._drop, self._mark))

    def enqueue(self, name: int, size: int, now: int, can_be_marked: bool = False) -> None:
        """Put a frame of this name at the tail."""
        data = bytes([can_be_marked]) + name.to_bytes(8, "big")
        self.queue.frames.append((Frame(data, size, 1), now))
        self.queue.backlog_bytes += size

    def dequeue(self, now: int) -> int | None:
        """Return the name of the frame that leaves."""
        if not self.queue.frames:
            self.queue.found_empty()
            return None
        return _name(self.queue.dequeue(now))

    def _drop(self, frame: Frame) -> None:
        self.dropped.append(_name(frame))

    def _mark(self, frame: Frame) -> Frame | None:
        if not frame.data[0]:
            return None
        self.marked.append(_name(frame))
        return frame


def _name(frame: Frame) -> int:
    return int.from_bytes(frame.data[1:], "big")


def overload(bench: Bench, jiffies: int, *, can_be_marked: bool = False) -> list[int]:
    """Return when something was dropped or marked, as two frames come and one leaves a jiffy."""
    losses = []
    for now in range(jiffies):
        for name in (2 * now, 2 * now + 1):
            bench.enqueue(name, FULL, now, can_be_marked)
        before = len(bench.dropped) + len(bench.marked)
        bench.dequeue(now)
        losses += [now] * (len(bench.dropped) + len(bench.marked) - before)
    return losses


def test_the_first_drops_come_at_the_times_of_the_control_law() -> None:
    """At 10 the target is passed; then after 100, 100, 100/sqrt(2), 100/sqrt(3) jiffies."""
    losses = overload(Bench(Setpoints(5, 100, FULL)), 500)
    first = next(now for now in range(500) if now - now // 2 >= 5)
    expected, at = [], float(first + 100)
    for count in range(1, 8):
        expected.append(math.ceil(at - 0.01))
        at += 100 / math.sqrt(count)
    assert losses[:7] == expected


def test_a_mark_takes_the_place_of_a_drop() -> None:
    """Where everything can be marked nothing is dropped, and everything leaves in order."""
    dropping, marking = Bench(Setpoints(5, 100, FULL)), Bench(Setpoints(5, 100, FULL))
    times = overload(dropping, 400)
    assert overload(marking, 400, can_be_marked=True)[:5] == times[:5]
    assert marking.dropped == []
    assert dropping.marked == []


def test_what_cannot_be_shorter_is_spared() -> None:
    """With one full frame behind it nothing is dropped, however long it has waited."""
    bench = Bench(Setpoints(5, 100, FULL))
    bench.enqueue(0, FULL, 0)
    for now in range(1000, 9000, 1000):
        bench.enqueue(now, FULL, now - 900)
        bench.dequeue(now)
    assert bench.dropped == []


def test_a_queue_that_stands_again_meets_the_rate_that_got_rid_of_it() -> None:
    """The second time the drops start at the distance at which they had ended, not at 100."""
    bench = Bench(Setpoints(5, 100, FULL))
    overload(bench, 600)
    while bench.queue.frames:
        bench.dequeue(600)
    known = len(bench.dropped)
    losses = []
    for now in range(601, 900):
        for name in (2 * now, 2 * now + 1):
            bench.enqueue(name, FULL, now)
        before = len(bench.dropped)
        bench.dequeue(now)
        losses += [now] * (len(bench.dropped) - before)
    assert known > 5
    assert losses[1] - losses[0] < 50


def test_the_law_is_exact() -> None:
    """For every count the step is interval / sqrt(count) rounded down, and never 0."""
    law = Law(Setpoints(5, 100, FULL), lambda _: None, lambda _: None)
    for count in [*range(1, 3000), 10**6, 10**9]:
        step = law.step(count)
        assert step * step * count <= (100 * PARTS_A_TICK) ** 2 < (step + 1) ** 2 * count
        assert step > 0


STEPS = st.lists(
    st.tuples(
        st.integers(0, 6),  # jiffies that pass
        st.lists(st.tuples(st.integers(40, FULL), st.booleans()), max_size=4),  # what comes
        st.integers(0, 3),  # how often a frame is asked for
    ),
    max_size=120,
)


@given(target=st.integers(1, 6), interval=st.integers(2, 25), steps=STEPS, has_ecn=st.booleans())
def test_step_by_step_as_the_pseudo_code(
    target: int, interval: int, steps: list[tuple[int, list[tuple[int, bool]], int]], has_ecn: bool
) -> None:
    """Whatever comes and whenever it is asked for: the same frames leave, are dropped, marked."""
    bench = Bench(Setpoints(target, interval, FULL))
    oracle = CodelQueue(target, interval, FULL)
    now = name = 0
    for passed, sizes, asked in steps:
        now += passed
        for size, can_be_marked in sizes:
            name += 1
            bench.enqueue(name, size, now, can_be_marked and has_ecn)
            oracle.enqueue(name, size, now, can_be_marked and has_ecn)
        for _ in range(asked):
            leaving = oracle.deque(now)
            assert bench.dequeue(now) == (leaving.name if leaving else None)
            assert bench.dropped == oracle.dropped
            assert bench.marked == oracle.marked
            assert bench.queue.backlog_bytes == oracle.bytes()


@given(
    seed=st.integers(0, 2**32),
    target=st.integers(1, 6),
    interval=st.integers(2, 25),
    has_ecn=st.booleans(),
)
def test_long_overloads_go_as_the_pseudo_code(
    seed: int, target: int, interval: int, has_ecn: bool
) -> None:
    """Deep in the drop state, with many drops in a jiffy, and back from it: the same again."""
    chance = random.Random(seed)
    bench = Bench(Setpoints(target, interval, FULL))
    oracle = CodelQueue(target, interval, FULL)
    for name in range(400):
        now = name // 2
        can_be_marked = has_ecn and chance.random() < 0.3
        if chance.random() < (0.9 if name % 200 < 150 else 0.1):
            bench.enqueue(name, FULL, now, can_be_marked)
            oracle.enqueue(name, FULL, now, can_be_marked)
        if chance.random() < 0.4:
            leaving = oracle.deque(now)
            assert bench.dequeue(now) == (leaving.name if leaving else None)
    assert (bench.dropped, bench.marked) == (oracle.dropped, oracle.marked)
