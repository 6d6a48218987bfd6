"""`shapecfg watch`: shapers live, a panel each; plain lines where there is no terminal.

rich draws, and is imported here alone. A look asks the daemon once for all shapers, once a second.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from shapecfg.client import EXIT_REFUSED, CallError, Client
from shapecfg.reply import Shaper, printable
from shapecfg.series import Series, ShaperSeries
from shaper.units import format_measured_rate, format_rate, format_size

# Chosen.
_BARS = " ▁▂▃▄▅▆▇█"
_GRAPH_LINES = 4
_LEAST_WIDTH = 40
_HEADROOM = 1.1  # of the graph above the configured rate
_PICTURE_WIDTH = 100  # of an SVG, in characters
_KEYS = "q quit   p pause   s sort"
_MILLISECOND_NS = 1_000_000
_KILLED = 128  # and the signal, as shells report it


@dataclass
class Controls:
    """What the keys have set.

    Attributes:
        is_paused: nothing new is drawn.
        order: which of `_ORDERS`.
        has_ended: the view is left.
    """

    is_paused: bool = False
    order: int = 0
    has_ended: bool = False

    def press(self, key: str) -> None:
        """Obey a key; others do nothing."""
        if key in ("q", "\x03", "\x04"):
            self.has_ended = True
        elif key == "p":
            self.is_paused = not self.is_paused
        elif key == "s":
            self.order = (self.order + 1) % len(_ORDERS)


def _rate(track: ShaperSeries) -> float:
    return -track.rates[-1] if track.rates else 0.0


def _drops(track: ShaperSeries) -> float:
    return -sum(track.moment.dropped.values()) if track.moment else 0.0


_ORDERS: tuple[tuple[str, Callable[[ShaperSeries], float]], ...] = (
    ("name", lambda _: 0.0),
    ("rate", _rate),
    ("drops", _drops),
)


def watch(
    client: Client,
    devices: tuple[str, ...],
    *,
    is_json: bool,
    interval_seconds: float = 1.0,
    looks: int | None = None,
    svg: Path | None = None,
    has_color: bool = True,
) -> None:
    """Show shapers until told to stop.

    Args:
        client: the daemon.
        devices: which; empty: all.
        is_json: print a line of JSON a look.
        interval_seconds: between looks.
        looks: how many; None: no end.
        svg: where the last view is drawn to, as a picture.
        has_color: of the panels on a terminal.
    """
    if is_json:
        _watch_json(client, devices, interval_seconds, looks)
    elif svg is None and not _can_draw():
        _watch_lines(client, devices, interval_seconds, looks)
    else:
        console = Console(
            record=svg is not None,
            width=_PICTURE_WIDTH if svg else None,
            no_color=svg is None and not has_color,
        )
        _watch_panels(client, devices, interval_seconds, looks, console, svg)


def _can_draw() -> bool:
    """Whether there are keys to be pressed, and a screen on which the cursor can be moved."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return is_terminal and os.environ.get("TERM") != "dumb"


def _looks(
    client: Client, devices: tuple[str, ...], interval_seconds: float, looks: int | None
) -> Iterator[tuple[Series, list[Shaper]]]:
    """Look at intervals that do not drift; yield what is known by then."""
    series = Series()
    due = time.monotonic()
    while looks is None or looks > 0:
        shapers = _selected(client, devices)
        series.add(printable(shapers), now_ns=time.monotonic_ns())
        yield series, shapers
        looks = None if looks is None else looks - 1
        due = max(due + interval_seconds, time.monotonic())
        if looks != 0:
            time.sleep(max(0.0, due - time.monotonic()))


def _selected(client: Client, devices: tuple[str, ...]) -> list[Shaper]:
    if not devices:
        return client.show()
    return [shaper for device in devices for shaper in client.show(device)]


def _watch_json(
    client: Client, devices: tuple[str, ...], interval_seconds: float, looks: int | None
) -> None:
    for _, shapers in _looks(client, devices, interval_seconds, looks):
        line = {"time": time.time(), "shapers": shapers}
        print(json.dumps(line, separators=(",", ":")), flush=True)


def _watch_lines(
    client: Client, devices: tuple[str, ...], interval_seconds: float, looks: int | None
) -> None:
    for series, _ in _looks(client, devices, interval_seconds, looks):
        for track in series.tracks.values():
            if track.moment is not None:
                print(plain_line(track), flush=True)


def _watch_panels(
    client: Client,
    devices: tuple[str, ...],
    interval_seconds: float,
    looks: int | None,
    console: Console,
    svg: Path | None,
) -> None:
    controls = Controls()
    series = Series()
    with (
        ending_in_order(),
        keys() as pressed,
        Live(console=console, auto_refresh=False, screen=svg is None) as live,
    ):
        for series, _ in _looks(client, devices, 0.0, looks):
            _hold(live, series, controls, pressed, interval_seconds)
            if controls.has_ended:
                break
    if svg is not None:
        console.export_text()  # forget the views before the last
        console.print(view(series, controls, console.width))
        drawn = console.export_svg(title="shapecfg watch")
        # rich names fonts to be fetched; a monospaced one is at hand everywhere.
        picture = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
        try:
            svg.write_text(picture)
        except OSError as error:
            raise CallError(f"cannot write {svg}: {error.strerror}", EXIT_REFUSED) from error


def _hold(
    live: Live,
    series: Series,
    controls: Controls,
    pressed: Callable[[float], str],
    seconds: float,
) -> None:
    """Show what is known until the next look is due; obey keys meanwhile."""
    due = time.monotonic() + seconds
    while not controls.has_ended:
        if not controls.is_paused:
            live.update(view(series, controls, live.console.width), refresh=True)
        left_seconds = due - time.monotonic()
        key = pressed(left_seconds) if left_seconds > 0 else ""
        if not key:
            return
        controls.press(key)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Have a signal that ends the program leave the terminal as it was."""

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(_KILLED + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def keys() -> Iterator[Callable[[float], str]]:
    """Read single keys without echo; yield what waits for some seconds and returns them."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else ""

    try:
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _no_key(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def view(series: Series, controls: Controls, width: int) -> Group:
    """Return all panels, in the order the keys have chosen, and the line of keys."""
    name, sort_key = _ORDERS[controls.order]
    tracks = sorted(series.tracks.values(), key=sort_key)
    hint = f"{_KEYS}   (by {name}{', paused' if controls.is_paused else ''})"
    panels = [panel(track, width) for track in tracks]
    return Group(*panels, Text(hint, style="dim"))


def panel(track: ShaperSeries, width: int) -> Panel:
    """Return one shaper: its rate over time against its limit, delays, drops, warnings."""
    shaper = track.shaper
    rate_bits = shaper["options"]["rate_bits"]
    lines = graph(list(track.rates), rate_bits, max(_LEAST_WIDTH, width - 4))
    body = [Text(line, style="cyan") for line in lines]
    body += [Text(line) for line in details(track)]
    body += [
        Text(f"! {alarm['alarm']}: {alarm['sentence']}", style="bold red")
        for alarm in shaper["alarms"] or ()
    ]
    body += [Text(f"! {warning}", style="yellow") for warning in shaper["warnings"]]
    link = f"@{shaper['link']}" if shaper["link"] else ""
    title = f"{shaper['ifname']}{link}  {_limit(rate_bits)}  {shaper['state']}"
    is_well = shaper["state"] == "active" and not (shaper["warnings"] or shaper["alarms"])
    return Panel(
        Group(*body), title=title, title_align="left", border_style="green" if is_well else "red"
    )


def graph(rates: list[float], rate_bits: int, width: int) -> list[str]:
    """Return a bar for each look, the top of the graph a little above the configured rate."""
    top = max([rate_bits * _HEADROOM, *rates, 1.0])
    shown = rates[-width:]
    steps = len(_BARS) - 1
    heights = [round(rate / top * _GRAPH_LINES * steps) for rate in shown]
    lines = []
    for level in range(_GRAPH_LINES - 1, -1, -1):
        cells = [_BARS[min(max(height - level * steps, 0), steps)] for height in heights]
        lines.append("".join(cells).rjust(width))
    return lines


def details(track: ShaperSeries) -> list[str]:
    """Return the numbers of the last second in words."""
    moment, rate_bits = track.moment, track.shaper["options"]["rate_bits"]
    if moment is None:
        return ["(first look)"]
    first = f"sent {format_measured_rate(round(moment.sent_bits))}"
    if rate_bits:
        first += f" ({100 * moment.sent_bits / rate_bits:.1f}% of {format_rate(rate_bits)})"
    if moment.delay_ns is not None and moment.delay_p99_ns is not None:
        first += f"   delay {_ms(moment.delay_ns)} p99 {_ms(moment.delay_p99_ns)}"
    if burst := track.shaper["stats"]["lately_burst_bytes"]:
        first += f"   burst {format_size(burst)}"
    drops = ", ".join(f"{reason} {rate:.0f}/s" for reason, rate in moment.dropped.items())
    backlog = track.shaper["stats"]["backlog_packets"]
    return [first, f"backlog {backlog}p   dropped {drops or 'nothing'}"]


def plain_line(track: ShaperSeries) -> str:
    """Return a shaper's last second on one line, for a pipe."""
    shaper = track.shaper
    return f"{shaper['ifname']} {shaper['state']} {'   '.join(details(track))}"


def _limit(rate_bits: int) -> str:
    return format_rate(rate_bits) if rate_bits else "no speed"


def _ms(time_ns: int) -> str:
    return f"{time_ns / _MILLISECOND_NS:.1f}ms"
