"""The delay histogram reads what a list of the last ten seconds would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shaper.discipline.delay_histogram import EXACT, DelayHistogram, index

SOJOURNS = st.one_of(st.integers(0, 40), st.integers(0, 5000), st.integers(0, 2**23))


def record(delays: DelayHistogram, sojourn: int, *, now: int) -> None:
    """Count a frame, as a discipline does."""
    if now >= delays.turns_at:
        delays.turn(now)
    delays.cells[sojourn if sojourn < EXACT else index(sojourn)] += 1


@given(sojourns=st.lists(SOJOURNS, min_size=1, max_size=200), percent=st.integers(1, 100))
def test_a_percentile_is_right_to_a_sixteenth(sojourns: list[int], percent: int) -> None:
    """Exact up to 31 jiffies; beyond that never more than the truth, and 1/16 less at most."""
    delays = DelayHistogram(ticks_per_second=1000, now=0)
    for now, sojourn in enumerate(sojourns):
        record(delays, sojourn, now=now)
    truth = sorted(sojourns)[-(-len(sojourns) * percent // 100) - 1]
    told = delays.percentile(percent, now=500)
    assert told is not None
    assert told == truth if truth < 32 else truth * 15 / 16 <= told <= truth


@given(
    gaps=st.lists(st.integers(0, 4000), max_size=60),
    ticks_per_second=st.sampled_from([100, 1000]),
    start=st.integers(0, 10**9),
)
def test_only_the_last_ten_seconds_count(
    gaps: list[int], ticks_per_second: int, start: int
) -> None:
    """What left nine seconds ago counts, what left ten ago does not; pauses change nothing."""
    delays = DelayHistogram(ticks_per_second=ticks_per_second, now=start)
    now, seen = start, []
    for sojourn, gap in enumerate(gaps):
        now += gap
        record(delays, sojourn % 32, now=now)
        seen.append((now, sojourn % 32))
        told = delays.percentile(100, now=now)
        assert told is not None
        assert told >= max(each for at, each in seen if at > now - 9 * ticks_per_second)
        assert told <= max(each for at, each in seen if at > now - 10 * ticks_per_second)
    assert delays.percentile(100, now=now + 10 * ticks_per_second) is None


def test_a_wait_without_end_is_still_counted() -> None:
    """What exceeds the last cell is counted there."""
    delays = DelayHistogram(ticks_per_second=1000, now=0)
    record(delays, 2**40, now=0)
    assert (delays.percentile(99, now=1) or 0) >= 2**23


@given(
    gaps=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 31)), min_size=1, max_size=60),
)
def test_the_worst_second_is_the_worst_of_the_last_ten(gaps: list[tuple[int, int]]) -> None:
    """Each second by itself, the current one so far included; a few good ones hide none."""
    delays, now, seconds = DelayHistogram(ticks_per_second=1000, now=0), 0, {0: [0]}
    for gap, sojourn in gaps:
        now += gap
        record(delays, sojourn, now=now)
        seconds.setdefault(now // 1000, []).append(sojourn)
        delays.percentile(50, now=now)
        truth = [
            sorted(each)[-(-len(each) * 99 // 100) - 1]
            for second, each in seconds.items()
            if second > now // 1000 - 10
        ]
        assert delays.worst_second() == max(truth)
    delays.percentile(50, now=now + 10_000)
    assert delays.worst_second() == 0
