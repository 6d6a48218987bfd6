"""The figures of one measurement, from frames, round trips and counts: arithmetic, nothing asked.

Pure. What a recording says about burst and smoothness is in `bench.lab.law`; here is what a
benchmark needs beyond it.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from bench.lab.law import BITS_PER_BYTE, NS_PER_SECOND, UNITS_PER_BYTE, Frame, burst_bytes

# Specified by Ethernet, IP and TCP.
ETHERNET_BYTES = 14
ETHER_TYPE_IPV4 = b"\x08\x00"
PROTOCOL_TCP = 6
MTU = 1500

# Chosen.
STRETCH_NS = 100_000_000
STRETCH_FRAMES = 10  # that the rate carries in a stretch, at least; slow rates have longer ones


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the values do not exceed.

    Raises:
        ValueError: there are no values, or the percentage is not above 0 and at most 100.

    """
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no percentile {percent:g} of {len(values)} values")
    # Nearest rank: a value that was measured, never one between two of them.
    rank = -int(-len(values) * percent // 100)
    return sorted(values)[rank - 1]


def median(values: Sequence[float | None]) -> float | None:
    """Return the median of what was measured, or None if nothing was."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(value: float | None, base: float | None) -> float | None:
    """Return value / base, or None where either is missing or there is nothing to divide by."""
    return None if value is None or not base else value / base


def difference(value: float | None, base: float | None) -> float | None:
    """Return value - base, or None where either is missing."""
    return None if value is None or base is None else value - base


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


def wire_frames(header: bytes, length: int) -> tuple[int, int]:
    """Return as how many frames, and bytes, something captured crosses a wire.

    A veth passes on whole what a NIC would have cut. Each segment of TCP over IPv4 fills the MTU
    and repeats the headers of the first; anything else is one frame already.

    Args:
        header: its first bytes, up to the fixed part of the TCP header at least.
        length: all of it, link-layer header included.

    """
    is_tcp = header[12:14] == ETHER_TYPE_IPV4 and header[23] == PROTOCOL_TCP
    if length <= ETHERNET_BYTES + MTU or not is_tcp:
        return 1, length
    ip_bytes = (header[14] & 0xF) * 4
    headers = ETHERNET_BYTES + ip_bytes + (header[ETHERNET_BYTES + ip_bytes + 12] >> 4) * 4
    segment_bytes = ETHERNET_BYTES + MTU - headers
    count = -(-(length - headers) // segment_bytes)
    return count, length + (count - 1) * headers


def fairness(shares: Sequence[float]) -> float:
    """Return Jain's index of shares: 1 if all are equal, 1/n if one has everything.

    R. Jain, D. Chiu, W. Hawe: A Quantitative Measure of Fairness (DEC-TR-301, 1984).
    """
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0
