"""How a trace is written: rates that change over time, in a file.

Two formats are read. That of mahimahi (Netravali et al., USENIX ATC 2015): a millisecond a line,
each an opportunity to deliver 1500 bytes; several lines of one millisecond are several. And CSV:
`seconds,rate`, the rate as `tc` writes it, in force from that second on; 0 is a gap. A last line
`seconds,end` says when it ends; without one the last step is as long as the one before it.

Mahimahi's opportunities are put together as one step for each millisecond, so a window of the
trace offers the same bytes as its lines, to within one millisecond of the rate. `write_trace` has
one format for both: CSV, behind a line that says whether it repeats.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from shaper.errors import InvalidValue
from shaper.model import MAX_RATE_BITS, MIN_RATE_BITS
from shaper.trace import Trace
from shaper.units import parse_rate

# Specified by mahimahi: the bytes of one opportunity.
OPPORTUNITY_BYTES = 1500

LOOP, ONCE = "loop", "once"
MODES = (LOOP, ONCE)
_END = "end"

_BITS = 8
_MICROSECONDS = 1_000_000
_MILLISECOND_US = 1000

# Chosen.
MOST_STEPS = 1_000_000  # a quarter of an hour of milliseconds
_MOST_SECONDS = 366 * 24 * 3600


def parse_trace(text: str, *, repeats: bool = True) -> Trace:
    """Return the trace in a text of either format. Raises InvalidValue, naming line and value.

    A text with a comma in its first line of content is CSV. A line `loop` or `once` before the
    first one says whether it repeats, whatever the argument does.
    """
    first, _, rest = text.partition("\n")
    if first.strip() in MODES:
        text, repeats = rest, first.strip() == LOOP
    lines = [
        (number, content)
        for number, line in enumerate(text.splitlines(), 1)
        if (content := line.partition("#")[0].strip())
    ]
    trace = _parse(lines, repeats=repeats)
    if trace.mean_bits < MIN_RATE_BITS:
        raise InvalidValue(
            f"the trace offers {trace.mean_bits} bit/s in the mean (at least {MIN_RATE_BITS})"
        )
    return trace


def write_trace(trace: Trace) -> str:
    """Return a text that `parse_trace` reads as this trace."""
    lines = [LOOP if trace.repeats else ONCE]
    steps = zip(trace.starts_us, trace.rates_bits, strict=True)
    lines += [f"{_write_seconds(start_us)},{rate_bits}bit" for start_us, rate_bits in steps]
    return "\n".join([*lines, f"{_write_seconds(trace.length_us)},{_END}", ""])


def _parse(lines: list[tuple[int, str]], *, repeats: bool) -> Trace:
    if not lines:
        raise InvalidValue("the trace has no lines")
    if len(lines) > MOST_STEPS:
        raise InvalidValue(f"the trace has {len(lines)} lines, and {MOST_STEPS} is the most")
    if "," in lines[0][1]:
        return _parse_csv(lines, repeats=repeats)
    return _parse_opportunities(lines, repeats=repeats)


def _parse_opportunities(lines: Iterable[tuple[int, str]], *, repeats: bool) -> Trace:
    counts: dict[int, int] = {}
    before = 0
    for number, content in lines:
        if not content.isdecimal():
            raise InvalidValue(f"line {number}: {content!r} is no number of milliseconds")
        millisecond = int(content)
        if millisecond < before:
            raise InvalidValue(f"line {number}: {content} comes before {before}, the line above")
        if millisecond > _MOST_SECONDS * 1000:
            raise InvalidValue(f"line {number}: {content} ms is more than a year")
        counts[millisecond] = counts.get(millisecond, 0) + 1
        before = millisecond
    if before == 0:
        raise InvalidValue("the trace ends at millisecond 0, so it has no length")
    # An opportunity at millisecond m is what may leave in the millisecond that ends with it.
    rates: dict[int, int] = {0: 0}
    for millisecond, count in counts.items():
        start_us = max(millisecond - 1, 0) * _MILLISECOND_US
        bits = count * OPPORTUNITY_BYTES * _BITS * 1000
        rates[start_us] = rates.get(start_us, 0) + bits
        rates.setdefault(start_us + _MILLISECOND_US, 0)
    return _made(rates, before * _MILLISECOND_US, repeats=repeats)


def _parse_csv(lines: list[tuple[int, str]], *, repeats: bool) -> Trace:
    rates: dict[int, int] = {}
    before_us = -1
    if not _starts_with_number(lines[0][1]):
        lines = lines[1:]  # the names of the columns
    end_us = None
    for number, content in lines:
        seconds, comma, rate = content.partition(",")
        if not comma:
            raise InvalidValue(f"line {number}: {content!r} is not SECONDS,RATE")
        start_us = _microseconds(number, seconds.strip())
        if start_us <= before_us:
            raise InvalidValue(f"line {number}: {seconds.strip()} s is not after the line above")
        if end_us is not None:
            raise InvalidValue(f"line {number}: {content!r} is behind the end of the trace")
        if rate.strip() == _END:
            end_us = start_us
        else:
            rates[start_us] = _rate(number, rate.strip())
        before_us = start_us
    if not rates:
        raise InvalidValue("the trace has no lines")
    rates.setdefault(0, 0)
    if end_us is not None:
        return _made(rates, end_us, repeats=repeats)
    starts = sorted(rates)
    # The last step is as long as the one before it: the file says when it begins, no more.
    last_us = starts[-1] - starts[-2] if len(starts) > 1 else _MICROSECONDS
    return _made(rates, starts[-1] + last_us, repeats=repeats)


def _made(rates: dict[int, int], length_us: int, *, repeats: bool) -> Trace:
    starts = sorted(start for start in rates if start < length_us)
    kept = [starts[0]]
    kept += [after for before, after in pairwise(starts) if rates[before] != rates[after]]
    return Trace(tuple(kept), tuple(rates[start] for start in kept), length_us, repeats)


def _starts_with_number(content: str) -> bool:
    first = content.partition(",")[0].strip()
    return first.replace(".", "", 1).isdecimal()


def _microseconds(number: int, text: str) -> int:
    whole, _, fraction = text.partition(".")
    if not (whole or fraction) or not (whole + fraction).isdecimal():
        raise InvalidValue(f"line {number}: {text!r} is no number of seconds")
    if len(whole) > len(str(_MOST_SECONDS)) or int(whole or 0) > _MOST_SECONDS:
        raise InvalidValue(f"line {number}: {text} s is more than a year")
    return int(whole or 0) * _MICROSECONDS + int((fraction + "000000")[:6])


def _write_seconds(microseconds: int) -> str:
    whole, fraction = divmod(microseconds, _MICROSECONDS)
    return f"{whole}.{fraction:06}".rstrip("0").rstrip(".")


def _rate(number: int, text: str) -> int:
    if text in ("0", "0bit"):
        return 0
    try:
        rate_bits = parse_rate(text).rate_bits
    except InvalidValue as error:
        raise InvalidValue(f"line {number}: {error}") from None
    if rate_bits > MAX_RATE_BITS:
        raise InvalidValue(f"line {number}: {text} is more than {MAX_RATE_BITS} bit/s")
    return rate_bits
