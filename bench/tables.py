"""The tables of a run as data: a CSV file each, from which `docs/benchmarks.md` is written.

What the document shows of them is a choice; the files hold everything. Pure but for the two
functions that read and write the files.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import verdict, workload
from bench.results import MAX_STEAL_PERCENT, Run, stolen_percent
from bench.workload import UNLIMITED_BITS, spell_rate

Record = dict[str, Any]
Tables = Mapping[str, list[Record]]

BETTER_PERCENT = 5  # chosen: a difference smaller than this is called none
DIGITS = 6  # chosen: of a number in a file
WORDS = {True: "met", False: "missed", None: "not judged"}
WORDED = ("target", "measured", "not measured")  # columns that may look like numbers and are none
PROCESSES = ("supervisor", "forwarder")
FIGURES = (
    "error_percent",
    "typical_burst_bytes",
    "burst_bytes",
    "first_second_percent",
    "goodput_bits",
    "frames_per_second",
    "cpu_s_per_gb",
    "ping_p10_us",
    "ping_p50_us",
    "ping_p99_us",
)
# What is compared: figure, what it is called, and whether more is better.
COMPARED = (
    ("burst_bytes", "worst burst", False),
    ("typical_burst_bytes", "typical burst", False),
    ("goodput_bits", "goodput", True),
    ("frames_per_second", "frames a second", True),
    ("cpu_s_per_gb", "processor time a gigabyte", False),
    ("ping_p50_us", "median ping", False),
    ("ping_p99_us", "p99 of ping", False),
)


def make(run: Run) -> Tables:
    """Return every table of a run, by name."""
    parts = {
        "machine": _machine,
        "targets": _targets,
        "figures": _figures,
        "comparisons": _comparisons,
        "shapers": _shapers,
        "buckets": _buckets,
        "skipped": _skipped,
    }
    return {name: list(part(run)) for name, part in parts.items()}


def order(run: Run) -> list[str]:
    """Return who was measured: the bare cable, the kernel's shapers, ours."""
    first = ("bare", *verdict.PEERS)
    shapers = run.shapers()
    return [name for name in first if name in shapers] + [n for n in shapers if n not in first]


def write(tables: Tables, folder: Path) -> None:
    """Write each table that is not empty to `folder/NAME.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in tables.items():
        if records:
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(records[0])
                writer.writerows(map(_spell, each.values()) for each in records)


def read(folder: Path) -> Tables:
    """Read every table of a folder; a number is a number again, and nothing is None."""
    found = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file)
            found[path.stem] = [
                {key: text if key in WORDED else _value(text) for key, text in line.items()}
                for line in lines
            ]
    return found


def _spell(value: object) -> str:
    """Write a value in six digits at most, and None as nothing."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 10**DIGITS else f"{value:.{DIGITS}g}"
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


def _value(text: str) -> str | float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _machine(run: Run) -> Iterator[Record]:
    """Yield what was measured on, how, and what does not fit elsewhere."""
    kept = [each for each in run.measurements if each.steal_percent > MAX_STEAL_PERCENT]
    facts = dict(run.machine)
    facts |= {
        "congestion_control": run.settings.get("congestion_control"),
        "queue": run.settings["queue"],
        "seconds": run.seconds,
        "measurements": len(run.measurements),
        "repeated": sum(each.is_repeated for each in run.measurements),
        "kept_with_steal": len(kept),
        "most_steal_percent": stolen_percent(run.measurements),
    }
    if twenty := run.scale.get("twenty"):
        errors = sorted(abs(each) for each in twenty["error_percent"])
        facts["twenty_worst_error_percent"] = errors[-1]
        facts["twenty_median_error_percent"] = errors[len(errors) // 2]
    for point in run.scale.get("forwarders", []):
        facts[f"frames_per_second_of_{point['forwarders']}"] = point["frames_per_second"]
        facts[f"goodput_bits_of_{point['forwarders']}"] = point["goodput_bits"]
    yield from ({"fact": name, "value": value} for name, value in facts.items())


def _targets(run: Run) -> Iterator[Record]:
    for found in verdict.judge(run):
        yield {
            "target": found.target,
            "measured": found.measured,
            "verdict": WORDS[found.is_met],
        }


def _figures(run: Run) -> Iterator[Record]:
    """Yield the medians of every cell, slow rates first."""
    for rate_bits, traffic in sorted(run.rows(), key=lambda row: row[0]):
        for name in order(run):
            cell = run.cell(name, rate_bits, traffic)
            if len(cell):
                record = {"rate_bits": rate_bits, "traffic": traffic, "shaper": name}
                record |= {"n": len(cell)} | {each: cell.figure(each) for each in FIGURES}
                record |= {f"above_{ms}ms_percent": cell.above(ms) for ms in ("1", "10", "100")}
                yield {**record, "jain": verdict.jain(cell)}


def _comparisons(run: Run) -> Iterator[Record]:
    """Yield by what factor the shaper is worse than a peer: below 1 it is better."""
    for rate_bits, traffic in sorted(run.rows()):
        own = run.cell(verdict.SHAPER, rate_bits, traffic)
        for figure, name, is_more_better in COMPARED:
            for peer in verdict.PEERS:
                value = own.figure(figure)
                other = run.cell(peer, rate_bits, traffic).figure(figure)
                if value and other and not _is_moot(run, figure, peer, rate_bits, traffic):
                    yield {
                        "row": f"{spell_rate(rate_bits)}, {traffic}",
                        "figure": name,
                        "peer": peer,
                        "times_worse": other / value if is_more_better else value / other,
                    }


def _is_moot(run: Run, figure: str, peer: str, rate_bits: int, traffic: str) -> bool:
    """Whether a comparison says nothing: a peer that exceeds the rate carries more unfairly.

    Of UDP goodput and frames are the same, and told once.
    """
    if figure not in ("goodput_bits", "frames_per_second"):
        return False
    is_told_in_frames = traffic in (workload.UDP_SMALL.name, workload.UDP_LARGE.name)
    if is_told_in_frames != (figure == "frames_per_second"):
        return True
    if rate_bits == UNLIMITED_BITS:
        return False
    other = run.cell(peer, rate_bits, traffic)
    error = other.figure("error_percent") or 0.0
    first = other.figure("first_second_percent") or 0.0
    return max(error, first - 100) > BETTER_PERCENT


def _shapers(run: Run) -> Iterator[Record]:
    """Yield what a number of shapers in one daemon weighs."""

    def total(values: dict[str, float], process: str) -> float:
        return sum(value for name, value in values.items() if name.startswith(process))

    for found in run.scale.get("weight", []):
        memory, idle = found["memory_bytes"], found["idle_percent"]
        yield {
            "shapers": found["shapers"],
            **{f"{each}_mib": total(memory, each) / 2**20 for each in PROCESSES},
            **{f"{each}_idle_percent": total(idle, each) for each in PROCESSES},
            "add_ms": found["add_ms"],
            "attach_ms": found["attach_ms"],
        }


def _buckets(run: Run) -> Iterator[Record]:
    """Yield accuracy and smoothness at equal buckets, the shaper last, small buckets first."""
    yield from sorted(
        run.scale.get("trade", []),
        key=lambda point: (
            *(point["rate_bits"], point["traffic"]),
            *(point["shaper"] == verdict.SHAPER, point["shaper"], point["bucket_bytes"]),
        ),
    )


def _skipped(run: Run) -> Iterator[Record]:
    yield from ({"not measured": each} for each in run.skipped)
