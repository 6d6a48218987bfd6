"""Delays and losses as they are typed: one value for the link as a whole, or `DOWN/UP`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from shaper.desired.bounds import check_line
from shaper.desired.line_syntax import parse_percent, parse_time
from shaper.desired.trace_syntax import parse_trace
from shaper.errors import InvalidValue
from shaper.line_options import Delay, LineOptions, RandomLoss
from shaper.model import Options
from shaper.trace import Trace

NO_LINE = LineOptions()


def read_lines(
    delay: str | None,
    loss: str | None,
    seed: int,
    rates: tuple[int, int],
    base: LineOptions = NO_LINE,
) -> tuple[LineOptions, LineOptions]:
    """Return what frames meet down and up.

    Args:
        delay: of the way there and back together, or `DOWN/UP`; None: that of `base`.
        loss: of each direction, or `DOWN/UP`; None: that of `base`.
        seed: of what is random.
        rates: the highest of down and up, in bits per second.
        base: what frames meet in either direction otherwise.

    Raises:
        InvalidValue: naming the value.
    """
    lines = [replace(base, seed=seed), replace(base, seed=seed + 1)]
    if delay is not None:
        delays = _both(delay, "delay", parse_time, is_shared=True)
        lines = [
            replace(line, delay=Delay(each)) for line, each in zip(lines, delays, strict=True)
        ]
    if loss is not None:
        losses = _both(loss, "loss", parse_percent, is_shared=False)
        lines = [
            replace(line, loss=RandomLoss(each) if each else None)
            for line, each in zip(lines, losses, strict=True)
        ]
    down, up = lines
    for options, rate_bits in ((down, rates[0]), (up, rates[1])):
        check_line(Options(rate_bits, line=options))
    return down, up


def read_trace(name: str, text: str) -> Trace:
    """Return the trace in a file's text. Raises InvalidValue, naming file, line and value."""
    try:
        return parse_trace(text)
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error}") from error


def _both(text: str, name: str, parse: Callable[[str, str], int], *, is_shared: bool) -> list[int]:
    words = text.split("/")
    if len(words) > 2:
        raise InvalidValue(f"--{name} {text}: write one value, or DOWN/UP")
    values = [parse(name, word) for word in words]
    if len(values) == 2:
        return values
    return [values[0] // 2, values[0] - values[0] // 2] if is_shared else values * 2
