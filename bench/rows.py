"""Which combinations of rate and traffic are measured, for how long, and which are not and why.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from bench import workload
from bench.lab.flow import FULL_FRAME_BYTES
from bench.workload import UNLIMITED_BITS, Traffic, spell_rate

KBIT, MBIT, GBIT = 10**3, 10**6, 10**9

# Specified by the task.
RATES_BITS = (9600, 64 * KBIT, MBIT, 10 * MBIT, 100 * MBIT, GBIT, 5 * GBIT, UNLIMITED_BITS)
TRAFFIC = (workload.UDP_SMALL, workload.UDP_LARGE, workload.TCP_1, workload.TCP_4)
LATENCY_RATES_BITS = (64 * KBIT, MBIT, 10 * MBIT, 100 * MBIT, GBIT)
LATENCY_TRAFFIC = (workload.TCP_4, workload.TCP_32, workload.FLOOD)
COST_ROW = (UNLIMITED_BITS, workload.UDP_SMALL)  # what a better queue costs is seen here best
IDLE_RATES_BITS = (MBIT, 100 * MBIT)
FAIRNESS_BITS = 10 * MBIT
KERNEL_RATES_BITS = (MBIT, 10 * MBIT, 100 * MBIT)

# Chosen.
SLOW_BITS = MBIT  # up to here a measurement loads nothing and needs time: all at once
WHOLE_BITS = GBIT  # from here on TCP crosses as offload frames: cutting them costs a core
FAST_S = 1.15  # a second of burst, and what is steady of it
SLOW_S = 12.0  # fourteen frames of 1042 bytes at 9600 bit/s
IDLE_S = 0.5  # a hundred pings
FREE_S = 0.8
FLOOD_S = 2.5
FAIRNESS_S = 10.0  # specified
KERNEL_TRAFFIC_S = {
    workload.TCP_4: 1.5,
    workload.TCP_8: 1.5,
    workload.FLOOD: 2.0,
    workload.UDP_LARGE: FAST_S,
}
KERNEL_SLOW_S = 2.5  # one at a time: the one processor has to be free
DELAYED_S = 1.5

# A bucket is credit for the time between two wake-ups: without enough of it a late one costs
# rate, and whatever it holds can leave at once. tbf and the shaper keep the same law, so at equal
# buckets they may do the same; they differ in how late they wake and in what steps they count.
CREDITS_US = (0, 500, 1000, 2000, 3000, 5000, 10_000, 20_000)
TRADE_S = 1.4  # with what setting up and judging take, two seconds a point


@dataclass(frozen=True)
class Row:
    """One row of the table: a rate, and what is sent."""

    rate_bits: int
    traffic: Traffic
    seconds: float = FAST_S

    @property
    def is_together(self) -> bool:
        """Whether it shares the machine with the other slow ones."""
        return self.rate_bits <= SLOW_BITS and self.traffic != workload.IDLE

    @property
    def is_wire(self) -> bool:
        """Whether it is measured frame by frame, on a lane that cuts what is large."""
        return not (self.traffic.is_stream and self.rate_bits >= WHOLE_BITS)

    @property
    def title(self) -> str:
        """What the table calls it."""
        return f"{spell_rate(self.rate_bits)}, {self.traffic.name}"


# What says nothing new, and why; everything else is measured.
SKIPPED = {
    (9600, workload.TCP_4): "each of the flows would get a frame every five seconds",
    (
        GBIT,
        workload.UDP_SMALL,
    ): "two million frames a second are beyond the machine: see unlimited",
    (5 * GBIT, workload.UDP_SMALL): "ten million frames a second: see unlimited",
    (5 * GBIT, workload.UDP_LARGE): "600 000 frames a second: see unlimited",
}
QUICK = {
    (64 * KBIT, workload.UDP_LARGE),
    (64 * KBIT, workload.TCP_1),
    (MBIT, workload.UDP_SMALL),
    (10 * MBIT, workload.UDP_LARGE),
    (10 * MBIT, workload.TCP_4),
    (100 * MBIT, workload.TCP_4),
    (GBIT, workload.TCP_4),
    (5 * GBIT, workload.TCP_4),
    (UNLIMITED_BITS, workload.UDP_SMALL),
    (UNLIMITED_BITS, workload.TCP_1),
}
QUICK_SLOW_S = 5.0


def reasons() -> list[str]:
    """Return what is not measured, and why, a sentence each."""
    return [f"{Row(*row).title}: {reason}" for row, reason in SKIPPED.items()]


def rate_rows(*, is_quick: bool = False) -> list[Row]:
    """Return the rows of the main table."""
    return [
        _timed(*row, is_quick=is_quick)
        for row in product(RATES_BITS, TRAFFIC)
        if row not in SKIPPED and (row in QUICK or not is_quick)
    ]


def latency_rows() -> list[Row]:
    """Return the rows about latency under load, and about what low latency costs."""
    wanted = [*product(LATENCY_RATES_BITS, LATENCY_TRAFFIC), COST_ROW]
    return [_timed(*row, is_quick=False) for row in wanted]


def idle_rows(*, is_quick: bool = False) -> list[Row]:
    """Return the rows about an idle link."""
    rates = IDLE_RATES_BITS[-1:] if is_quick else IDLE_RATES_BITS
    return [Row(rate, workload.IDLE, IDLE_S) for rate in rates]


def kernel_rows() -> list[Row]:
    """Return the rows in which all the kernel's shapers are compared."""
    return [
        Row(rate, traffic, KERNEL_SLOW_S if rate <= SLOW_BITS else seconds)
        for rate in KERNEL_RATES_BITS
        for traffic, seconds in KERNEL_TRAFFIC_S.items()
    ]


def delayed_row() -> Row:
    """Return the row in which those that delay are compared."""
    return Row(KERNEL_RATES_BITS[-1], workload.DELAYED, DELAYED_S)


def trade_rows() -> list[Row]:
    """Return the rows in which buckets are compared, tbf's and the shaper's."""
    return [
        Row(10 * MBIT, workload.TCP_4, TRADE_S),
        Row(100 * MBIT, workload.TCP_4, TRADE_S),
        Row(100 * MBIT, workload.UDP_LARGE, TRADE_S),
        Row(GBIT, workload.TCP_4, TRADE_S),
    ]


def bucket_bytes(rate_bits: int, credit_us: int) -> int:
    """Return the bucket with a time of the rate beyond two full frames."""
    return 2 * FULL_FRAME_BYTES + rate_bits * credit_us // 8_000_000


def _timed(rate_bits: int, traffic: Traffic, *, is_quick: bool) -> Row:
    seconds = FLOOD_S if traffic == workload.FLOOD else FAST_S
    if rate_bits <= SLOW_BITS:
        seconds = QUICK_SLOW_S if is_quick else SLOW_S
    elif rate_bits == UNLIMITED_BITS:
        seconds = FREE_S
    return Row(rate_bits, traffic, seconds)
