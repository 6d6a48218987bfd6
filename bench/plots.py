"""The plots of a run: rate kept, burst, delays, and the trade of buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")  # files, no display

from matplotlib import pyplot
from matplotlib.ticker import NullFormatter

from bench import trade, workload
from bench.results import Run
from bench.verdict import burst_limit_bytes
from bench.workload import UNLIMITED_BITS, spell_rate

COLOURS = {"bare": "0.6", "tbf": "tab:orange", "htb": "tab:green", "shaper": "tab:blue"}
PLAIN_COLOUR = "tab:cyan"
BURST_LABELS = {"typical_burst_bytes": "typical burst", "burst_bytes": "worst burst"}
SIZE_INCHES = (11, 7)


def draw(run: Run, folder: Path, stem: str) -> list[str]:
    """Draw every plot there is something for; return the names of the files: `stem-rate.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, paint in (
        ("rate", _rate),
        ("burst", _burst),
        ("delay", _delay),
        ("trade", _trade),
    ):
        figure = paint(run)
        if figure is not None:
            figure.tight_layout()
            figure.savefig(folder / f"{stem}-{name}.png", dpi=110)
            pyplot.close(figure)
            names.append(f"{stem}-{name}.png")
    return names


def _colour(name: str) -> str:
    return COLOURS.get(name, PLAIN_COLOUR)


def _over_rate(run: Run, lines: Mapping[str, str], label: str):
    """Draw figures, each in its style of line, over the rate; a panel for each traffic."""
    kinds = [workload.UDP_SMALL, workload.UDP_LARGE, workload.TCP_1, workload.TCP_4]
    shown = [kind.name for kind in kinds if any(t == kind.name for _, t in run.rows())]
    if not shown:
        return None
    figure, panels = pyplot.subplots(
        1, len(shown), figsize=SIZE_INCHES, sharey=True, squeeze=False
    )
    for panel, traffic in zip(panels[0], shown, strict=True):
        for name in run.shapers():
            for figure_name, style in lines.items():
                points = _points(run, name, traffic, figure_name)
                if points:
                    panel.plot(*zip(*points, strict=True), style, color=_colour(name), label=name)
        panel.set(title=traffic, xlabel="configured rate, bit/s", xscale="log")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel(label)
    return figure


def _points(run: Run, name: str, traffic: str, figure_name: str) -> list[tuple[int, float]]:
    """Return what is known of a figure at each rate."""
    rates = sorted(r for r, t in run.rows() if t == traffic and r != UNLIMITED_BITS)
    points = [(r, run.cell(name, r, traffic).figure(figure_name)) for r in rates]
    return [(r, value) for r, value in points if value is not None]


def _rate(run: Run):
    lines = {"error_percent": "o-"}
    figure = _over_rate(run, lines, "achieved rate, % off the configured one")
    if figure is not None:
        for panel in figure.axes:
            panel.set_yscale("symlog", linthresh=0.01)
            panel.axhline(0, color="black", linewidth=0.8)
        figure.axes[-1].legend()
    return figure


def _burst(run: Run):
    """Draw the worst burst as a line, the typical one as a broken line."""
    lines = {"burst_bytes": "o-", "typical_burst_bytes": "o--"}
    label = "burst, bytes: worst (line) and typical (broken line)"
    figure = _over_rate(run, lines, label)
    if figure is not None:
        for panel in figure.axes:
            panel.set_yscale("log")
            rates = [10**power for power in range(4, 10)]
            limits = [burst_limit_bytes(rate) for rate in rates]
            panel.plot(rates, limits, "k:", label="2 frames + 1 ms")
        _explain(figure.axes[-1])
    return figure


def _explain(panel) -> None:
    """Add a legend that names each shaper once, by its first line."""
    handles, labels = panel.get_legend_handles_labels()
    unique = dict(reversed(list(zip(labels, handles, strict=True))))
    panel.legend(unique.values(), unique.keys())


def _delay(run: Run):
    """Draw the distributions of round trips, a panel for each row that has any."""
    pinged = [row for row in sorted(run.rows()) if _has_pings(run, *row)]
    if not pinged:
        return None
    columns = 4
    lines = -(-len(pinged) // columns)
    figure, panels = pyplot.subplots(
        lines, columns, figsize=(4 * columns, 3 * lines), squeeze=False
    )
    for panel in panels.flat[len(pinged) :]:
        panel.axis("off")
    for panel, (rate_bits, traffic) in zip(panels.flat, pinged, strict=False):
        for name in run.shapers():
            trips = sorted(run.cell(name, rate_bits, traffic).round_trips_us())
            if trips:
                shares = [(at + 1) / len(trips) for at in range(len(trips))]
                milliseconds = [each / 1000 for each in trips]
                panel.plot(milliseconds, shares, color=_colour(name), label=name)
        panel.set(title=f"{spell_rate(rate_bits)}, {traffic}", xscale="log", ylim=(0, 1))
        panel.grid(alpha=0.3)
    panels[0][0].legend()
    figure.supxlabel("round trip, ms")
    figure.supylabel("share of pings answered within it")
    return figure


def _has_pings(run: Run, rate_bits: int, traffic: str) -> bool:
    return any(run.cell(n, rate_bits, traffic).round_trips_us() for n in run.shapers())


def _trade(run: Run):
    """Draw what a larger bucket gains in accuracy and costs in smoothness, tbf's and ours."""
    found = trade.curves(trade.read(run.scale.get("trade", [])))
    if not found:
        return None
    figure, panels = pyplot.subplots(
        2, len(found), figsize=(4 * len(found), 7), sharey=True, squeeze=False
    )
    for at, ((rate_bits, traffic), by_name) in enumerate(found.items()):
        for panel, which in zip(panels[:, at], BURST_LABELS, strict=True):
            for name, curve in by_name.items():
                _trace(panel, name, curve, which)
            panel.set(xscale="log", xlabel=f"{BURST_LABELS[which]}, bytes")
            panel.set_yscale("symlog", linthresh=0.001)
            panel.set_ylim(0, 200)
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.grid(alpha=0.3)
        panels[0][at].set_title(f"{spell_rate(rate_bits)}, {traffic}")
    for panel in panels[:, 0]:
        panel.set_ylabel("size of the rate error, %")
    panels[0][0].legend(title="ms of the rate in the bucket", title_fontsize=7, fontsize=7)
    return figure


def _trace(panel, name: str, curve: Sequence[trade.Point], which: str) -> None:
    """Draw a shaper's points from the smallest bucket to the largest, and name the buckets."""
    known = [point for point in curve if getattr(point, which) is not None]
    bursts = [getattr(point, which) for point in known]
    errors = [abs(point.error_percent) for point in known]
    panel.plot(bursts, errors, "o-", color=_colour(name), label=name, alpha=0.8)
    for point, place in zip(known, zip(bursts, errors, strict=True), strict=True):
        text = f"{point.credit_us / 1000:g}"
        panel.annotate(text, place, fontsize=7, xytext=(3, 3), textcoords="offset points")
