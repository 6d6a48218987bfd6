"""Bounds of what can be asked of a shaper, held wherever a value comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from shaper.desired import line_syntax
from shaper.desired.profiles import Profiles, find
from shaper.desired.trace_syntax import parse_trace
from shaper.errors import InvalidValue
from shaper.line_options import MOST_LINE_BYTES, PER_BILLION, LineOptions, RandomLoss
from shaper.model import (
    MAX_HZ,
    MAX_LIMIT_PACKETS,
    MAX_RATE_BITS,
    MIN_HZ,
    MIN_RATE_BITS,
    Options,
    Queue,
)
from shaper.trace import Playback
from shaper.units import format_rate, format_size

NO_TRACE = "none"

# Chosen.
_FULL_FRAME_BYTES = 1514
_SLOW_FRAME_SECONDS = 10  # no link of this century takes as long
_LONG_BURST_SECONDS = 5
_TOLERANCE = 100  # a hundredth off is worth a word
_MAX_SHOWN = 60  # characters of a value that is refused
_MAX_NUMBER = 1 << 4096  # Python does not print much larger ones


def check_rate(rate_bits: int) -> int:
    """Return the rate. Raises InvalidValue outside of MIN_RATE_BITS to MAX_RATE_BITS."""
    return check_within("rate", rate_bits, MIN_RATE_BITS, MAX_RATE_BITS, "bit/s")


def check_hz(hz: int) -> int:
    """Return HZ. Raises InvalidValue outside of MIN_HZ to MAX_HZ."""
    return check_within("hz", hz, MIN_HZ, MAX_HZ, "ticks a second")


def change_options(
    options: Options,
    *,
    queue: str | None = None,
    limit_packets: int | None = None,
    burst_bytes: int | None = None,
    hz: int | None = None,
    line: Mapping[str, str] | None = None,
    trace: str | None = None,
    profile: str | None = None,
    profiles: Profiles = MappingProxyType({}),
) -> Options:
    """Return options with these changed; None keeps a value, 0 puts back its default.

    `trace` is the text of one, which has not begun, or `none`. `profile` is a whole link, its rate
    included, to which what else is given is added, or `default`: none, at the rate there is;
    `profiles` are the configured ones.

    Raises InvalidValue for an unknown queue or a number out of bounds.
    """
    if profile is not None:
        options = _with_profile(options, profile, profiles)
    if queue is not None:
        options = replace(options, queue=_queue(queue))
    if limit_packets is not None:
        check_within("limit", limit_packets, 0, MAX_LIMIT_PACKETS, "frames")
        options = replace(options, limit_packets=limit_packets or None)
    if burst_bytes is not None:
        check_within("burst", burst_bytes, 0, 1 << 40, "bytes")
        options = replace(options, burst_bytes=burst_bytes or None)
    if hz is not None:
        options = replace(options, hz=hz and check_hz(hz), has_own_hz=bool(hz))
    if line is not None:
        options = replace(options, line=line_syntax.change_line(options.line, line))
    if trace is not None:
        options = replace(options, playback=_playback(trace))
    check_line(options)
    if options.queue is Queue.CLASSIC and options.playback is not None:
        raise InvalidValue("the classic queue follows no trace: choose another queue")
    if options.queue is Queue.CLASSIC and (options.limit_packets or options.burst_bytes):
        raise InvalidValue(
            "the classic queue has no limit or burst to set "
            "(put them back to default, or choose another queue)"
        )
    return options


def check_line(options: Options) -> None:
    """Raise InvalidValue for a link that the queue does not have, or that takes much memory."""
    if options.queue is Queue.CLASSIC and not options.line.cost.is_none:
        raise InvalidValue("the classic queue knows no overhead: choose another queue")
    if options.line.is_default:
        return
    if options.queue is Queue.CLASSIC:
        raise InvalidValue("the classic queue has no link behind it: choose another queue")
    needed_bytes = options.line.needed_bytes(options.peak_bits)
    if needed_bytes > MOST_LINE_BYTES:
        link = " ".join(
            " ".join(pair) for pair in line_syntax.write_line(options.line, is_brief=True).items()
        )
        raise InvalidValue(
            f"{link} at {format_rate(options.peak_bits)} would take "
            f"{needed_bytes >> 20} MiB of memory ({MOST_LINE_BYTES >> 20} is the most)"
        )


def _with_profile(options: Options, text: str, profiles: Profiles) -> Options:
    """Return options with another link; what the modem's line takes, and the seed, stay."""
    kept = LineOptions(seed=options.line.seed, cost=options.line.cost)
    if text == line_syntax.DEFAULT:
        return replace(options, line=kept)
    profile, direction = find(text, profiles)
    line = replace(profile.line, seed=kept.seed, cost=kept.cost)
    return replace(options, rate_bits=profile.rate_bits(direction), line=line, playback=None)


def _playback(text: str) -> Playback | None:
    if text == NO_TRACE:
        return None
    return Playback(parse_trace(text))


def _queue(name: str) -> Queue:
    try:
        return Queue(name)
    except ValueError:
        known = ", ".join(Queue)
        raise InvalidValue(f"queue {name!r} is unknown (choose one of {known})") from None


def classic_warning(options: Options) -> str | None:
    """Return a warning where the classic queue would serve another rate than the one set.

    It counts whole bytes a tick, which is the coarser the more ticks there are.
    """
    if options.queue is not Queue.CLASSIC or not options.rate_bits:
        return None
    hz = options.clock_hz
    served_bits = max(1, options.rate_bits // hz // 8) * 8 * hz
    if abs(served_bits - options.rate_bits) * _TOLERANCE <= options.rate_bits:
        return None
    return (
        f"the classic queue counts whole bytes a tick: at hz {hz} it serves "
        f"{served_bits} of {options.rate_bits} bit/s (a lower hz is finer; 1996 had 100)"
    )


def check_within(noun: str, value: int, low: int, high: int, unit: str) -> int:
    """Return the value. Raises InvalidValue, naming it and the bounds."""
    if not low <= value <= high:
        raise InvalidValue(f"{noun} {shown(value)} is out of bounds ({low} to {high} {unit})")
    return value


def shown(value: object) -> str:
    """Return a value as a message shows it: on one line, and short whatever it is."""
    if isinstance(value, int) and abs(value) > _MAX_NUMBER:
        return "a number of more than a thousand digits"
    try:
        return shortened(repr(value))
    except (ValueError, RecursionError):  # a list of numbers that Python does not print
        return f"a {type(value).__name__}"


def shortened(text: str) -> str:
    """Return a text cut to what one sentence can hold."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def slips(options: Options) -> list[str]:
    """Return what is allowed and surely not meant, in words that say what it means."""
    rate_bits, burst_bytes, loss = options.rate_bits, options.burst_bytes, options.line.loss
    said = []
    if isinstance(loss, RandomLoss) and loss.loss == PER_BILLION:
        said.append("a loss of 100% loses every frame")
    if not rate_bits:
        return said
    frame_seconds = _FULL_FRAME_BYTES * 8 / rate_bits
    if frame_seconds > _SLOW_FRAME_SECONDS:
        said.append(
            f"a rate of {format_rate(rate_bits)} is {rate_bits} bits a second: "
            f"a full frame takes {frame_seconds:.0f} s (write {rate_bits}kbit or {rate_bits}mbit?)"
        )
    elif burst_bytes is not None and burst_bytes * 8 > _LONG_BURST_SECONDS * rate_bits:
        said.append(
            f"a burst of {format_size(burst_bytes)} is {burst_bytes * 8 / rate_bits:.0f} s "
            f"of {format_rate(rate_bits)}: so much leaves without a limit after a pause"
        )
    return said
