"""What a run prints: tables and figures, spelled."""

from __future__ import annotations

import pytest

from bench import terminal
from bench.workload import UNLIMITED_BITS, spell_rate
from tests.unit.test_bench_report import GBIT


def test_a_table_is_aligned() -> None:
    """Every line of a table ends in the same column, numbers to the right."""
    text = terminal.table(["a", "b", "number"], [["row", "x", "1"], ["longer", "y", "23456789"]])
    assert text.splitlines()[1:] == ["row     x         1", "longer  y  23456789"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (0.0, "0"), (999, "999"), (1514, "1.51k"), (2_500_000, "2.5M"), (4.7e9, "4.7G")],
)
def test_counts_are_short(value: float | None, expected: str) -> None:
    """Three digits and a prefix."""
    assert terminal.spell_count(value) == expected


def test_a_pair_of_counts_shows_what_is_missing() -> None:
    """One that is not known is a dash; nothing at all is one dash, not two."""
    assert terminal.spell_pair(1514, 30_000) == "1.51k / 30k"
    assert terminal.spell_pair(None, 30_000) == "- / 30k"
    assert terminal.spell_pair(None, None) == "-"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (-0.0104, "-0.010 %"), (1.234, "+1.23 %"), (104.21, "+104.2 %")],
)
def test_percentages_show_what_matters(value: float | None, expected: str) -> None:
    """Small ones to a thousandth."""
    assert terminal.spell_percent(value) == expected


def test_rates_are_spelled() -> None:
    """In the unit in which they are at least one."""
    spelled = [spell_rate(rate) for rate in (9600, 64_000, 10**6, 5 * GBIT, UNLIMITED_BITS)]
    assert spelled == ["9.6 kbit/s", "64 kbit/s", "1 Mbit/s", "5 Gbit/s", "unlimited"]
