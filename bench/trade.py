"""Accuracy against smoothness: what a bucket of tbf and one of the shaper buy, at equal size.

Pure. A bucket is credit for the time between two wake-ups: without enough of it a late one costs
rate, and whatever it holds can leave at once. Both keep the same law,

    bytes(t1, t2] <= bucket + rate * (t2 - t1),

so at equal buckets they may do the same, and what differs is how late they wake and in what steps
they count. Buckets are two full frames and a time of the rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench import workload
from bench.results import Measurement
from bench.rows import GBIT, MBIT, Row
from bench.shapers import FULL_FRAME_BYTES
from bench.verdict import SHAPER

# Chosen.
CREDITS_US = (0, 500, 1000, 2000, 3000, 5000, 10_000, 20_000)
TRADE_S = 1.4  # with what setting up and judging take, two seconds a point
ROWS = tuple(
    Row(rate_bits, traffic, TRADE_S)
    for rate_bits, traffic in (
        (10 * MBIT, workload.TCP_4),
        (100 * MBIT, workload.TCP_4),
        (100 * MBIT, workload.UDP_LARGE),
        (GBIT, workload.TCP_4),
    )
)


@dataclass(frozen=True)
class Point:
    """What one bucket gave.

    Attributes:
        shaper, rate_bits, traffic: whose, and with what.
        credit_us: the time of the rate that the bucket holds beyond two full frames.
        bucket_bytes: the bucket.
        steal_percent, error_percent, burst_bytes, typical_burst_bytes: as in `Measurement`; no
            burst is typical where less than half of the rate was kept.

    """

    shaper: str
    rate_bits: int
    traffic: str
    credit_us: int
    bucket_bytes: int
    steal_percent: float
    error_percent: float
    burst_bytes: int
    typical_burst_bytes: float | None

    @property
    def row(self) -> tuple[int, str]:
        """What it may be compared in."""
        return self.rate_bits, self.traffic


def bucket_bytes(rate_bits: int, credit_us: int) -> int:
    """Return the bucket with a time of the rate beyond two full frames."""
    return 2 * FULL_FRAME_BYTES + rate_bits * credit_us // 8_000_000


def point(seen: Measurement, credit_us: int) -> Point | None:
    """Return what a measurement adds to the trade, or None if it told too little."""
    if seen.error_percent is None or seen.burst_bytes is None:
        return None
    return Point(
        shaper=seen.shaper,
        rate_bits=seen.rate_bits,
        traffic=seen.traffic,
        credit_us=credit_us,
        bucket_bytes=bucket_bytes(seen.rate_bits, credit_us),
        steal_percent=seen.steal_percent,
        error_percent=seen.error_percent,
        burst_bytes=seen.burst_bytes,
        typical_burst_bytes=seen.typical_burst_bytes,
    )


def read(kept: Iterable[dict[str, Any]]) -> list[Point]:
    """Return the points that a file of results holds."""
    return [Point(**each) for each in kept]


def curves(points: Sequence[Point]) -> dict[tuple[int, str], dict[str, list[Point]]]:
    """Return the points by row and who has them, the shaper last, from small buckets to large."""
    found: dict[tuple[int, str], dict[str, list[Point]]] = {}
    for each in sorted(points, key=lambda p: (p.row, p.shaper == SHAPER, p.bucket_bytes)):
        found.setdefault(each.row, {}).setdefault(each.shaper, []).append(each)
    return found
