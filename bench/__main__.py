"""`python -m bench`: measure, or write the documentation from what was measured.

python -m bench run [--quick] [--minutes M] [--only PART,...] [--queue QUEUE] [--output FILE]
python -m bench report FILE
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from bench import meters, report, results, rows, scale, verdict
from bench.demo import interruptible
from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError, MissingError
from bench.lab.namespaces import ROOT
from bench.lab.privilege import prepare
from bench.lanes import congestion_control, make_stage
from bench.results import Run
from bench.shapers import DEFAULT_QUEUE
from bench.suite import Ambition, Suite
from bench.terminal import Progress
from shaper.model import Queue

RESULTS = ROOT / "bench" / "results"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
PARTS = ("scale", "rates", "latency", "trade")

# Chosen.
MINUTES = 9.5
QUICK_MINUTES = 0.8
REPEATS = 5
LATENCY_REPEATS = 3
QUICK_COUNTS = (1, 100)
SPARE = 40  # measurements made again because of steal: a minute of them
QUICK_SPARE = 3
NICENESS = -5  # of the senders too: nothing else on the machine is to get between


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="measure, and write JSON and plots")
    running.add_argument("--quick", action="store_true", help="a few rows once, in a minute")
    running.add_argument("--minutes", type=float, help="when to begin nothing more")
    running.add_argument("--repeats", type=int, help="rounds at most")
    running.add_argument("--only", default=",".join(PARTS), help="parts, by commas")
    running.add_argument(
        "--queue",
        default=DEFAULT_QUEUE,
        choices=[each.value for each in Queue],
        help="of the shaper",
    )
    running.add_argument("--output", type=Path, default=RESULTS / "bench.json")
    writing = commands.add_parser("report", help="write docs/benchmarks.md from a file")
    writing.add_argument("file", type=Path)
    writing.add_argument("--output", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    try:
        with interruptible():
            return _run(options) if options.command == "run" else _report(options)
    except MissingError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except (LabError, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    """Measure everything that was asked for, and keep what was found even if it ends early."""
    prepare()
    parts = frozenset(options.only.split(","))
    if unknown := parts - set(PARTS):
        raise LabError(f"there is no part {', '.join(sorted(unknown))}: say {', '.join(PARTS)}")
    begin_s = time.monotonic()
    minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    repeats = options.repeats or (1 if options.quick else REPEATS)
    ambition = Ambition(
        is_quick=options.quick,
        repeats=repeats,
        latency_repeats=min(repeats, LATENCY_REPEATS),
        spare=QUICK_SPARE if options.quick else SPARE,
        end_s=begin_s + 60 * minutes,
        parts=parts,
    )
    settings = {"is_quick": options.quick, "queue": options.queue, "repeats": repeats}
    run = Run(meters.describe(), settings)
    if "rates" in parts:
        run.skipped += rows.reasons()
    try:
        _perform(run, ambition, Progress())
    finally:
        run.seconds = time.monotonic() - begin_s
        results.write(run, options.output)
    print(f"\n{report.overview(run)}\n\n{verdict.spell(run)}\n")
    print(f"{run.seconds:.0f} s; figures in {_relative(options.output)}", end="")
    print(_draw(run, options.output.parent))
    return 0


def _perform(run: Run, ambition: Ambition, progress: Progress) -> None:
    """Measure part after part; what takes a fixed time comes first."""
    progress.say(f"machine: {', '.join(f'{k} {v}' for k, v in run.machine.items())}")
    if os.geteuid() == 0:
        os.nice(NICENESS)
    if "scale" in ambition.parts:
        _scale(run, ambition, progress)
    with make_stage() as pair, Shaperd(pair.host, "--shapers", "0") as shaperd:
        run.settings["congestion_control"] = congestion_control(pair.host)
        suite = Suite(pair, shaperd, run, progress, run.settings["queue"])
        suite.prepare()
        if "trade" in ambition.parts and not ambition.is_quick:
            progress.say("\nbuckets")
            run.scale["trade"] = suite.trade(1)
        if "latency" in ambition.parts and not ambition.is_quick:
            progress.say("\nfairness")
            suite.fairness()
        suite.perform(ambition)


def _scale(run: Run, ambition: Ambition, progress: Progress) -> None:
    progress.say("\nmany shapers")
    counts = QUICK_COUNTS if ambition.is_quick else scale.COUNTS
    run.scale["weight"] = scale.weigh(progress, counts)
    if not ambition.is_quick:
        run.scale["twenty"] = scale.load_twenty(progress)
        run.scale["forwarders"] = scale.forwarders(progress, 1)


def _draw(run: Run, folder: Path) -> str:
    """Draw the plots, if that is possible, and return what to say of it."""
    try:
        from bench import plots
    except ImportError as error:
        return f"; no plots ({error}: install the extra `bench`)"
    names = plots.draw(run, folder)
    return f", plots {', '.join(names)}"


def _report(options: argparse.Namespace) -> int:
    """Write the document from a file of results."""
    options.output.write_text(report.document(results.read(options.file)), encoding="utf-8")
    print(f"wrote {_relative(options.output)}")
    return 0


def _relative(path: Path) -> str:
    absolute = path.resolve()
    return str(absolute.relative_to(ROOT) if absolute.is_relative_to(ROOT) else path)


if __name__ == "__main__":
    sys.exit(main())
