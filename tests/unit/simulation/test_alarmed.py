"""Real frames through a real path raise no alarm for hours, and a starved forwarder does."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from shaper.model import Options, Queue
from tests.unit.simulation.hours import SECOND, START_NS, HourTraffic, World, late_ns, live, named

MINUTE = 60


@pytest.mark.no_cover  # three times as long beside coverage
@pytest.mark.parametrize("name", ["9600", "64k", "64k fifo", "64k classic", "64k link", "gaps"])
def test_an_hour_of_traffic_raises_nothing(name: str) -> None:
    """Bursts, silence, overload, small frames and large, other speeds, another forwarder."""
    world = World(named(name), seed=1)
    live(world, 60 * MINUTE)
    assert world.told == []
    assert world.count("sent_packets") > 3000


@pytest.mark.no_cover  # three times as long beside coverage
@pytest.mark.parametrize("name", ["1M", "1M link", "trace", "overhead", "small bucket"])
def test_minutes_of_more_frames_raise_nothing(name: str) -> None:
    """The same at rates at which an hour takes too long here; `make ordeal` has hours of them."""
    world = World(named(name), seed=2)
    live(world, 4 * MINUTE)
    assert world.told == []
    assert world.count("sent_packets") > 3000


@pytest.mark.parametrize(
    ("name", "late_ms", "within_s"),
    [
        ("1M", 60, 6),
        ("1M", 200, 6),
        ("1M", 1000, 7),
        ("1M link", 200, 6),
        ("64k", 1000, 8),  # it is judged in steps of three seconds
        ("64k fifo", 1000, 8),
        ("small bucket", 60, 8),
        ("trace", 200, 6),
        ("9600", 3000, 24),  # and of twenty
    ],
)
def test_a_starved_forwarder_is_told_and_so_is_its_end(
    name: str, late_ms: int, within_s: float
) -> None:
    """Woken late by up to so much, more than the bucket has; then as it should be."""
    world = World(named(name), 3, lambda chance: chance.randrange(late_ms * 1_000_000))
    while not world.told:
        world.happen(HourTraffic(1, 1.5))
        assert world.now_ns - START_NS <= (within_s + late_ms / 1000) * SECOND
    began_ns = world.now_ns
    world.late = late_ns
    while len(world.told) == 1:
        world.happen(HourTraffic(1, 1.5))
        assert world.now_ns - began_ns <= (within_s + late_ms / 1000) * SECOND
    assert world.raised == ["slow"]


def test_a_rate_that_is_changed_is_none() -> None:
    """Up and down under load, seen by the daemon before and after the forwarder."""
    world = World(named("64k"), seed=4)
    chance = random.Random(4)
    for _ in range(200):
        world.happen(HourTraffic(chance.uniform(0.1, 6), 1.3, flows=5))
        world.change(replace(named("64k"), rate_bits=chance.choice([9600, 64_000, 200_000])))
    assert world.told == []


def test_another_queue_or_forwarder_is_none() -> None:
    """What is dropped in order is no fault."""
    world = World(named("64k"), seed=5)
    for number in range(100):
        world.happen(HourTraffic(3, 1.3, flows=5))
        queue = list(Queue)[number % len(Queue)]
        world.change(Options(rate_bits=64_000, queue=queue))
        world.happen(HourTraffic(3, 1.3, flows=5))
        world.restart()
    assert world.told == []
    assert (world.now_ns - START_NS) // SECOND == 600
