"""Hours of simulated traffic in which nothing is wrong, and no alarm is raised."""

from __future__ import annotations

from tests.ordeal.campaign import Trial, campaign
from tests.unit.simulation.hours import SHAPERS, World, live, named

HOUR = 3600


@campaign("hours without an alarm", count=200)
def watch_hours(trial: Trial) -> None:
    """Each of another shaper than the one before, and with another seed."""
    for _ in trial:
        number = trial.row.repetitions
        name = SHAPERS[number % len(SHAPERS)]
        world = World(named(name), seed=number)
        live(world, HOUR)
        for at_s, change in world.told:
            trial.failed(f"{name}, seed {number}: {change.alarm} at {at_s:.1f} s")
