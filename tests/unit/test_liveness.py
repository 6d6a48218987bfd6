"""A forwarder that was taken over cannot keep itself alive by a pulse that it fakes."""

from __future__ import annotations

import pytest

from shaper.supervisor.liveness import Judge
from shaper.supervisor.procfs import Usage


def looks_until_ended(state: str, seconds_a_look: float) -> int:
    """Return how many looks end a process whose pulse moves, and which never answers."""
    judge = Judge()
    judge.has_begun = True
    judge.look(0, Usage(state, 0), is_overdue=False)
    return next(
        look
        for look in range(1, 100)
        if judge.look(look, Usage(state, look * seconds_a_look), is_overdue=True)
    )


@pytest.mark.parametrize(
    ("state", "seconds_a_look", "looks"),
    [("S", 0.01, 4), ("R", 0.2, 4), ("R", 0.01, 25), ("D", 0.0, 25)],
    ids=["asleep", "running", "starved", "waiting for a disk"],
)
def test_a_faked_pulse_gains_no_time(state: str, seconds_a_look: float, looks: int) -> None:
    """Four looks are 1.6 s; only one that waits for the processor or a disk is given 10."""
    assert looks_until_ended(state, seconds_a_look) == looks
