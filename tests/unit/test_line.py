"""The emulated link: order is kept, chance is as it was asked for, and repeatable."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import sqrt
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.discipline.line import Line
from shaper.line_options import (
    FRAME_OVERHEAD_BYTES,
    MOST_LINE_BYTES,
    PER_BILLION,
    Delay,
    Distribution,
    GilbertElliott,
    LineOptions,
    LossPattern,
    RandomLoss,
)
from shaper.packet.frame import Frame, parse_frame
from tests.unit.strategies import Train, offload

MILLISECOND = 1_000_000
PERCENT = PER_BILLION // 100
NO_LIMIT = 1 << 40
KOLMOGOROV_1_PERCENT = 1.628  # of the distance times the square root of the number
FRAMES = 50_000


def numbered(number: int) -> Frame:
    """Return a frame that can be told from others."""
    return Frame(bytes(10) + number.to_bytes(54, "big"), 54, 1)


def number_of(frame: Frame) -> int:
    """Return what it is numbered."""
    return int.from_bytes(frame.data[10:64], "big")


def passed(options: LineOptions, count: int, every_ns: int = MILLISECOND) -> list[tuple[int, int]]:
    """Send numbered frames at a steady pace; return number and delay of each that arrives."""
    line = Line(options, NO_LIMIT)
    arrived = []
    for number in range(count):
        now_ns = number * every_ns
        while (leaves_ns := line.next_ns()) is not None and leaves_ns <= now_ns:
            arrived += [(number_of(each), leaves_ns) for each in line.leave(leaves_ns)]
        ahead = line.enter([numbered(number)], now_ns)
        arrived += [(number_of(each), now_ns) for each in ahead]
    while (leaves_ns := line.next_ns()) is not None:
        arrived += [(number_of(each), leaves_ns) for each in line.leave(leaves_ns)]
    assert line.backlog_bytes == line.backlog_packets == 0
    return [(number, leaves_ns - number * every_ns) for number, leaves_ns in arrived]


def lost_share(options: LineOptions, count: int = FRAMES) -> tuple[float, list[bool]]:
    """Return the share of frames that are lost, and the fate of each."""
    arrived = {number for number, _ in passed(options, count)}
    fates = [number not in arrived for number in range(count)]
    return sum(fates) / count, fates


def runs(fates: Sequence[bool]) -> list[int]:
    """Return the lengths of the runs of losses."""
    found, length = [], 0
    for is_lost in fates:
        if is_lost:
            length += 1
        elif length:
            found.append(length)
            length = 0
    return found


def test_a_fixed_delay_is_exact() -> None:
    """Every frame takes it, in order, and an offload frame stays whole."""
    options = LineOptions(Delay(20 * MILLISECOND))
    assert passed(options, 100) == [(number, 20 * MILLISECOND) for number in range(100)]
    line = Line(options, NO_LIMIT)
    train = parse_frame(offload(Train()))
    line.enter([train], 0)
    assert line.leave(20 * MILLISECOND - 1) == []
    assert line.leave(20 * MILLISECOND) == [train]


@pytest.mark.parametrize(
    ("distribution", "cumulative"),
    [
        (Distribution.NORMAL, NormalDist(100.0, 10.0).cdf),
        (Distribution.UNIFORM, lambda value: min(max((value - 90.0) / 20.0, 0.0), 1.0)),
        (
            Distribution.PARETO,
            lambda value: 1.0 - max(1.0, (value - 100.0) / 10.0 * sqrt(0.75) + 1.5) ** -3.0,
        ),
    ],
)
def test_jitter_is_distributed_as_asked_for(
    distribution: Distribution, cumulative: object
) -> None:
    """Frames far apart: Kolmogorov and Smirnov cannot tell them from it at 1 %."""
    delay = Delay(100 * MILLISECOND, 10 * MILLISECOND, distribution)
    delays = [took for _, took in passed(LineOptions(delay), 20_000, 10**12)]
    assert distance(delays, cumulative) < KOLMOGOROV_1_PERCENT / sqrt(len(delays))


def distance(delays: Sequence[int], cumulative: object) -> float:
    """Return the largest distance of delays, in nanoseconds, from a distribution in ms."""
    assert callable(cumulative)
    count = len(delays)
    worst = 0.0
    for rank, took in enumerate(sorted(delays)):
        expected = cumulative(took / MILLISECOND)
        worst = max(worst, abs(expected - rank / count), abs(expected - (rank + 1) / count))
    return worst


def test_a_table_is_followed() -> None:
    """Each entry is as likely as the others, in 8192ths of the jitter."""
    delay = Delay(50 * MILLISECOND, 8192, Distribution.TABLE, table=(-3, 0, 5, 7))
    count = Counter(
        took - 50 * MILLISECOND for _, took in passed(LineOptions(delay), 20_000, 10**12)
    )
    assert set(count) == {-3, 0, 5, 7}
    assert all(abs(each - 5000) < 4 * sqrt(20_000 * 0.25 * 0.75) for each in count.values())


def test_correlated_jitter_has_the_correlation_and_the_spread() -> None:
    """Neighbours are alike; the spread is the one asked for."""
    delay = Delay(100 * MILLISECOND, 10 * MILLISECOND, Distribution.NORMAL, 50 * PERCENT)
    delays = [took / MILLISECOND - 100 for _, took in passed(LineOptions(delay), FRAMES, 10**12)]
    spread = sum(each * each for each in delays) / FRAMES
    together = sum(a * b for a, b in pairwise(delays)) / FRAMES
    assert spread == pytest.approx(100.0, rel=0.03)
    assert together / spread == pytest.approx(0.5, abs=0.02)


@given(
    jitter_ns=st.integers(1, 50 * MILLISECOND),
    every_ns=st.integers(1, 20 * MILLISECOND),
    seed=st.integers(0, 1 << 30),
)
def test_order_is_kept_whatever_the_jitter(jitter_ns: int, every_ns: int, seed: int) -> None:
    """And no frame is faster than the delay allows, none lost."""
    options = LineOptions(Delay(20 * MILLISECOND, jitter_ns), seed=seed)
    assert [number for number, _ in passed(options, 50, every_ns)] == list(range(50))


@pytest.mark.parametrize("loss", [PER_BILLION // 1000, PERCENT, 10 * PERCENT])
@pytest.mark.parametrize("correlation", [0, 25 * PERCENT])
def test_loss_is_as_asked_for(loss: int, correlation: int) -> None:
    """Within three deviations; correlation moves losses together and makes no more of them."""
    share, fates = lost_share(LineOptions(loss=RandomLoss(loss, correlation)))
    wanted, c = loss / PER_BILLION, correlation / PER_BILLION
    deviation = sqrt(wanted * (1 - wanted) / FRAMES * (1 + c) / (1 - c))
    assert abs(share - wanted) < 3 * deviation
    after_loss = [after for before, after in pairwise(fates) if before]
    expected = wanted + c * (1 - wanted)
    allowed = 3 * sqrt(expected * (1 - expected) / len(after_loss)) + 1e-9
    assert abs(sum(after_loss) / len(after_loss) - expected) < allowed


def test_gilbert_elliott_loses_in_bursts() -> None:
    """Rate, mean length and distribution of bursts are those of the chain."""
    model = GilbertElliott(to_bad=2 * PERCENT, to_good=25 * PERCENT)
    share, fates = lost_share(LineOptions(loss=model), 200_000)
    bursts = runs(fates)
    # Of a chain with loss in the bad state alone: p / (p + r), and geometric lengths of mean 1/r.
    assert share == pytest.approx(0.02 / 0.27, abs=3 * sqrt(0.0741 * 0.926 / 200_000 * 6.5))
    mean = sum(bursts) / len(bursts)
    assert abs(mean - 4.0) < 3 * sqrt(12.0 / len(bursts))
    for length in (1, 2, 3, 8):
        expected = 0.25 * 0.75 ** (length - 1)
        found = bursts.count(length) / len(bursts)
        assert abs(found - expected) < 3 * sqrt(expected * (1 - expected) / len(bursts))


def test_gilbert_elliott_with_losses_in_both_states() -> None:
    """The share is the mean of both, weighted by how long each lasts."""
    model = GilbertElliott(10 * PERCENT, 30 * PERCENT, 50 * PERCENT, 4 * PERCENT)
    share, _ = lost_share(LineOptions(loss=model), 200_000)
    assert share == pytest.approx(0.75 * 0.04 + 0.25 * 0.5, abs=0.005)


def test_a_pattern_is_followed_frame_by_frame() -> None:
    """And begun again."""
    pattern = LossPattern(b"\0\1\0")
    arrived = [number for number, _ in passed(LineOptions(loss=pattern), 9)]
    assert arrived == [0, 2, 3, 5, 6, 8]


def test_duplicates_follow_their_originals_and_are_counted() -> None:
    """As many as were asked for."""
    options = LineOptions(Delay(MILLISECOND), duplicate=10 * PERCENT)
    line = Line(options, NO_LIMIT)
    line.enter([numbered(number) for number in range(FRAMES)], 0)
    arrived = [number_of(frame) for frame in line.leave(MILLISECOND)]
    assert arrived == sorted(arrived)
    assert len(arrived) == FRAMES + line.altered["duplicated"]
    assert line.altered["duplicated"] == pytest.approx(FRAMES / 10, abs=3 * sqrt(FRAMES * 0.09))


def test_only_reorder_reorders() -> None:
    """Every fifth frame may overtake, and does with its probability; none is lost."""
    options = LineOptions(Delay(10 * MILLISECOND), reorder=50 * PERCENT, reorder_gap=5)
    arrived = passed(options, 10_000)
    ahead = [number for number, took in arrived if took == 0]
    assert sorted(number for number, _ in arrived) == list(range(10_000))
    assert all(later - former >= 5 for former, later in pairwise(ahead))
    # A wait of five frames, and of one more for each time that it does not happen.
    assert len(ahead) == pytest.approx(10_000 / 6, rel=0.05)


def test_an_offload_frame_is_cut_before_it_meets_chance() -> None:
    """Single segments are lost, not whole trains."""
    line = Line(LineOptions(loss=RandomLoss(50 * PERCENT)), NO_LIMIT)
    train = parse_frame(offload(Train(payload_bytes=30_000)))
    line.enter([train], 0)
    arrived = line.leave(0)
    assert 0 < len(arrived) < train.packets
    assert {frame.packets for frame in arrived} == {1}
    assert line.dropped["loss"] + len(arrived) == train.packets


def test_what_exceeds_the_limit_is_counted() -> None:
    """Nothing is lost in silence, and what was under way stays."""
    line = Line(LineOptions(Delay(MILLISECOND)), 10 * (64 + FRAME_OVERHEAD_BYTES))
    line.enter([numbered(number) for number in range(15)], 0)
    assert line.dropped["line"] == 5
    assert [number_of(frame) for frame in line.leave(MILLISECOND)] == list(range(10))


def test_the_limit_follows_rate_and_delay() -> None:
    """100 ms at 1 Gbit/s are 12.5 MB, and must fit."""
    options = LineOptions(Delay(100 * MILLISECOND))
    assert 12_500_000 < options.needed_bytes(10**9) < 60_000_000
    assert LineOptions(Delay(MILLISECOND)).limit_bytes(64_000) == 1 << 18


def test_the_smallest_frames_of_a_full_rate_fit_and_memory_is_bounded() -> None:
    """The limit counts what a frame takes of memory, not only what it has of data."""
    options = LineOptions(Delay(100 * MILLISECOND))
    line = Line(options, options.limit_bytes(10**8))
    line.enter([numbered(number) for number in range(10**8 // 8 // 10 // 64)], 0)
    assert line.dropped["line"] == 0
    tracemalloc.start()
    for number in range(20_000):
        line.enter([numbered(number)], 0)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 20_000 * (64 + FRAME_OVERHEAD_BYTES) * 1.1
    assert options.limit_bytes(10**12) == MOST_LINE_BYTES


def test_what_is_not_changed_goes_on() -> None:
    """Another delay does not draw the losses from their beginning again; another seed does."""
    options = LineOptions(loss=RandomLoss(50 * PERCENT), seed=1)
    whole, changed, reseeded = (Line(options, NO_LIMIT) for _ in range(3))
    fates = []
    for line in (whole, changed, reseeded):
        line.enter([numbered(number) for number in range(50)], 0)
    changed.configure(replace(options, delay=Delay(MILLISECOND)), NO_LIMIT)
    reseeded.configure(replace(options, seed=2), NO_LIMIT)
    for line in (whole, changed, reseeded):
        line.enter([numbered(number) for number in range(50, 150)], 0)
        fates.append([number_of(frame) for frame in line.leave(MILLISECOND)])
    assert fates[0] == fates[1] != fates[2]


def test_a_change_of_delay_neither_loses_nor_reorders() -> None:
    """Frames that enter after it wait for those before; what is under way keeps its time."""
    line = Line(LineOptions(Delay(100 * MILLISECOND)), NO_LIMIT)
    line.enter([numbered(0)], 0)
    line.configure(LineOptions(Delay(MILLISECOND)), NO_LIMIT)
    line.enter([numbered(1)], 10 * MILLISECOND)
    assert line.leave(99 * MILLISECOND) == []
    assert [number_of(frame) for frame in line.leave(100 * MILLISECOND)] == [0, 1]


def test_the_same_seed_is_the_same_fate_and_keys_do_not_shift_each_other() -> None:
    """Bit for bit; and a corruption that is added changes no loss."""
    options = LineOptions(
        Delay(20 * MILLISECOND, 5 * MILLISECOND),
        RandomLoss(10 * PERCENT),
        duplicate=PERCENT,
        reorder=PERCENT,
        seed=7,
    )
    first = passed(options, 2000)
    assert passed(options, 2000) == first
    assert passed(replace(options, seed=8), 2000) != first
    losses = lost_share(LineOptions(loss=RandomLoss(10 * PERCENT), seed=7), 2000)[1]
    with_more = lost_share(
        LineOptions(loss=RandomLoss(10 * PERCENT), duplicate=PERCENT, seed=7), 2000
    )[1]
    assert losses == with_more


def test_drain_gives_everything_back() -> None:
    """In order, for whoever flushes or takes over."""
    line = Line(LineOptions(Delay(MILLISECOND)), NO_LIMIT)
    line.enter([numbered(0), numbered(1)], 0)
    assert [number_of(frame) for frame in line.drain()] == [0, 1]
    assert line.next_ns() is None
    assert line.backlog_bytes == 0
