"""What is seen while something is measured, and how its figures are written."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from bench.results import Measurement
from bench.workload import spell_rate

BAR = 24  # characters
WIDE = 400  # columns: a table that goes to a file or a narrow terminal keeps its lines


def _or_dash(spell: Callable[..., str]) -> Callable[..., str]:
    """Make a function write what is not known, None or NaN, as a dash."""

    @functools.wraps(spell)
    def spell_known(value: float | None, **options: bool) -> str:
        return "-" if value is None or math.isnan(value) else spell(value, **options)

    return spell_known


@_or_dash
def spell_count(value: float) -> str:
    """Write a number with k, M or G, in about three digits."""
    for scale, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


@_or_dash
def spell_percent(value: float, *, signed: bool = True) -> str:
    """Write a percentage so that a hundredth of it can be seen where it matters."""
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:{'+' if signed else ''}.{digits}f} %"


@_or_dash
def spell_us(value: float) -> str:
    """Write a time in microseconds, or milliseconds if it is long."""
    return f"{value:.0f} us" if value < 1000 else f"{value / 1000:.3g} ms"


def spell_pair(
    first: float | None, second: float | None, spell: Callable[..., str] = spell_count
) -> str:
    """Write two figures that belong together; nothing of both is one dash."""
    pair = f"{spell(first)} / {spell(second)}"
    return "-" if pair == "- / -" else pair


class Progress:
    """A line redrawn in place on a terminal, and one line for each result anywhere."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        columns = (TimeElapsedColumn(), BarColumn(BAR), TextColumn("{task.description}"))
        # Drawn when told, by no thread of its own: processes are forked meanwhile.
        self._bar = Bar(
            *columns,
            console=self._console,
            auto_refresh=False,
            transient=True,
            disable=not self._console.is_terminal,
        )

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text)

    @contextmanager
    def turn(self, title: str) -> Iterator[Callable[[float], None]]:
        """Give what a measurement calls while it waits, with the share of it that is over."""
        with self._bar:
            task = self._bar.add_task(title, total=1.0)

            def draw(share: float) -> None:
                self._bar.update(task, completed=share)
                self._bar.refresh()

            try:
                yield draw
            finally:
                self._bar.remove_task(task)

    def tell(self, found: Measurement) -> None:
        """Print the figures of one measurement."""
        parts = [
            f"  {spell_rate(found.rate_bits):>10}  {found.traffic:<22}{found.shaper:<12}",
            f"error {spell_percent(found.error_percent):>10}",
            f"burst {spell_pair(found.typical_burst_bytes, found.burst_bytes):>13}",
            f"{spell_count(found.goodput_bits):>6}bit/s",
            f"{spell_count(found.frames_per_second):>6} frames/s",
            f"ping {spell_us(found.ping_p50_us):>8}, p99 {spell_us(found.ping_p99_us):>8}",
            f"steal {found.steal_percent:.1f} %",
        ]
        if found.lost_frames:
            parts.append(f"the recording lost {found.lost_frames} frames")
        self.say("  ".join(parts))


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], left: int = 2) -> str:
    """Lay a table out in columns: the first `left` to the left, the others to the right."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=True)
    for at, head in enumerate(heads):
        grid.add_column(head, justify="left" if at < left else "right", no_wrap=True)
    for line in lines:
        grid.add_row(*line)
    console = Console(width=WIDE, color_system=None, markup=False, highlight=False)
    with console.capture() as text:
        console.print(grid)
    return "\n".join(line.rstrip() for line in text.get().splitlines())


def grid(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown: the first column to the left, the others to the right."""
    heads = list(heads)
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join(f"|{'|'.join(line)}|" for line in [heads, rule, *lines])
