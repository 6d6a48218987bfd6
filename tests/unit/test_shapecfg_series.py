"""Rates of a watched shaper are differences of what the daemon tells, and never nonsense."""

from __future__ import annotations

from typing import Any, cast

import pytest

from shapecfg.reply import Shaper
from shapecfg.series import HISTORY, Series
from tests.unit.fake_daemon import shaper

SECOND = 1_000_000_000


def told(**changes: Any) -> Shaper:
    """Return a shaper as the daemon tells of it."""
    return cast(Shaper, shaper(**changes))


def test_rates_are_differences() -> None:
    """Bits a second, and drops a second by reason; a reason that adds nothing is left out."""
    series = Series()
    series.add([told(stats={"sent_bytes": 1000, "dropped": {"limit": 1, "flush": 3}})], now_ns=0)
    assert series.tracks["shaper0"].moment is None
    now = told(stats={"sent_bytes": 3000, "dropped": {"limit": 11, "flush": 3, "codel": 4}})
    series.add([now], now_ns=2 * SECOND)
    moment = series.tracks["shaper0"].moment
    assert moment is not None
    assert moment.sent_bits == pytest.approx(8000)
    assert moment.dropped == {"limit": pytest.approx(5), "codel": pytest.approx(2)}


@pytest.mark.parametrize("after", [{"ifindex": 8}, {"stats": {"sent_bytes": 5}}])
def test_a_shaper_made_anew_begins_anew(after: dict[str, Any]) -> None:
    """A rate across its removal would be negative."""
    series = Series()
    series.add([told()], now_ns=0)
    series.add([told(stats={"sent_bytes": 999_999})], now_ns=SECOND)
    series.add([told(**after)], now_ns=2 * SECOND)
    assert series.tracks["shaper0"].moment is None
    assert list(series.tracks["shaper0"].rates) == []


def test_removed_shapers_are_forgotten_and_memory_is_bounded() -> None:
    """However long somebody watches."""
    series = Series()
    for look in range(2 * HISTORY):
        series.add([told(), told(ifname="shaper1")], now_ns=look * SECOND)
    assert len(series.tracks["shaper1"].rates) == HISTORY
    series.add([told()], now_ns=2 * HISTORY * SECOND)
    assert list(series.tracks) == ["shaper0"]


def test_two_looks_at_one_moment_are_no_rate() -> None:
    """A clock too coarse to tell them apart divides by nothing."""
    series = Series()
    series.add([told()], now_ns=5)
    series.add([told()], now_ns=5)
    assert series.tracks["shaper0"].moment is None
