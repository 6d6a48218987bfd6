"""What docs/reliability.md says of the campaigns is held to them."""

from __future__ import annotations

import pytest

from tests.ordeal.__main__ import load
from tests.ordeal.campaign import CAMPAIGNS
from tests.repo.document_tables import code, read, rows

PAGE = "docs/reliability.md"
NOT_REACHED = "## What has not been reached"


@pytest.fixture
def counted() -> dict[str, int]:
    """Return how often each campaign of the table was repeated."""
    load()
    table = rows(PAGE, "campaign", "repetitions")
    assert len({row[0] for row in table}) == len(table)
    return {row[0]: int(row[1].replace(",", "")) for row in table}


def test_the_table_has_campaigns_and_no_others(counted: dict[str, int]) -> None:
    """A campaign that was renamed or removed leaves no row behind."""
    assert counted.keys() - CAMPAIGNS.keys() == set()


def test_what_is_short_of_its_count_is_said(counted: dict[str, int]) -> None:
    """It is named in the last section."""
    short = {name for name, known in CAMPAIGNS.items() if counted.get(name, 0) < known.count}
    assert short <= set(code(read(PAGE).partition(NOT_REACHED)[2]))
