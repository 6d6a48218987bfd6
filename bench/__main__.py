"""`python -m bench`: measure, or write the documentation from what was measured."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from bench import results, rows, scale
from bench.demo import interruptible
from bench.lab import meters
from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError, MissingError
from bench.lab.namespaces import ROOT
from bench.lab.privilege import prepare
from bench.lab.pump import congestion_control
from bench.lab.topology import make_stage
from bench.results import Run
from bench.shapers import DEFAULT_QUEUE
from bench.suite import PARTS, Ambition, Suite
from bench.terminal import Progress
from shaper.model import Queue

RESULTS = ROOT / "bench" / "results"
DOCUMENT = ROOT / "docs" / "benchmarks.md"

# Chosen.
DEFAULT_PARTS = "scale,rates"  # what fits into ten minutes with five repeats
MINUTES = 9.5
QUICK_MINUTES = 0.8
REPEATS = 5
QUICK_COUNTS = (1, 100)
SPARE = 15  # measurements made again because of steal: half a minute of them
QUICK_SPARE = 3

# A line a part, not filled: \b is click's sign for that.
CONTENTS = "\n".join(["\b", *(f"{part:<9}{contents}" for part, contents in PARTS.items())])
EXAMPLE = "For a quick look: python -m bench run --only trade --minutes 1 --output trade.json"


def _parts(_context: click.Context, _option: click.Parameter, value: str) -> frozenset[str]:
    """Return the parts that are named, by commas."""
    if unknown := set(parts := value.split(",")) - set(PARTS):
        known = ",".join(PARTS)
        raise click.BadParameter(f"{','.join(unknown)}: say any of {known}, by commas")
    return frozenset(parts)


@click.group()
def bench() -> None:
    """Measure, or write the documentation from what was measured."""


@bench.command(epilog=f"{CONTENTS}\n\n{EXAMPLE}")
@click.option("--quick", is_flag=True, help="A few rows once, in a minute.")
@click.option("--minutes", type=float, help="When to begin nothing more.")
@click.option("--repeats", type=int, help="Rounds at most.")
@click.option(
    "--only", default=DEFAULT_PARTS, callback=_parts, help="These parts, of those below."
)
@click.option("--queue", type=click.Choice([each.value for each in Queue]), default=DEFAULT_QUEUE)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "bench.json")
def run(
    quick: bool,
    minutes: float | None,
    repeats: int | None,
    only: frozenset[str],
    queue: str,
    output: Path,
) -> None:
    """Measure, and write JSON and plots."""
    prepare()
    begin_s = time.monotonic()
    repeats = repeats or (1 if quick else REPEATS)
    end_s = begin_s + 60 * (minutes or (QUICK_MINUTES if quick else MINUTES))
    ambition = Ambition(quick, repeats, QUICK_SPARE if quick else SPARE, end_s, only)
    settings = {"is_quick": quick, "queue": queue, "repeats": repeats}
    settings["is_kernels"] = only == {"kernels"}
    found = Run(meters.describe(), settings, skipped=rows.reasons() if "rates" in only else [])
    try:
        _perform(found, ambition, Progress())
    finally:
        # Even if it ends early.
        found.seconds = time.monotonic() - begin_s
        results.write(found, output)
    _tell(found, output)


def _perform(run: Run, ambition: Ambition, progress: Progress) -> None:
    """Measure part after part; what takes a fixed time comes first."""
    progress.say(f"machine: {', '.join(f'{k} {v}' for k, v in run.machine.items())}")
    if "scale" in ambition.parts:
        progress.say("\nmany shapers")
        counts = QUICK_COUNTS if ambition.is_quick else scale.COUNTS
        run.scale["weight"] = scale.weigh(progress, counts)
        if not ambition.is_quick:
            run.scale["twenty"] = scale.load_twenty(progress)
            run.scale["forwarders"] = scale.forwarders(progress)
    with make_stage() as pair, Shaperd(pair.host, "--shapers", "0") as shaperd:
        run.settings["congestion_control"] = congestion_control(pair.host)
        Suite(pair, shaperd, run, progress, ambition).perform()


def _tell(found: Run, output: Path) -> None:
    """Print what was found, and draw it."""
    # Only now: pandas and its threads are not there while processes are forked.
    from bench import plots, report, tables

    made = tables.make(found)
    print(
        f"\n{report.overview(made)}\n\n{found.seconds:.0f} s; figures in {os.path.relpath(output)}"
    )
    if not found.settings["is_kernels"]:
        names = plots.draw(made, output.parent, f"{output.stem}-")
        print(f"plots beside them: {', '.join(names)}")


@bench.command("report")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1)
@click.option("--output", type=click.Path(path_type=Path), default=DOCUMENT)
def write_report(files: tuple[Path, ...], output: Path) -> None:
    """Write docs/benchmarks.md from results in FILES, or else from the data files beside it."""
    from bench import beside, plots, report, tables

    folder = output.parent / report.FOLDER
    runs = [results.read(path) for path in files]
    for is_kernels, make in ((False, tables.make), (True, beside.tables)):
        of_kind = [each for each in runs if each.settings.get("is_kernels", False) == is_kernels]
        if of_kind:
            tables.write(make(results.merge(of_kind)), folder)
    found = tables.read(folder)
    output.write_text(report.document(found, plots.draw(found, folder)), encoding="utf-8")
    print(f"wrote {os.path.relpath(output)}")


def main() -> int:
    """Do what the command line says; return the exit status."""
    try:
        with interruptible():
            return bench.main(prog_name="bench", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (LabError, ImportError, OSError, ValueError) as error:
        hint = ": install the extra `bench`" * isinstance(error, ImportError)
        print(f"bench: {error}{hint}", file=sys.stderr)
        return 2 if isinstance(error, MissingError) else 1


if __name__ == "__main__":
    sys.exit(main())
