"""The plots of a run: rate kept, burst, delays, and the trade of buckets."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")  # files, no display

from matplotlib import pyplot

from bench import workload
from bench.results import Run
from bench.workload import UNLIMITED_BITS, spell_rate

COLOURS = {"bare": "0.6", "tbf": "tab:orange", "htb": "tab:green", "shaper": "tab:blue"}
PLAIN_COLOUR = "tab:cyan"
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


def _over_rate(run: Run, figure_name: str, label: str):
    """Draw a figure over the rate, a panel for each kind of traffic."""
    kinds = [workload.UDP_SMALL, workload.UDP_LARGE, workload.TCP_1, workload.TCP_4]
    shown = [kind.name for kind in kinds if any(t == kind.name for _, t in run.rows())]
    if not shown:
        return None
    figure, panels = pyplot.subplots(
        1, len(shown), figsize=SIZE_INCHES, sharey=True, squeeze=False
    )
    for panel, traffic in zip(panels[0], shown, strict=True):
        rates = sorted(r for r, t in run.rows() if t == traffic and r != UNLIMITED_BITS)
        for name in run.shapers():
            points = [(r, run.cell(name, r, traffic).figure(figure_name)) for r in rates]
            points = [(r, value) for r, value in points if value is not None]
            if points:
                panel.plot(*zip(*points, strict=True), "o-", color=_colour(name), label=name)
        panel.set(title=traffic, xlabel="configured rate, bit/s", xscale="log")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel(label)
    panels[0][-1].legend()
    return figure


def _rate(run: Run):
    figure = _over_rate(run, "error_percent", "achieved rate, % off the configured one")
    if figure is not None:
        for panel in figure.axes:
            panel.set_yscale("symlog", linthresh=0.01)
            panel.axhline(0, color="black", linewidth=0.8)
    return figure


def _burst(run: Run):
    figure = _over_rate(run, "burst_bytes", "burst: smallest bucket obeyed, bytes")
    if figure is not None:
        for panel in figure.axes:
            panel.set_yscale("log")
            rates = [10**power for power in range(4, 10)]
            panel.plot(rates, [3028 + r / 8000 for r in rates], "k:", label="2 frames + 1 ms")
    return figure


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
    """Draw what a larger bucket gains in accuracy and costs in smoothness."""
    points = run.scale.get("trade")
    if not points:
        return None
    figure, panel = pyplot.subplots(figsize=(8, 5))
    buckets = [point["bucket_bytes"] for point in points]
    panel.plot(buckets, [abs(p["error_percent"]) for p in points], "o", color="tab:blue")
    panel.set(xlabel="bucket set, bytes", ylabel="size of the rate error, %", xscale="log")
    other = panel.twinx()
    other.plot(buckets, [point["burst_bytes"] for point in points], "s", color="tab:orange")
    other.set_ylabel("burst seen, bytes")
    return figure
