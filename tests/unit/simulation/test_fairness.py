"""Flows share the rate in bytes, and none gains by being rude, many-framed or large."""

from __future__ import annotations

import pytest

from tests.unit.gates import fq_codel
from tests.unit.simulation.bottleneck import settings_for, shares, simulate
from tests.unit.simulation.senders import Source, Tcp, Unresponsive

# What it runs is covered by other tests; beside coverage it takes three times as long.
pytestmark = pytest.mark.no_cover

RATE_BITS = 10**7


def shares_of(
    sources: list[Source], jiffies: int = 20_000, ticks_per_second: int = 1000
) -> dict[int, float]:
    """Return the part of the rate each source has after five seconds."""
    queue = fq_codel(settings_for(RATE_BITS, ticks_per_second=ticks_per_second))
    return shares(simulate(queue, sources, jiffies=jiffies, warm_up=5 * ticks_per_second))


@pytest.mark.parametrize("count", [2, 8, 32])
def test_tcp_flows_share_within_five_per_cent(count: int) -> None:
    """Round trips from 10 to 45 ms, starts one after the other: to each the same."""
    flows = [Tcp(n, round_trip=10 + 5 * (n % 8), start=37 * n) for n in range(count)]
    for share in shares_of(list(flows)).values():
        assert share * count == pytest.approx(1, abs=0.05)


def test_small_frames_weigh_as_much_as_large_ones() -> None:
    """Three floods, of 60, 500 and 1514 bytes a frame, have a third each."""
    floods = [
        Unresponsive(1, frames=20, every=1, wire_bytes=60),
        Unresponsive(2, frames=3, every=1, wire_bytes=500),
        Unresponsive(3, frames=1, every=1),
    ]
    for share in shares_of(list(floods), jiffies=7_000).values():
        assert share == pytest.approx(1 / 3, rel=0.05)


def test_a_flood_beside_a_tcp_flow_has_half() -> None:
    """A flood of ten times the rate drops its own frames, and those of nobody else."""
    sources = [Tcp(1, round_trip=20), Unresponsive(2, frames=8, every=1)]
    assert shares_of(list(sources))[1] >= 0.475


def test_a_coarse_clock_shares_alike() -> None:
    """At HZ 100, the clock of 1996, flows of TCP share within five per cent too."""
    flows = [Tcp(n, round_trip=2) for n in range(4)]
    for share in shares_of(list(flows), jiffies=4_000, ticks_per_second=100).values():
        assert share * 4 == pytest.approx(1, abs=0.05)


def test_what_asks_for_less_than_its_share_gets_all_of_it() -> None:
    """A steady 10 % beside eight greedy flows loses nothing; the rest is shared by the others."""
    steady = Unresponsive(50, frames=1, every=12)  # 1.009 Mbit/s
    queue = fq_codel(settings_for(RATE_BITS))
    greedy = [Tcp(n, round_trip=20) for n in range(8)]
    arrivals = simulate(queue, [steady, *greedy], jiffies=15_000, warm_up=3_000)
    assert sum(arrival.flow == 50 for arrival in arrivals) == 1000
