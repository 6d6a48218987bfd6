"""The plots of `docs/benchmarks.md` and of a run, drawn from its tables: same data, same bytes."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("agg")  # files, no display

from matplotlib import pyplot

from bench import workload
from bench.tables import Tables
from bench.verdict import burst_limit_bytes
from bench.workload import UNLIMITED_BITS, spell_rate

COLOURS = {"bare": "0.6", "tbf": "tab:orange", "htb": "tab:green", "shaper": "tab:blue"}
# Text stays text, and nothing differs between two drawings: neither ids nor a date.
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "shaper", "font.size": 9}
PANELS = {
    "error_percent": "size of the rate error, %",
    "burst_bytes": "worst burst, bytes",
    "ping_p99_us": "p99 of ping, µs",
    "cpu_s_per_gb": "processor time, s/GB",
}
TRAFFIC = {"tcp": workload.TCP_4.name, "udp": workload.UDP_LARGE.name}
SIDE = 3.2  # inches, of a panel
LEAST_ERROR = 1e-4  # percent: below it is the noise of the clocks


def draw(found: Tables, folder: Path, prefix: str = "") -> list[str]:
    """Draw every plot there is something for to `folder/PREFIXNAME.svg`; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    with pyplot.rc_context(STYLE):
        for name in (*TRAFFIC, "buckets"):
            figure = _buckets(found) if name == "buckets" else _over_rate(found, TRAFFIC[name])
            if figure is not None:
                figure.tight_layout()
                figure.savefig(folder / f"{prefix}{name}.svg", metadata={"Date": None})
                pyplot.close(figure)
                names.append(name)
    return names


def _draw(panel, own: pd.DataFrame, x: str, y: str, shaper: str) -> None:
    """Draw a line for a shaper that has points; an error by its size."""
    points = own[[x, y]].dropna().abs().clip(lower=LEAST_ERROR).sort_values([x, y])
    if not points.empty:
        panel.plot(points[x], points[y], "o-", color=COLOURS[shaper], label=shaper)


def _finish(panel, title: str, label: str) -> None:
    panel.set(title=title, xlabel=label, xscale="log", yscale="log")
    panel.minorticks_off()
    panel.grid(alpha=0.3)


def _over_rate(found: Tables, traffic: str):
    """Draw a panel for each figure that is known, a line for each shaper."""
    frame = found["figures"]
    frame = frame[(frame["traffic"] == traffic) & (frame["rate_bits"] != UNLIMITED_BITS)]
    shown = [each for each in PANELS if frame[each].notna().any()]
    if not shown:
        return None
    figure, (panels,) = pyplot.subplots(1, len(shown), squeeze=False)
    figure.set_size_inches(SIDE * len(shown), SIDE)
    for panel, name in zip(panels, shown, strict=True):
        for shaper in COLOURS:
            _draw(panel, frame[frame["shaper"] == shaper], "rate_bits", name, shaper)
        _finish(panel, PANELS[name], "rate, bit/s")
    if "burst_bytes" in shown:
        rates = sorted(frame["rate_bits"].unique())
        panel = panels[shown.index("burst_bytes")]
        panel.plot(rates, list(map(burst_limit_bytes, rates)), "k:", label="2 frames + 1 ms")
        panel.legend(fontsize=7)
    figure.suptitle(traffic)
    return figure


def _buckets(found: Tables):
    """Draw the rate error over the worst burst, a panel for each row, a point for each bucket."""
    frame = found.get("buckets")
    if frame is None or frame.empty:
        return None
    rows = list(frame.groupby(["rate_bits", "traffic"]))
    figure, (panels,) = pyplot.subplots(1, len(rows), squeeze=False)
    figure.set_size_inches(SIDE * len(rows), SIDE)
    for panel, ((rate_bits, traffic), points) in zip(panels, rows, strict=True):
        for shaper in ("tbf", "shaper"):
            own = points[points["shaper"] == shaper]
            _draw(panel, own, "burst_bytes", "error_percent", shaper)
        _finish(panel, f"{spell_rate(rate_bits)}, {traffic}", "worst burst, bytes")
    panels[0].set_ylabel("size of the rate error, %")
    panels[0].legend()
    return figure
