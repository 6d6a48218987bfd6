"""The measurements of a run as a data frame, and its cells: medians of what was not disturbed.

A cell is what one shaper did in one row: at one rate, with one kind of traffic. What is not known
is NaN, which no comparison finds true.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

import pandas as pd

from bench.judge import WINDOWS_MS
from bench.results import MAX_STEAL_PERCENT, Measurement, Run

SHAPER = "shaper"
PEERS = ("tbf", "htb")
ORDER = ("bare", *PEERS)  # others follow as they appear

ROW = ["rate_bits", "traffic"]
CELL = [*ROW, "shaper"]
ABOVE = {f"above_{window}ms_percent": str(window) for window in WINDOWS_MS}
FIGURES = (  # of which a cell has the median
    *("error_percent", "error_size_percent", "typical_burst_bytes", "high_burst_bytes"),
    *("burst_bytes", "first_second_percent", "first_second_excess_bytes", "goodput_bits"),
    *("goodput_percent", "frames_per_second", "cpu_s_per_gb"),
    "forwarder_percent",
    *("ping_p10_us", "ping_p50_us", "ping_p99_us", *ABOVE, "jain"),
)


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index of shares: 1 if all are equal, 1/n if one has everything.

    R. Jain, D. Chiu, W. Hawe: A Quantitative Measure of Fairness (DEC-TR-301, 1984).
    """
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def measurements(run: Run, first: Sequence[str] = ORDER) -> pd.DataFrame:
    """Return a row for each measurement, slow rates first, and of each rate some shapers first.

    A disturbed one counts only where none of its cell was undisturbed.
    """
    names = list(dict.fromkeys([*first, *(each.shaper for each in run.measurements)]))
    columns = [each.name for each in fields(Measurement)]
    frame = pd.DataFrame([vars(each) for each in run.measurements], columns=columns)
    for column, window in ABOVE.items():
        frame[column] = [each.get(window) for each in frame["above_percent"]]
    frame["jain"] = [jain(each) if each else math.nan for each in frame["flow_bits"]]
    frame["error_size_percent"] = frame["error_percent"].astype(float).abs()
    frame["goodput_percent"] = 100 * frame["goodput_bits"].astype(float) / frame["rate_bits"]
    frame["forwarder_percent"] = [
        100 * sum(spent for name, spent in each.items() if name.startswith("forwarder")) / seconds
        for each, seconds in zip(frame["process_cpu_s"], frame["seconds"], strict=True)
    ]
    frame = frame.astype(dict.fromkeys(FIGURES, float))
    frame["row"] = frame.groupby(ROW, sort=False).ngroup()
    frame["place"] = frame["shaper"].map(names.index)
    is_calm = frame["steal_percent"] <= MAX_STEAL_PERCENT
    least = frame.groupby(CELL)["steal_percent"].transform("min")
    kept = frame[is_calm | (least > MAX_STEAL_PERCENT)]
    return kept.sort_values(["rate_bits", "row", "place"], kind="stable")


class Medians:
    """The cells of a run; `frame` has the median of each figure, and `n`, of how many."""

    def __init__(self, run: Run) -> None:
        groups = measurements(run).groupby(CELL, sort=False)
        self.frame = groups[list(FIGURES)].median()
        self.frame.insert(0, "n", groups.size())

    def rows(self) -> list[tuple[int, str]]:
        """Return every combination of rate and traffic, slow rates first."""
        return list(dict.fromkeys((rate, traffic) for rate, traffic, _ in self.frame.index))

    def figure(self, shaper: str, rate_bits: int, traffic: str, name: str) -> float:
        """Return one figure of a cell, NaN if it is not known."""
        return float(self.frame[name].get((rate_bits, traffic, shaper), math.nan))

    def row(
        self, rate_bits: int, traffic: str, name: str, shapers: Sequence[str] = (SHAPER, *PEERS)
    ) -> list[float]:
        """Return a figure of each of some shapers in a row."""
        return [self.figure(shaper, rate_bits, traffic, name) for shaper in shapers]
