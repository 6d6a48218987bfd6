"""The ruler's arithmetic: literal recordings, and a slow oracle that tries every window."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.lab.law import (
    Frame,
    burst_bytes,
    error_percent,
    first_second_bytes,
    rate_bits,
    share_above,
    since,
)

MS = 1_000_000  # nanoseconds
SECOND = 1_000_000_000

# Eight thousand bits a second, in frames of 100 bytes: one each 100 ms.
EVEN: list[Frame] = [(n * 100 * MS, 100) for n in range(21)]


@st.composite
def recordings(draw: st.DrawFn) -> list[Frame]:
    """Draw recordings with frames in one instant, long gaps, and times far from zero."""
    gaps = draw(st.lists(st.sampled_from([0, 1, 999, MS, 7 * MS, 90 * MS]), max_size=25))
    sizes = draw(st.lists(st.integers(1, 70_000), min_size=len(gaps), max_size=len(gaps)))
    now = draw(st.sampled_from([0, 1_700_000_000 * SECOND]))
    frames = []
    for gap, size in zip(gaps, sizes, strict=True):
        now += gap
        frames.append((now, size))
    return frames


def test_rate_counts_the_bytes_after_the_first_frame() -> None:
    """Twenty frames of 100 bytes in two seconds are 8000 bit/s; the first starts the clock."""
    assert rate_bits(EVEN) == 8000


def test_rate_does_not_depend_on_the_size_of_the_first_frame() -> None:
    """What the first frame carried was sent before the time that is measured."""
    assert rate_bits([(0, 1), (SECOND, 1000)]) == rate_bits([(0, 9999), (SECOND, 1000)]) == 8000


@pytest.mark.parametrize("frames", [[], [(5, 100)], [(5, 100), (5, 100)]])
def test_no_rate_without_elapsed_time(frames: list[Frame]) -> None:
    """A recording in which no time passes is refused, not divided by zero."""
    with pytest.raises(ValueError, match="have no rate"):
        rate_bits(frames)


@pytest.mark.parametrize(
    ("measured", "configured", "percent"),
    [(Fraction(64_000), 64_000, 0.0), (Fraction(990), 1000, -1.0), (Fraction(1025), 1000, 2.5)],
)
def test_error_is_signed_and_relative_to_the_configured_rate(
    measured: Fraction, configured: int, percent: float
) -> None:
    """Too fast is positive, too slow negative, in percent of what was asked for."""
    assert error_percent(measured, configured) == percent


@pytest.mark.parametrize(
    ("frames", "rate", "bucket"),
    [
        ([], 8000, 0),
        ([(0, 100)], 8000, 100),
        (EVEN, 8000, 100),
        ([(0, 100), (0, 100)], 8000, 200),
        # The second frame is 50 ms early: half a frame had to be in the bucket.
        ([(0, 100), (50 * MS, 100)], 8000, 150),
        # A pause earns nothing beyond the bucket: the burst is that of the end alone.
        ([(0, 100), (10 * SECOND, 100), (10 * SECOND, 100)], 8000, 200),
        # One nanosecond early is a byte more, for a bucket is whole bytes.
        ([(0, 100), (100 * MS - 1, 100)], 8000, 101),
        (EVEN, 4000, 1100),
    ],
)
def test_burst_of_literal_recordings(frames: list[Frame], rate: int, bucket: int) -> None:
    """The bucket is the least with which no window holds too much."""
    assert burst_bytes(frames, rate) == bucket


def test_burst_refuses_time_that_runs_backwards() -> None:
    """A recording out of order would hide a burst, so it is refused."""
    with pytest.raises(ValueError, match="follows one at 10 ns"):
        burst_bytes([(10, 1), (9, 1)], 8000)


def every_window(frames: list[Frame], rate: int) -> int:
    """Find the bucket as the law is written: for each window, bytes less what the rate gives."""
    needs = [Fraction(0)]
    for first in range(len(frames)):
        for last in range(first, len(frames)):
            held = sum(size for _, size in frames[first : last + 1])
            elapsed_ns = frames[last][0] - frames[first][0]
            needs.append(held - Fraction(rate * elapsed_ns, 8 * SECOND))
    worst = max(needs)
    return -(-worst.numerator // worst.denominator)


@given(recordings(), st.integers(8, 10**11))
def test_burst_equals_the_oracle(frames: list[Frame], rate: int) -> None:
    """One pass finds the same bucket as trying every window."""
    assert burst_bytes(frames, rate) == every_window(frames, rate)


def test_an_even_stream_is_never_above_its_rate() -> None:
    """Ten frames in each second, in a window of a second, are exactly the rate."""
    assert share_above(EVEN, 8000, SECOND) == 0


def test_a_doubled_rate_is_above_it_once_the_window_is_filled() -> None:
    """Measured against half its rate, an even stream exceeds 105 % from the sixth frame on."""
    assert share_above(EVEN, 4000, SECOND) == Fraction(1500, 2000)


def test_above_means_more_than_the_limit() -> None:
    """A window at exactly 105 % is not above it; one byte more is."""
    assert share_above([(0, 1050), (SECOND, 1)], 8000, SECOND) == 0
    assert share_above([(0, 1051), (SECOND, 1)], 8000, SECOND) == 1


def test_no_time_is_no_share() -> None:
    """A recording in which no time passes was above nothing."""
    assert share_above([], 8000, SECOND) == share_above([(3, 9000)], 8000, SECOND) == 0


def each_nanosecond_span(frames: list[Frame], rate: int, window_ns: int) -> Fraction:
    """Find the share by asking, between any two moments of change, what the window holds."""
    first, last = frames[0][0], frames[-1][0]
    moments = {moment for at, _ in frames for moment in (at, at + window_ns)}
    inside = sorted(moment for moment in moments if first <= moment <= last)
    above_ns = 0
    for start, end in pairwise(inside):
        held = sum(size for at, size in frames if start - window_ns < at <= start)
        if Fraction(held) > Fraction(rate * window_ns * 105, 100 * 8 * SECOND):
            above_ns += end - start
    return Fraction(above_ns, last - first)


@given(
    recordings().filter(lambda frames: len(frames) > 1 and frames[-1][0] > frames[0][0]),
    st.integers(8, 10**9),
    st.sampled_from([MS, 10 * MS, 100 * MS]),
)
def test_share_above_equals_the_oracle(frames: list[Frame], rate: int, window_ns: int) -> None:
    """The sliding window agrees with looking into every window there is."""
    expected = each_nanosecond_span(frames, rate, window_ns)
    assert share_above(frames, rate, window_ns) == expected


def test_first_second_is_half_open() -> None:
    """A frame a full second after the first belongs to the second second."""
    assert first_second_bytes(EVEN) == 1000
    assert first_second_bytes([]) == 0


def test_since_keeps_the_frame_at_the_start() -> None:
    """Cutting off the warm-up keeps the frame that begins what is left."""
    assert since(EVEN, 1900 * MS) == EVEN[19:]
