"""The tables of a run as data frames: a CSV file each, from which `docs/benchmarks.md` is written.

What the document shows of them is a choice; the files hold everything. Pure but for the two
functions that read and write the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench import workload
from bench.cells import ABOVE, PEERS, SHAPER, Medians
from bench.results import MAX_STEAL_PERCENT, Run
from bench.verdict import judge
from bench.workload import UNLIMITED_BITS, spell_rate

Tables = Mapping[str, pd.DataFrame]

BETTER_PERCENT = 5  # chosen: a difference smaller than this is called none
DIGITS = 6  # chosen: of a number in a file
WORDS = {True: "met", False: "missed", None: "not judged"}
WORDED = ("target", "measured", "not measured", "fact", "value")  # may look like numbers
PROCESSES = ("supervisor", "forwarder")
FIGURES = (
    *("error_percent", "typical_burst_bytes", "burst_bytes", "first_second_percent"),
    *("goodput_bits", "frames_per_second", "cpu_s_per_gb"),
    *("ping_p10_us", "ping_p50_us", "ping_p99_us", *ABOVE, "jain"),
)
TRADED = (
    *("shaper", "rate_bits", "traffic", "credit_us", "bucket_bytes"),
    *("steal_percent", "error_percent", "burst_bytes", "typical_burst_bytes"),
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
    cells = Medians(run)
    records = {
        "machine": facts(run.machine | _conduct(run)),
        "targets": [{**each._asdict(), "verdict": WORDS[each.verdict]} for each in judge(run)],
        "comparisons": _comparisons(cells),
        "shapers": _shapers(run),
        "skipped": ({"not measured": each} for each in run.skipped),
    }
    tables = {name: pd.DataFrame(each) for name, each in records.items()}
    # tbf before the shaper, and small buckets before large ones.
    trade = pd.DataFrame(run.scale.get("trade", []), columns=TRADED)
    order = {"rate_bits": True, "traffic": True, "shaper": False, "bucket_bytes": True}
    buckets = trade.sort_values(list(order), ascending=list(order.values()))
    return {**tables, "buckets": buckets, "figures": cells.frame[["n", *FIGURES]].reset_index()}


def write(tables: Tables, folder: Path) -> None:
    """Write each table that is not empty to `folder/NAME.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        if not table.empty:
            path = folder / f"{name}.csv"
            table.to_csv(path, index=False, float_format=spell, lineterminator="\n")


def read(folder: Path) -> Tables:
    """Read every table of a folder."""
    words = dict.fromkeys(WORDED, str)
    return {
        path.stem: pd.read_csv(path, dtype=words, keep_default_na=False, na_values=[""])
        for path in sorted(folder.glob("*.csv"))
    }


def spell(value: object) -> str:
    """Write a value in six digits at most, and None as nothing."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 10**DIGITS else f"{value:.{DIGITS}g}"
    return "" if value is None else str(value)


def facts(named: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the records of a table of facts."""
    return [{"fact": name, "value": spell(value)} for name, value in named.items()]


def _conduct(run: Run) -> dict[str, Any]:
    """Return how it was measured, and what does not fit elsewhere."""
    steal = [each.steal_percent for each in run.measurements]
    facts = {
        "congestion_control": run.settings.get("congestion_control"),
        "queue": run.settings["queue"],
        "seconds": run.seconds,
        "measurements": len(run.measurements),
        "repeated": sum(each.is_repeated for each in run.measurements),
        "kept_with_steal": sum(each > MAX_STEAL_PERCENT for each in steal),
        "most_steal_percent": max(steal, default=0.0),
    }
    if twenty := run.scale.get("twenty"):
        errors = sorted(abs(each) for each in twenty["error_percent"])
        facts["twenty_worst_error_percent"] = errors[-1]
        facts["twenty_median_error_percent"] = errors[len(errors) // 2]
    for point in run.scale.get("forwarders", []):
        for figure in ("frames_per_second", "goodput_bits"):
            facts[f"{figure}_of_{point['forwarders']}"] = point[figure]
    return facts


def _comparisons(cells: Medians) -> Iterator[dict[str, Any]]:
    """Yield by what factor the shaper is worse than a peer: below 1 it is better."""
    for row in sorted(cells.rows()):
        for figure, name, is_more_better in COMPARED:
            value = cells.figure(SHAPER, *row, figure)
            for peer in PEERS:
                other = cells.figure(peer, *row, figure)
                if value * other > 0 and not _is_moot(cells, figure, peer, *row):
                    yield {
                        "row": f"{spell_rate(row[0])}, {row[1]}",
                        "figure": name,
                        "peer": peer,
                        "times_worse": other / value if is_more_better else value / other,
                    }


def _is_moot(cells: Medians, figure: str, peer: str, rate_bits: int, traffic: str) -> bool:
    """Whether a comparison says nothing: a peer that exceeds the rate carries more unfairly.

    Of UDP goodput and frames are the same, and told once.
    """
    if figure not in ("goodput_bits", "frames_per_second"):
        return False
    is_told_in_frames = traffic in (workload.UDP_SMALL.name, workload.UDP_LARGE.name)
    if is_told_in_frames != (figure == "frames_per_second"):
        return True
    error = cells.figure(peer, rate_bits, traffic, "error_percent")
    first = cells.figure(peer, rate_bits, traffic, "first_second_percent")
    is_above = error > BETTER_PERCENT or first - 100 > BETTER_PERCENT
    return rate_bits != UNLIMITED_BITS and is_above


def _shapers(run: Run) -> Iterator[dict[str, Any]]:
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
