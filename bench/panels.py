"""The plots of `docs/benchmarks.md`, drawn from its data files: the same files, the same bytes."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")  # files, no display

from matplotlib import pyplot

from bench import workload
from bench.plots import COLOURS
from bench.tables import Record, Tables
from bench.verdict import burst_limit_bytes
from bench.workload import UNLIMITED_BITS, spell_rate

# Text stays text, and nothing differs between two drawings: neither ids nor a date.
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "shaper", "font.size": 9}
PANELS = {
    "error_percent": "size of the rate error, %",
    "burst_bytes": "worst burst, bytes",
    "ping_p99_us": "p99 of ping, µs",
    "cpu_s_per_gb": "processor time, s/GB",
}
TRAFFIC = {"tcp": workload.TCP_4.name, "udp": workload.UDP_LARGE.name}
LEAST_ERROR = 1e-4  # percent: below it is the noise of the clocks


def draw(found: Tables, folder: Path) -> list[str]:
    """Draw every plot there is something for to `folder/NAME.svg`; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    with pyplot.rc_context(STYLE):
        for name, traffic in TRAFFIC.items():
            records = [r for r in found.get("figures", []) if r["traffic"] == traffic]
            names += _save(_over_rate(records, traffic), folder, name)
        names += _save(_buckets(found.get("buckets", [])), folder, "buckets")
    return names


def _save(figure, folder: Path, name: str) -> list[str]:
    """Write a figure if there is one; return its name, or nothing."""
    if figure is None:
        return []
    figure.tight_layout()
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)
    return [name]


def _over_rate(records: list[Record], traffic: str):
    """Draw a panel for each figure that is known, a line for each shaper."""
    limited = [r for r in records if r["rate_bits"] != UNLIMITED_BITS]
    shown = [each for each in PANELS if any(r[each] is not None for r in limited)]
    if not shown:
        return None
    figure, panels = pyplot.subplots(1, len(shown), figsize=(3.2 * len(shown), 3.2), squeeze=False)
    for panel, name in zip(panels[0], shown, strict=True):
        for shaper, colour in COLOURS.items():
            own = [r for r in limited if r["shaper"] == shaper and r[name] is not None]
            values = [max(abs(r[name]), LEAST_ERROR) for r in own]
            if values:
                panel.plot([r["rate_bits"] for r in own], values, "o-", color=colour, label=shaper)
        panel.set(title=PANELS[name], xlabel="rate, bit/s", xscale="log", yscale="log")
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    if "burst_bytes" in shown:
        rates = sorted({r["rate_bits"] for r in limited})
        limits = [burst_limit_bytes(int(rate)) for rate in rates]
        panel = panels[0][shown.index("burst_bytes")]
        panel.plot(rates, limits, "k:", label="2 frames + 1 ms")
        panel.legend(fontsize=7)
    figure.suptitle(traffic)
    return figure


def _buckets(records: list[Record]):
    """Draw the rate error over the worst burst, a panel for each row, a point for each bucket."""
    rows = list(dict.fromkeys((r["rate_bits"], r["traffic"]) for r in records))
    if not rows:
        return None
    figure, panels = pyplot.subplots(1, len(rows), figsize=(3.2 * len(rows), 3.2), squeeze=False)
    for panel, row in zip(panels[0], rows, strict=True):
        for shaper in ("tbf", "shaper"):
            own = [
                r for r in records if (r["rate_bits"], r["traffic"], r["shaper"]) == (*row, shaper)
            ]
            points = sorted(
                (r["burst_bytes"], max(abs(r["error_percent"]), LEAST_ERROR)) for r in own
            )
            if points:
                panel.plot(*zip(*points, strict=True), "o-", color=COLOURS[shaper], label=shaper)
        panel.set(title=f"{spell_rate(row[0])}, {row[1]}", xlabel="worst burst, bytes")
        panel.set(xscale="log", yscale="log")
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("size of the rate error, %")
    panels[0][0].legend()
    return figure
