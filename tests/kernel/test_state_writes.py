"""A few repetitions of each campaign on the state; `make ordeal` makes them by the thousand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tests.ordeal.campaign import CampaignRow, Trial
from tests.ordeal.state import fail_writes, kill_writes, stop_amid_storms


@pytest.mark.parametrize(
    ("run", "count"), [(kill_writes, 5), (fail_writes, 3), (stop_amid_storms, 2)]
)
def test_what_is_wanted_survives(run: Callable[[Trial], None], count: int) -> None:
    """Writes that are killed or fail, and stops amid storms, lose and leave nothing."""
    row = CampaignRow()
    run(Trial(row, count, math.inf))
    assert (row.repetitions, row.leftovers or 0, row.findings) == (count, 0, [])
