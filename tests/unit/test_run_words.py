"""Delays and losses as they are typed for `shapecfg run`."""

from __future__ import annotations

from shapecfg.run.words import read_lines
from shaper.line_options import Delay, LineOptions, RandomLoss

MS = 10**6
RATES = 10**6, 10**6


def test_delay_is_halved_and_loss_is_not() -> None:
    """A delay is of both ways together, a loss of each; the seeds of the two differ."""
    assert read_lines("41ms", "1%", 7, RATES) == (
        LineOptions(Delay(20_500_000), RandomLoss(10_000_000), seed=7),
        LineOptions(Delay(20_500_000), RandomLoss(10_000_000), seed=8),
    )


def test_directions_are_given_apart() -> None:
    """Down comes first."""
    down, up = read_lines("30ms/10ms", "0%/2%", 1, RATES)
    assert (down.delay.delay_ns, up.delay.delay_ns) == (30 * MS, 10 * MS)
    assert (down.loss, up.loss) == (None, RandomLoss(20_000_000))


def test_nothing_asked_is_no_line() -> None:
    """A delay and a loss of nothing are none."""
    for given in ((None, None), ("0ms", "0%")):
        assert all(each.is_default for each in read_lines(*given, 1, RATES))
