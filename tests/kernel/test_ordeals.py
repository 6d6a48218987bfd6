"""A few repetitions of campaigns on processes; `make ordeal` makes them by the thousand."""

from __future__ import annotations

import pytest

from tests.ordeal.campaign import CampaignRow, Trial
from tests.ordeal.flood import flood
from tests.ordeal.forwarder_deaths import kill_supervisors, stop_forwarders, stop_supervisors
from tests.ordeal.takeover import take_over

PLENTY_S = 60.0


@pytest.mark.together
def test_a_flood_is_accounted_for() -> None:
    """Of ten times the rate, every frame is sent or counted as dropped."""
    row = CampaignRow()
    flood(Trial(row, 2, PLENTY_S))
    assert (row.repetitions, row.lost_uncounted, row.findings) == (2, 0, [])


@pytest.mark.together
def test_a_supervisor_that_is_killed_leaves_nothing_behind() -> None:
    """Its forwarder ends with it, and the next supervisor takes the device over."""
    row = CampaignRow()
    kill_supervisors(Trial(row, 2, PLENTY_S))
    assert (row.repetitions, row.leftovers, row.findings) == (2, 0, [])


def test_a_forwarder_that_hangs_is_told_of_and_replaced_in_time() -> None:
    """Its shaper is `stalled` meanwhile."""
    row = CampaignRow()
    stop_forwarders(Trial(row, 1, PLENTY_S))
    assert (row.repetitions, row.findings) == (1, [])


@pytest.mark.together
def test_a_supervisor_that_stood_still_leaves_its_forwarder_alone() -> None:
    """Six seconds are more than a forwarder may be silent for."""
    row = CampaignRow()
    stop_supervisors(Trial(row, 1, PLENTY_S))
    assert (row.repetitions, row.findings) == (1, [])


def test_those_in_use_are_taken_over_first() -> None:
    """After a restart and after a kill, of forty; where a service manager keeps descriptors."""
    row = CampaignRow()
    take_over(Trial(row, 2, PLENTY_S), count=40, in_use=4)
    assert (row.repetitions, row.findings) == (2, [])
