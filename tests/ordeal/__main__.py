"""Run campaigns: `python -m tests.ordeal [NAME[=COUNT]...]`, all of them unless some are named.

Runs add up in a file, so an ordeal that was interrupted goes on where it was, and a campaign that
has reached its count is not run again (`--anew` forgets what was).
"""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

import tests.ordeal
from tests.ordeal.campaign import CAMPAIGNS, Campaign, Failed, Trial
from tests.ordeal.ledger import Ledger

LEDGER = Path("bench/results/ordeal.json")
_NOT_CAMPAIGNS = {"__main__", "campaign", "ledger"}


@dataclass(frozen=True)
class CampaignOrder:
    """A campaign, and how many repetitions this run is to bring it to."""

    campaign: Campaign
    count: int


def load() -> None:
    """Import every module of campaigns, which registers them."""
    for module in pkgutil.iter_modules(tests.ordeal.__path__):
        if module.name not in _NOT_CAMPAIGNS:
            importlib.import_module(f"tests.ordeal.{module.name}")


def orders(names: tuple[str, ...]) -> list[CampaignOrder]:
    """Return what was asked for. Raises click.UsageError for a campaign there is not."""
    chosen = []
    for each in names or tuple(CAMPAIGNS):
        name, _, count = each.partition("=")
        if name not in CAMPAIGNS:
            raise click.UsageError(f"{name}: no such campaign (there are: {', '.join(CAMPAIGNS)})")
        if count and not count.isdecimal():
            raise click.UsageError(f"{name}: {count!r} is no number of repetitions")
        known = CAMPAIGNS[name]
        chosen.append(CampaignOrder(known, int(count) if count else known.count))
    return chosen


def run(order: CampaignOrder, ledger: Ledger, seconds: float) -> None:
    """Bring one campaign nearer to its count, and keep what it found."""
    row = ledger.row(order.campaign.name)
    wanted = order.count - row.repetitions
    if wanted <= 0:
        return
    click.echo(
        f"{order.campaign.name}: {row.repetitions} of {order.count}, {seconds:.0f} s", err=True
    )
    try:
        order.campaign.run(Trial(row, wanted, seconds))
    except Failed as finding:
        click.echo(f"{order.campaign.name}: {finding}", err=True)
    except Exception as error:
        row.findings.append(f"{row.repetitions}: {error!r}")
        traceback.print_exc()
    finally:
        ledger.save()


def _unwind(number: int, _: object) -> NoReturn:
    """End as an exception does: containers and namespaces of the campaign are taken down."""
    sys.exit(128 + number)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--minutes", type=float, default=30.0, show_default=True, help="For all together.")
@click.option("--ledger", type=click.Path(path_type=Path), default=LEDGER, show_default=True)
@click.option("--anew", is_flag=True, help="Forget what earlier runs have added up to.")
@click.option("--list", "is_list", is_flag=True, help="Print the campaigns and their counts.")
def main(names: tuple[str, ...], minutes: float, ledger: Path, anew: bool, is_list: bool) -> None:
    """Make faults by the thousand, and print what came of them."""
    signal.signal(signal.SIGTERM, _unwind)
    load()
    if is_list:
        for known in CAMPAIGNS.values():
            click.echo(f"{known.name}={known.count}")
        return
    chosen = orders(names)
    if anew:
        ledger.unlink(missing_ok=True)
    book = Ledger(ledger)
    for order in chosen:
        run(order, book, 60 * minutes / len(chosen))
    click.echo(book.table())
    sys.exit(any(row.findings or row.lost_uncounted for row in book.rows.values()))


if __name__ == "__main__":
    main()
