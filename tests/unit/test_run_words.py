"""Delays and losses as they are typed for `shapecfg run`."""

from __future__ import annotations

import pytest

from shapecfg.run.words import parse_share, parse_time, read_lines
from shaper.line import Delay, LineOptions, RandomLoss

MS = 10**6


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("40ms", 40 * MS), ("0.5s", 500 * MS), ("250us", 250_000), (".1msec", 100_000), ("0ms", 0)],
)
def test_times_are_exact(text: str, nanoseconds: int) -> None:
    """Suffixes are those of tc; a fraction is kept to the nanosecond."""
    assert parse_time(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "billionths"), [("0.5%", 5_000_000), ("100%", 10**9), ("0.0000001%", 1)]
)
def test_shares_are_exact(text: str, billionths: int) -> None:
    """A percentage is kept to the billionth."""
    assert parse_share(text) == billionths


def test_delay_is_halved_and_loss_is_not() -> None:
    """A delay is of both ways together, a loss of each; the seeds of the two differ."""
    assert read_lines("41ms", "1%", 7, (None, None)) == (
        LineOptions(Delay(20_500_000), RandomLoss(10_000_000), seed=7),
        LineOptions(Delay(20_500_000), RandomLoss(10_000_000), seed=8),
    )


def test_directions_are_given_apart() -> None:
    """Down comes first."""
    lines = read_lines("30ms/10ms", "0%/2%", 1, (10**6, 10**6))
    assert lines is not None
    down, up = lines
    assert (down.delay.delay_ns, up.delay.delay_ns) == (30 * MS, 10 * MS)
    assert (down.loss, up.loss) == (None, RandomLoss(20_000_000))


def test_nothing_asked_is_no_line() -> None:
    """A delay and a loss of nothing are none, so no process is in the way."""
    assert read_lines(None, None, 1, (None, None)) is None
    assert read_lines("0ms", "0%", 1, (None, None)) is None
