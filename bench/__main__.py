"""`python -m bench`: measure, or write the documentation from what was measured.

python -m bench run [--quick] [--minutes M] [--only PART,...] [--queue QUEUE] [--output FILE]
python -m bench report [FILE...]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench import beside, report, results, rows, scale, tables
from bench.demo import interruptible
from bench.lab import meters
from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError, MissingError
from bench.lab.namespaces import ROOT
from bench.lab.privilege import prepare
from bench.lab.pump import congestion_control
from bench.lanes import make_stage
from bench.results import Run
from bench.shapers import DEFAULT_QUEUE
from bench.suite import CONTENTS, Ambition, Part, Suite
from bench.terminal import Progress
from shaper.model import Queue

RESULTS = ROOT / "bench" / "results"
DOCUMENT = ROOT / "docs" / "benchmarks.md"

PARTS = ",".join(Part)

# Chosen.
DEFAULT_PARTS = "scale,rates"  # what fits into ten minutes with five repeats
MINUTES = 9.5
QUICK_MINUTES = 0.8
REPEATS = 5
QUICK_COUNTS = (1, 100)
SPARE = 15  # measurements made again because of steal: half a minute of them
QUICK_SPARE = 3


def main() -> int:
    """Do what the command line says; return the exit status."""
    options = _parser().parse_args()
    try:
        with interruptible():
            return _run(options) if options.command == "run" else _report(options)
    except MissingError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except (LabError, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser(
        "run",
        help="measure, and write JSON and plots",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    running.add_argument("--quick", action="store_true", help="a few rows once, in a minute")
    running.add_argument("--minutes", type=float, help="when to begin nothing more")
    running.add_argument("--repeats", type=int, help="rounds at most")
    running.add_argument(
        "--only",
        default=DEFAULT_PARTS,
        metavar="PART,...",
        help=f"these parts and no others, of those below ({DEFAULT_PARTS})",
    )
    running.add_argument(
        "--queue",
        default=DEFAULT_QUEUE,
        choices=[each.value for each in Queue],
        help="of the shaper",
    )
    running.add_argument("--output", type=Path, default=RESULTS / "bench.json")
    writing = commands.add_parser("report", help="write docs/benchmarks.md from results")
    writing.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="results, taken together; without any, the data files beside the document",
    )
    writing.add_argument("--output", type=Path, default=DOCUMENT)
    return parser


def _epilog() -> str:
    """Return what the parts hold, for a quick look at one."""
    lines = [f"  {part:<9}{contents}" for part, contents in CONTENTS.items()]
    example = "python -m bench run --only trade --minutes 1 --output trade.json"
    return "\n".join(["parts:", *lines, "", f"for a quick look: {example}"])


def _run(options: argparse.Namespace) -> int:
    """Measure everything that was asked for, and keep what was found even if it ends early."""
    prepare()
    try:
        parts = frozenset(map(Part, options.only.split(",")))
    except ValueError:
        raise LabError(f"--only {options.only}: say any of {PARTS}, by commas") from None
    begin_s = time.monotonic()
    minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    repeats = options.repeats or (1 if options.quick else REPEATS)
    ambition = Ambition(
        is_quick=options.quick,
        repeats=repeats,
        spare=QUICK_SPARE if options.quick else SPARE,
        end_s=begin_s + 60 * minutes,
        parts=parts,
    )
    settings = {"is_quick": options.quick, "queue": options.queue, "repeats": repeats}
    settings["is_kernels"] = parts == {Part.KERNELS}
    run = Run(meters.describe(), settings)
    if Part.RATES in parts:
        run.skipped += rows.reasons()
    try:
        _perform(run, ambition, Progress())
    finally:
        run.seconds = time.monotonic() - begin_s
        results.write(run, options.output)
    found = tables.make(run)
    print(f"\n{report.overview(found)}\n")
    print(f"{run.seconds:.0f} s; figures in {_relative(options.output)}")
    if run.settings["is_kernels"]:
        return 0
    try:
        names = _draw(found, options.output.parent, f"{options.output.stem}-")
        print(f"plots beside them: {', '.join(names)}")
    except LabError as error:
        print(error)
    return 0


def _perform(run: Run, ambition: Ambition, progress: Progress) -> None:
    """Measure part after part; what takes a fixed time comes first."""
    progress.say(f"machine: {', '.join(f'{k} {v}' for k, v in run.machine.items())}")
    if Part.SCALE in ambition.parts:
        _scale(run, ambition, progress)
    with make_stage() as pair, Shaperd(pair.host, "--shapers", "0") as shaperd:
        run.settings["congestion_control"] = congestion_control(pair.host)
        suite = Suite(pair, shaperd, run, progress, ambition)
        suite.prepare()
        if Part.TRADE in ambition.parts:
            progress.say("\nbuckets")
            suite.trade()
        if Part.LATENCY in ambition.parts:
            progress.say("\nfairness")
            suite.fairness()
        if Part.KERNELS in ambition.parts:
            suite.kernels()
        if ambition.parts & {Part.RATES, Part.LATENCY}:
            suite.perform()


def _scale(run: Run, ambition: Ambition, progress: Progress) -> None:
    progress.say("\nmany shapers")
    counts = QUICK_COUNTS if ambition.is_quick else scale.COUNTS
    run.scale["weight"] = scale.weigh(progress, counts)
    if not ambition.is_quick:
        run.scale["twenty"] = scale.load_twenty(progress)
        run.scale["forwarders"] = scale.forwarders(progress, 1)


def _draw(found: tables.Tables, folder: Path, prefix: str = "") -> list[str]:
    """Draw the plots and return their names.

    Raises:
        LabError: the extra that draws is not installed.

    """
    try:
        from bench import plots
    except ImportError as error:
        raise LabError(f"no plots ({error}: install the extra `bench`)") from error
    return plots.draw(found, folder, prefix)


def _report(options: argparse.Namespace) -> int:
    """Write the data files from results, if some are named, and document and plots from them."""
    folder = options.output.parent / report.FOLDER
    if options.files:
        runs = [results.read(path) for path in options.files]
        for is_kernels, make in ((False, tables.make), (True, beside.tables)):
            of_kind = [
                each for each in runs if each.settings.get("is_kernels", False) == is_kernels
            ]
            if of_kind:
                tables.write(make(results.merge(of_kind)), folder)
    found = tables.read(folder)
    options.output.write_text(report.document(found, _draw(found, folder)), encoding="utf-8")
    print(f"wrote {_relative(options.output)}")
    return 0


def _relative(path: Path) -> str:
    absolute = path.resolve()
    return str(absolute.relative_to(ROOT) if absolute.is_relative_to(ROOT) else path)


if __name__ == "__main__":
    sys.exit(main())
