"""A flow that responds keeps the queue at the target, whatever the rate."""

from __future__ import annotations

from statistics import median

import pytest

from shaper.discipline.codel import setpoints
from tests.unit.gates import fifo, fq_codel
from tests.unit.simulation.bottleneck import Arrival, settings_for, simulate
from tests.unit.simulation.senders import Tcp

# What it runs is covered by other tests; beside coverage it takes three times as long.
pytestmark = pytest.mark.no_cover

FULL = 1514


def percentile(arrivals: list[Arrival], percent: int) -> int:
    """Return the wait that so many per cent of the frames did not exceed."""
    return sorted(arrival.waited for arrival in arrivals)[len(arrivals) * percent // 100]


@pytest.mark.parametrize("has_ecn", [False, True], ids=["drops", "marks"])
@pytest.mark.parametrize(
    ("rate_bits", "round_trip", "jiffies"),
    [(64_000, 50, 240_000), (10**6, 50, 60_000), (10**7, 20, 30_000), (10**8, 5, 8_000)],
)
def test_the_sojourn_converges_to_the_target(
    rate_bits: int, round_trip: int, jiffies: int, has_ecn: bool
) -> None:
    """After a third of the time half of the frames wait for the target at most, or three frames.

    Those are there because TCP has a window of two at least, which grows before it is halved. The
    line stays busy all the same.
    """
    settings = settings_for(rate_bits)
    queue = fq_codel(settings)
    source = Tcp(1, round_trip=round_trip, has_ecn=has_ecn)
    arrivals = simulate(queue, [source], jiffies=jiffies, warm_up=jiffies // 3)
    target = setpoints(settings).target
    three_frames = 3 * FULL * 8 * 1000 // rate_bits
    assert median(arrival.waited for arrival in arrivals) <= max(target, three_frames)
    assert percentile(arrivals, 99) <= 3 * max(target, three_frames)
    bits = sum(arrival.wire_bytes for arrival in arrivals) * 8
    assert bits >= 0.94 * rate_bits * (jiffies - jiffies // 3) / 1000
    assert (queue.ecn_marks > 0) == has_ecn
    assert (queue.dropped["codel"] > 0) != has_ecn


def test_what_a_fifo_makes_of_the_same_traffic() -> None:
    """The simulation has the ill that is cured: in a fifo the same flow fills the queue."""
    settings = settings_for(10**7, limit_packets=100)
    waits = {}
    for name, queue in {
        "fifo": fifo(settings),
        "fq_codel": fq_codel(settings),
    }.items():
        arrivals = simulate(queue, [Tcp(1, round_trip=20)], jiffies=20_000, warm_up=5_000)
        waits[name] = percentile(arrivals, 50)
    assert waits["fifo"] > 10 * waits["fq_codel"]


def test_a_new_rate_finds_its_own_target() -> None:
    """From 10 to 1 Mbit/s in mid-flight: the backlog of the old rate is worked off in seconds."""
    queue = fq_codel(settings_for(10**7))
    source = Tcp(1, round_trip=20)
    simulate(queue, [source], jiffies=5_000)
    slow = settings_for(10**6)
    queue.configure(slow, now=5_000)
    assert queue.dropped["limit"] == 0
    before = queue.dropped["codel"]
    arrivals = simulate(queue, [source], first=5_000, jiffies=25_000, warm_up=10_000)
    assert percentile(arrivals, 50) <= 2 * setpoints(slow).target
    assert queue.dropped["codel"] > before
