"""What a recording says about the law: rate, burst and smoothness, from times and sizes alone.

A recording is a sequence of (time in nanoseconds, bytes on the wire) in the order of time. The
law is: bytes sent in (t1, t2] <= B + R * (t2 - t1), for every window. It is judged in integers
of one byte-nanosecond-bit, the unit in which bytes, times and rates meet exactly: a byte is
8e9 of them, and a rate of R bit/s refills R a nanosecond.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate

Frame = tuple[int, int]  # time in nanoseconds, bytes on the wire

# Specified by the units.
NS_PER_SECOND = 10**9
BITS_PER_BYTE = 8
UNITS_PER_BYTE = BITS_PER_BYTE * NS_PER_SECOND

# Chosen.
STRETCH_NS = 100_000_000
STRETCH_FRAMES = 10  # that the rate carries in a stretch, at least; slow rates have longer ones


def rate_bits(frames: Sequence[Frame]) -> Fraction:
    """Return the rate between the first frame and the last, in bits per second.

    A frame is timed at its end, so the first only starts the clock: the bytes after it, over the
    time since it. For a link that always had work this is exact, however few the frames; half a
    frame too many at either end, as a count of bytes over a stopwatch has, does not arise.

    Raises:
        ValueError: fewer than two frames, or all of them in one instant, have no rate.

    """
    elapsed_ns = frames[-1][0] - frames[0][0] if frames else 0
    if elapsed_ns <= 0:
        raise ValueError(f"{len(frames)} frames in {elapsed_ns} ns have no rate")
    carried = sum(size for _, size in frames) - frames[0][1]
    return Fraction(carried * UNITS_PER_BYTE, elapsed_ns)


def fitted_rate_bits(frames: Sequence[Frame]) -> float:
    """Return the slope of the straight line that fits the bytes sent so far best.

    Frames leave at ticks, so each is up to a tick late, the first and the last too. A rate taken
    between those two is off by as much as a tick over the time between them: 0.1 % of a second.
    In a line through all frames that averages out.

    Raises:
        ValueError: fewer than two frames, or all of them in one instant, have no rate.

    """
    if len(frames) < 2 or frames[-1][0] <= frames[0][0]:
        raise ValueError(f"{len(frames)} frames have no rate")
    # From the first frame on: a float holds nanoseconds of the epoch to 256 only.
    elapsed_ns = [time_ns - frames[0][0] for time_ns, _ in frames]
    sent_bytes = list(accumulate(size for _, size in frames))
    slope, _ = statistics.linear_regression(elapsed_ns, sent_bytes)
    return slope * BITS_PER_BYTE * NS_PER_SECOND


def error_percent(measured_bits: Fraction, configured_bits: int) -> float:
    """Return by how much a measured rate is above (+) or below (-) the configured one."""
    return float((measured_bits - configured_bits) * 100 / configured_bits)


def since(frames: Sequence[Frame], start_ns: int) -> list[Frame]:
    """Return the frames from `start_ns` on."""
    return [frame for frame in frames if frame[0] >= start_ns]


def burst_bytes(frames: Sequence[Frame], rate_bits: int) -> int:
    """Return the smallest bucket B, in bytes, with which the frames obey the law at a rate.

    The worst window that ends with a frame either begins just before that frame, or is the worst
    window of the frame before it made longer; so one pass finds the worst of all.

    Raises:
        ValueError: the frames are not in the order of time.

    """
    excess = worst = 0  # of what the rate alone would have carried
    previous_ns = frames[0][0] if frames else 0
    for time_ns, size in frames:
        if time_ns < previous_ns:
            raise ValueError(f"a frame at {time_ns} ns follows one at {previous_ns} ns")
        excess = max(0, excess - rate_bits * (time_ns - previous_ns)) + size * UNITS_PER_BYTE
        worst = max(worst, excess)
        previous_ns = time_ns
    return -(-worst // UNITS_PER_BYTE)


def stretch_ns(frames: Sequence[Frame], rate_bits: int) -> int:
    """Return how long a stretch of a recording is, for `stretch_bursts`: whole frames fit in."""
    largest = max(size for _, size in frames)
    return max(STRETCH_NS, -(-STRETCH_FRAMES * largest * UNITS_PER_BYTE // rate_bits))


def stretch_bursts(frames: Sequence[Frame], rate_bits: int, length_ns: int) -> list[int]:
    """Return the smallest bucket that each stretch of a recording obeys, taken by itself.

    A late wake-up shows in the stretch it falls in and in no other, whereas the bucket that the
    whole recording obeys is decided by the latest of all. Stretches that the recording does not
    fill, and those that carried less than half of the rate, are left out: where little was sent
    no burst was possible, and silence is no merit.
    """
    bursts = []
    begin_ns, end_ns = (frames[0][0], frames[-1][0]) if frames else (0, 0)
    for start_ns in range(begin_ns, end_ns - length_ns + 1, length_ns):
        first = bisect_left(frames, (start_ns, 0))
        stretch = frames[first : bisect_left(frames, (start_ns + length_ns, 0))]
        if 2 * UNITS_PER_BYTE * sum(size for _, size in stretch) >= rate_bits * length_ns:
            bursts.append(burst_bytes(stretch, rate_bits))
    return bursts


def _changes(frames: Sequence[Frame], window_ns: int) -> Iterator[Frame]:
    """Yield when the bytes in a sliding window change and by how much, in the order of time."""
    leaving = 0
    for time_ns, size in frames:
        while frames[leaving][0] + window_ns <= time_ns:
            yield frames[leaving][0] + window_ns, -frames[leaving][1]
            leaving += 1
        yield time_ns, size


def share_above(
    frames: Sequence[Frame], rate_bits: int, window_ns: int, limit_percent: int = 105
) -> Fraction:
    """Return the share of time, between first and last frame, in which a window was too full.

    At time t the window holds the bytes in (t - window_ns, t], and is too full if they exceed
    `limit_percent` of what the rate carries in that time. A window in which the rate does not
    carry several frames says more of the frames' size than of the shaper.
    """
    elapsed_ns = frames[-1][0] - frames[0][0] if frames else 0
    if elapsed_ns <= 0:
        return Fraction(0)
    limit = rate_bits * window_ns * limit_percent
    held = above_ns = 0
    previous_ns = frames[0][0]
    for time_ns, change in _changes(frames, window_ns):
        if held * UNITS_PER_BYTE * 100 > limit:
            above_ns += time_ns - previous_ns
        held += change
        previous_ns = time_ns
    return Fraction(above_ns, elapsed_ns)


def first_second_bytes(frames: Sequence[Frame]) -> int:
    """Return the bytes in the second that the first frame begins: what a start-up burst shows."""
    if not frames:
        return 0
    end_ns = frames[0][0] + NS_PER_SECOND
    return sum(size for time_ns, size in frames if time_ns < end_ns)
