"""What is seen while the benchmark runs, and its table at the end."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence

from bench.results import Measurement
from bench.workload import spell_rate

BAR = 20  # characters
MINUTE_S = 60


def spell_count(value: float | None, digits: int = 3) -> str:
    """Write a number with k, M or G, in about three digits."""
    if value is None:
        return "-"
    for scale, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.{digits}g}{unit}"
    return f"{value:.{digits}g}"


def spell_pair(first: float | None, second: float | None) -> str:
    """Write two counts that belong together; nothing of both is one dash."""
    if first is None and second is None:
        return "-"
    return f"{spell_count(first)} / {spell_count(second)}"


def spell_percent(value: float | None, *, signed: bool = True) -> str:
    """Write a percentage so that a hundredth of it can be seen where it matters."""
    if value is None:
        return "-"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:{'+' if signed else ''}.{digits}f} %"


def spell_us(value: float | None) -> str:
    """Write a time in microseconds, or milliseconds if it is long."""
    if value is None:
        return "-"
    return f"{value:.0f} us" if value < 1000 else f"{value / 1000:.3g} ms"


class Progress:
    """A line redrawn in place on a terminal, and one line for each result anywhere."""

    def __init__(self) -> None:
        self._is_live = sys.stdout.isatty()
        self._start_s = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line."""
        self._clear()
        print(text, flush=True)

    def begin_round(self, number: int, total: int) -> None:
        """Tell that everything begins once more."""
        self.say(f"\n[{self._clock()}] round {number} of {total}")

    def turn(self, title: str, names: str) -> Callable[[float], None]:
        """Return what a measurement calls while it waits, with the share that is over."""

        def draw(share: float) -> None:
            if self._is_live:
                done = int(BAR * share)
                bar = "#" * done + "." * (BAR - done)
                width = shutil.get_terminal_size().columns - 1
                line = f"[{self._clock()}] [{bar}] {title}: {names}"
                print(f"\r\033[K{line[:width]}", end="", flush=True)

        return draw

    def tell(self, found: Measurement) -> None:
        """Print the figures of one measurement."""
        parts = [f"  {spell_rate(found.rate_bits):>10}  {found.traffic:<22}{found.shaper:<12}"]
        parts.append(f"error {spell_percent(found.error_percent):>10}")
        parts.append(f"burst {spell_pair(found.typical_burst_bytes, found.burst_bytes):>13}")
        parts.append(f"{spell_count(found.goodput_bits):>6}bit/s")
        parts.append(f"{spell_count(found.frames_per_second):>6} frames/s")
        parts.append(
            f"ping {spell_us(found.ping_p50_us):>8}, p99 {spell_us(found.ping_p99_us):>8}"
        )
        parts.append(f"steal {found.steal_percent:.1f} %")
        if found.lost_frames:
            parts.append(f"the recording lost {found.lost_frames} frames")
        self.say("  ".join(parts))

    def tell_stolen(self, found: Measurement) -> None:
        """Tell that a measurement is thrown away."""
        self.say(
            f"  {spell_rate(found.rate_bits):>10}  {found.traffic:<22}{found.shaper:<12}"
            f"{found.steal_percent:.1f} % of the processors' time was stolen: again"
        )

    def clear(self) -> None:
        """Give the line back."""
        self._clear()

    def _clear(self) -> None:
        if self._is_live:
            print("\r\033[K", end="", flush=True)

    def _clock(self) -> str:
        elapsed_s = int(time.monotonic() - self._start_s)
        return f"{elapsed_s // MINUTE_S}:{elapsed_s % MINUTE_S:02}"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Lay a table out in columns: the first two to the left, the others to the right."""
    widths = [max(len(line[at]) for line in [heads, *lines]) for at in range(len(heads))]

    def lay_out(line: Sequence[str]) -> str:
        cells = (
            text.ljust(width) if at < 2 else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join(
        [lay_out(heads), lay_out(["-" * width for width in widths]), *map(lay_out, lines)]
    )
