"""The shaper beside what another kernel has: CAKE, leaves of fq_codel, netem.

Pure. Tables and section of `docs/benchmarks.md` from a run of `make bench-kernels`.
"""

from __future__ import annotations

import pandas as pd

from bench import workload
from bench.cells import CELL, measurements
from bench.results import Run
from bench.rows import KERNEL_RATES_BITS
from bench.tables import Tables, facts
from bench.terminal import grid
from bench.workload import spell_rate

NAME, MACHINE = "kernels", "kernels_machine"
TCP = workload.TCP_4.name
FIGURES = (
    *("ping_p50_us", "ping_p99_us", "typical_burst_bytes", "high_burst_bytes", "burst_bytes"),
    *("error_size_percent", "goodput_percent", "jain"),
)
ENDS = {"median": "", "min": "_least", "max": "_most"}
# Of the table: head, traffic, figure, digits, unit.
COLUMNS = (
    ("ping p50, ms", TCP, "ping_p50_us", 2, 1000),
    ("p99, ms", TCP, "ping_p99_us", 1, 1000),
    ("burst, kB", TCP, "typical_burst_bytes", 1, 1000),
    ("worst, kB", TCP, "burst_bytes", 1, 1000),
    ("error, %", workload.UDP_LARGE.name, "error_size_percent", 3, 1),
    ("Jain", workload.TCP_8.name, "jain", 3, 1),
    ("kept, %", workload.FLOOD.name, "goodput_percent", 0, 1),
)


def tables(run: Run) -> Tables:
    """Return the tables of a run: the figures with their spread, and the machine."""
    frame = measurements(run, first=())
    frame["jain"] = frame["jain"].where(frame["flow_bits"].map(len) > 1)
    groups = frame.groupby(CELL, sort=False)
    spread = groups[list(FIGURES)].agg(list(ENDS))
    spread.columns = [f"{figure}{ENDS[end]}" for figure, end in spread.columns]
    spread.insert(0, "n", groups.size())
    machine = {**run.machine, "seconds": run.seconds, "measurements": len(run.measurements)}
    return {NAME: spread.reset_index(), MACHINE: pd.DataFrame(facts(machine))}


def texts(found: Tables) -> dict[str, str]:
    """Return what the document says of it; nothing where another kernel was not measured."""
    if NAME not in found:
        return {}
    frame = found[NAME].set_index(CELL)
    names = frame.xs(TCP, level="traffic").index.unique("shaper")
    lines = [
        [f"{spell_rate(rate)}, {name}", *_fields(frame, rate, name)]
        for rate in KERNEL_RATES_BITS
        for name in names
    ]
    return {
        "uml": dict(found[MACHINE].itertuples(index=False))["kernel"],
        "rounds": str(frame["n"].min()),
        "kernels": grid(["", *(head for head, *_ in COLUMNS)], lines),
        "delayed": _delayed(frame),
    }


def _fields(frame: pd.DataFrame, rate_bits: int, name: str) -> list[str]:
    """Return the figures of one shaper at one rate as text, delays with their spread."""
    texts = []
    for _, traffic, figure, digits, unit in COLUMNS:
        cell = (rate_bits, traffic, name)
        values = [frame[f"{figure}{end}"].get(cell, float("nan")) / unit for end in ENDS.values()]
        middle, least, most = (f"{value:.{digits}f}" for value in values)
        spread = f" ({least}-{most})" if figure.startswith("ping") else ""
        texts.append("-" if middle == "nan" else f"{middle}{spread}")
    return texts


def _delayed(frame: pd.DataFrame) -> str:
    """Return what a ping takes where 20 ms of delay are asked for."""
    delayed = frame[frame.index.get_level_values("traffic") == workload.DELAYED.name] / 1000
    said = [
        f"{name} {p50:.2f} / {p99:.2f} ms"
        for (*_, name), p50, p99 in delayed[["ping_p50_us", "ping_p99_us"]].itertuples()
    ]
    return ", ".join(said)
