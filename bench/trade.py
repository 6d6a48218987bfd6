"""Accuracy against smoothness: what a bucket of tbf and one of the shaper buy, at equal size.

Pure. A bucket is credit for the time between two wake-ups: without enough of it a late one costs
rate, and whatever it holds can leave at once. Both keep the same law,

    bytes(t1, t2] <= bucket + rate * (t2 - t1),

so at equal buckets they may do the same, and what differs is how late they wake and in what steps
they count. Buckets are two full frames and a time of the rate.
"""

from __future__ import annotations

from typing import Any

from bench import workload
from bench.lab.flow import FULL_FRAME_BYTES
from bench.results import Measurement
from bench.rows import GBIT, MBIT, Row

# Chosen.
CREDITS_US = (0, 500, 1000, 2000, 3000, 5000, 10_000, 20_000)
TRADE_S = 1.4  # with what setting up and judging take, two seconds a point
ROWS = (
    Row(10 * MBIT, workload.TCP_4, TRADE_S),
    Row(100 * MBIT, workload.TCP_4, TRADE_S),
    Row(100 * MBIT, workload.UDP_LARGE, TRADE_S),
    Row(GBIT, workload.TCP_4, TRADE_S),
)
CELL = ("shaper", "rate_bits", "traffic")
FIGURES = ("steal_percent", "error_percent", "burst_bytes", "typical_burst_bytes")


def bucket_bytes(rate_bits: int, credit_us: int) -> int:
    """Return the bucket with a time of the rate beyond two full frames."""
    return 2 * FULL_FRAME_BYTES + rate_bits * credit_us // 8_000_000


def point(seen: Measurement, credit_us: int) -> dict[str, Any] | None:
    """Return what a measurement adds to the trade, or None if it told too little.

    No burst is typical where less than half of the rate was kept.

    Args:
        seen: a measurement.
        credit_us: the time of the rate that the bucket held beyond two full frames.

    """
    if seen.error_percent is None or seen.burst_bytes is None:
        return None
    return {
        **{name: getattr(seen, name) for name in CELL},
        "credit_us": credit_us,
        "bucket_bytes": bucket_bytes(seen.rate_bits, credit_us),
        **{name: getattr(seen, name) for name in FIGURES},
    }
