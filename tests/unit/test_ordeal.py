"""The ordeal counts what was made, stops when it should, and goes on where it was."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from tests.ordeal.__main__ import CampaignOrder, load, orders, run
from tests.ordeal.campaign import CAMPAIGNS, Campaign, CampaignRow, Failed, Trial
from tests.ordeal.ledger import Ledger


class Clock:
    """A clock that goes on by one second each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        self.now += 1.0
        return self.now


def test_a_trial_ends_at_its_count() -> None:
    """As many repetitions as were wanted are made and counted."""
    row = CampaignRow(repetitions=5)
    assert list(Trial(row, 3, 1000.0, Clock())) == [0, 1, 2]
    assert row.repetitions == 8


def test_repetitions_that_were_made_at_once_count() -> None:
    """Of 100 that are wanted, ten times eleven are made."""
    row = CampaignRow()
    trial = Trial(row, 100, 1000.0, Clock())
    for _ in trial:
        trial.repeated(10)
    assert row.repetitions == 110


def test_a_trial_ends_when_its_time_is_up() -> None:
    """The clock is read once a repetition; after four seconds there is no fourth."""
    row = CampaignRow()
    assert list(Trial(row, 1000, 4.0, Clock())) == [0, 1, 2]
    assert row.seconds > 0


def test_what_a_trial_is_told_is_kept_at_its_worst() -> None:
    """Stalls and memory are maxima; frames and leftovers are sums."""
    row = CampaignRow()
    trial = Trial(row, 20, 1000.0, Clock())
    for number in trial:
        trial.stalled(number)
        trial.lost(1)
        trial.memory(1000 + number)
    trial.left("shaper7")
    assert (row.longest_stall_ns, row.lost_uncounted, row.leftovers) == (19, 20, 1)
    assert row.peak_kib == 1019
    assert row.growth_percent == pytest.approx(100.0 * (1018 + 1019 - 1000 - 1001) / 2001)


def test_what_must_never_be_ends_the_campaign_and_the_ordeal_knows(tmp_path: Path) -> None:
    """A finding is kept with the repetition it was made in, and fails nothing else."""

    def bad(trial: Trial) -> None:
        for _ in trial:
            trial.failed("the sky fell")

    book = Ledger(tmp_path / "ledger.json")
    run(CampaignOrder(Campaign("sky", 3, bad), 3), book, 10.0)
    assert Ledger(tmp_path / "ledger.json").row("sky").findings == ["0: the sky fell"]
    with pytest.raises(Failed):
        bad(Trial(CampaignRow(), 1, 1.0))


def test_an_ordeal_goes_on_where_it_was(tmp_path: Path) -> None:
    """Repetitions add up over runs; a campaign that has its count is not run again."""

    def count(trial: Trial) -> None:
        for _ in trial:
            pass

    for wanted, reached in ((2, 2), (5, 5), (4, 5)):
        book = Ledger(tmp_path / "ledger.json")
        run(CampaignOrder(Campaign("count", 9, count), wanted), book, 10.0)
        assert Ledger(tmp_path / "ledger.json").row("count").repetitions == reached
    assert "| count | 5 |" in Ledger(tmp_path / "ledger.json").table()


def test_a_campaign_that_breaks_is_a_finding(tmp_path: Path) -> None:
    """An exception of any kind is told and kept; it is no reason to lose the other rows."""

    def broken(_: Trial) -> None:
        raise ZeroDivisionError("of course")

    book = Ledger(tmp_path / "ledger.json")
    run(CampaignOrder(Campaign("broken", 1, broken), 1), book, 10.0)
    assert "ZeroDivisionError" in book.row("broken").findings[0]


@pytest.mark.parametrize("name", ["nonsense", "nonsense=3"])
def test_a_campaign_there_is_not_is_refused_by_name(name: str) -> None:
    """The sentence names it."""
    with pytest.raises(click.UsageError, match="nonsense"):
        orders((name,))


def test_every_campaign_can_be_loaded_and_asked_for() -> None:
    """The modules of campaigns import, and each name is one word of an argument list."""
    load()
    for name in CAMPAIGNS:
        assert orders((f"{name}=7",)) == [CampaignOrder(CAMPAIGNS[name], 7)]
        assert "=" not in name
