"""How a trace is written: rates that change over time, in a file.

Two formats are read. That of mahimahi (Netravali et al., USENIX ATC 2015): a millisecond a line,
each an opportunity to deliver 1500 bytes; several lines of one millisecond are several. And CSV:
`seconds,rate`, the rate as `tc` writes it, in force from that second on; 0 is a gap. A last line
`seconds,end` says when it ends; without one the last step is as long as the one before it.

Mahimahi's opportunities are put together as one step for each millisecond, so a window of the
trace offers the same bytes as its lines, to within one millisecond of the rate.

`write_trace` writes CSV, behind a line that says whether it repeats; but long traces of
mahimahi's as counts, a twentieth of that: behind a line `counts`, how many opportunities each
millisecond has, `2x7` for seven milliseconds with two each.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise

from shaper.errors import InvalidValue
from shaper.model import MAX_RATE_BITS, MIN_RATE_BITS
from shaper.trace import Trace
from shaper.units import parse_rate

# Specified by mahimahi: the bytes of one opportunity.
OPPORTUNITY_BYTES = 1500

LOOP, ONCE = "loop", "once"
MODES = (LOOP, ONCE)
_END = "end"
_COUNTS = "counts"

_BITS = 8
_MICROSECONDS = 1_000_000
_MILLISECOND_US = 1000
_OPPORTUNITY_RATE = OPPORTUNITY_BYTES * _BITS * 1000  # of one in a millisecond

# Chosen.
MOST_STEPS = 1_000_000  # a quarter of an hour of milliseconds
_MOST_READABLE = 1000  # steps; longer traces are written for programs
_COUNTS_A_LINE = 100
_MOST_DIGITS = 20
_MAX_SHOWN = 40  # characters of a value that is refused
_MOST_SECONDS = 366 * 24 * 3600


def parse_trace(text: str, *, repeats: bool = True) -> Trace:
    """Return the trace in a text of any format. Raises InvalidValue, naming line and value.

    A text with a comma in its first line of content is CSV. A line `loop` or `once` before the
    first one says whether it repeats, whatever the argument does.
    """
    first, _, rest = text.partition("\n")
    if first.strip() in MODES:
        text, repeats = rest, first.strip() == LOOP
    lines = (
        (number, content)
        for number, line in enumerate(text.splitlines(), 1)
        if (content := line.partition("#")[0].strip())
    )
    trace = _parse(lines, repeats=repeats)
    if len(trace.starts_us) > MOST_STEPS:
        raise InvalidValue(f"the trace has {len(trace.starts_us)} steps, {MOST_STEPS} is the most")
    if trace.mean_bits < MIN_RATE_BITS:
        raise InvalidValue(
            f"the trace offers {trace.mean_bits} bit/s in the mean (at least {MIN_RATE_BITS})"
        )
    return trace


def write_trace(trace: Trace) -> str:
    """Return a text that `parse_trace` reads as this trace."""
    lines = [LOOP if trace.repeats else ONCE]
    if len(trace.starts_us) > _MOST_READABLE and _has_opportunities(trace):
        return "\n".join([*lines, _COUNTS, *_write_counts(trace), ""])
    steps = zip(trace.starts_us, trace.rates_bits, strict=True)
    lines += [f"{_write_seconds(start_us)},{rate_bits}bit" for start_us, rate_bits in steps]
    return "\n".join([*lines, f"{_write_seconds(trace.length_us)},{_END}", ""])


def _parse(lines: Iterator[tuple[int, str]], *, repeats: bool) -> Trace:
    first = next(lines, None)
    if first is None:
        raise InvalidValue("the trace has no lines")
    if first[1] == _COUNTS:
        return _parse_counts(lines, repeats=repeats)
    if "," in first[1]:
        return _parse_csv([first, *lines], repeats=repeats)
    return _parse_opportunities(chain([first], lines), repeats=repeats)


def _parse_counts(lines: Iterator[tuple[int, str]], *, repeats: bool) -> Trace:
    rates: dict[int, int] = {}
    known: dict[str, tuple[int, int]] = {}  # of words that were read: there are few
    end_ms = 0
    for number, content in lines:
        for word in content.split():
            if word not in known:
                count, _, run = word.partition("x")
                rate = _whole(number, count) * _OPPORTUNITY_RATE
                known[word] = rate, _whole(number, run or "1")
            rates[end_ms * _MILLISECOND_US], run_ms = known[word]
            end_ms += run_ms
            if end_ms > _MOST_SECONDS * 1000:
                raise InvalidValue(f"line {number}: {word[:_MAX_SHOWN]} ends after a year")
    if not end_ms:
        raise InvalidValue("the trace has no lines")
    return _made(rates, end_ms * _MILLISECOND_US, repeats=repeats)


def _has_opportunities(trace: Trace) -> bool:
    """Whether each millisecond has a whole number of them."""
    times = (*trace.starts_us, trace.length_us)
    return not (
        any(time_us % _MILLISECOND_US for time_us in times)
        or any(rate % _OPPORTUNITY_RATE for rate in trace.rates_bits)
    )


def _write_counts(trace: Trace) -> Iterator[str]:
    times = (*trace.starts_us, trace.length_us)
    words = []
    for (start_us, end_us), rate in zip(pairwise(times), trace.rates_bits, strict=True):
        run = (end_us - start_us) // _MILLISECOND_US
        count = rate // _OPPORTUNITY_RATE
        words.append(f"{count}x{run}" if run > 1 else str(count))
    for first in range(0, len(words), _COUNTS_A_LINE):
        yield " ".join(words[first : first + _COUNTS_A_LINE])


def _parse_opportunities(lines: Iterator[tuple[int, str]], *, repeats: bool) -> Trace:
    counts: dict[int, int] = {}
    before = 0
    for number, content in lines:
        millisecond = _whole(number, content)
        if millisecond < before:
            raise InvalidValue(
                f"line {number}: {millisecond} comes before {before}, the line above"
            )
        counts[millisecond] = counts.get(millisecond, 0) + 1
        before = millisecond
    if before == 0:
        raise InvalidValue("the trace ends at millisecond 0, so it has no length")
    # An opportunity at millisecond m is what may leave in the millisecond that ends with it.
    rates: dict[int, int] = {0: 0}
    for millisecond, count in counts.items():
        start_us = max(millisecond - 1, 0) * _MILLISECOND_US
        rates[start_us] = rates.get(start_us, 0) + count * _OPPORTUNITY_RATE
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
            raise InvalidValue(f"line {number}: {content[:_MAX_SHOWN]!r} is not SECONDS,RATE")
        start_us = _microseconds(number, seconds.strip())
        if start_us <= before_us:
            raise InvalidValue(f"line {number}: {seconds.strip()} s is not after the line above")
        if end_us is not None:
            raise InvalidValue(
                f"line {number}: {content[:_MAX_SHOWN]!r} is behind the end of the trace"
            )
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


def _whole(number: int, text: str) -> int:
    """Return a whole number of milliseconds, or of what is in one."""
    if not (text.isascii() and text.isdecimal()):
        raise InvalidValue(f"line {number}: {text[:_MAX_SHOWN]!r} is no number of milliseconds")
    if len(text) > _MOST_DIGITS or int(text) > _MOST_SECONDS * 1000:
        raise InvalidValue(f"line {number}: {text[:_MAX_SHOWN]} ms is more than a year")
    return int(text)


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
