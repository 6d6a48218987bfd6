"""The options of `shapecfg run`, as typed, into what is to be done."""

from __future__ import annotations

import random
from typing import NamedTuple

import click

from shapecfg.run.link_plan import Direction, Wishes, speed_bits
from shapecfg.run.named_profile import profile_named
from shapecfg.run.words import NO_LINE, read_lines, read_trace
from shapecfg.settings import MOST_TRACE_BYTES, read_file
from shaper.errors import InvalidValue
from shaper.trace import Trace
from shaper.units import parse_rate

_SEED_BITS = 31
_MS = 10**6  # nanoseconds


class _Way(NamedTuple):
    """The rate of one direction: in the mean, the highest, and what it follows."""

    rate_bits: int | None
    peak_bits: int
    trace: Trace | None


def wishes(
    command: tuple[str, ...],
    *,
    down: str | None,
    up: str | None,
    delay: str | None,
    loss: str | None,
    seed: int | None,
    profile: str | None,
    trace_down: str | None,
    trace_up: str | None,
    host_loopback: bool,
) -> Wishes:
    """Return what the options ask for; what is given goes before the profile.

    Raises:
        InvalidValue: naming the option's value.

    """
    if not command:
        raise InvalidValue("run needs a command: write shapecfg run --down 8mbit -- COMMAND")
    known = None if profile is None else profile_named(profile)
    ways = (
        _way("down", down, trace_down, known.down_bits if known else None),
        _way("up", up, trace_up, known.up_bits if known else None),
    )
    peaks = ways[0].peak_bits, ways[1].peak_bits
    seed = random.getrandbits(_SEED_BITS) if seed is None else seed
    lines = read_lines(delay, loss, seed, peaks, NO_LINE if known is None else known.line)
    delay_ms = sum(line.delay.delay_ns for line in lines) // _MS
    to, back = (
        Direction(way.rate_bits, delay_ms, line, way.trace)
        for way, line in zip(ways, lines, strict=True)
    )
    return Wishes(command, to, back, host_loopback)


def _way(name: str, rate: str | None, file: str | None, default_bits: int | None) -> _Way:
    """Read the rate of a direction, or the file that it follows."""
    if file is None:
        rate_bits = default_bits if rate is None else _rate_bits(rate)
        return _Way(rate_bits, speed_bits(rate_bits, is_linked=True), None)
    if rate is not None:
        raise InvalidValue(f"--{name} {rate} --trace-{name} {file}: write one of them")
    trace = read_trace(file, read_file(file, MOST_TRACE_BYTES))
    return _Way(trace.mean_bits, trace.peak_bits, trace)


def _rate_bits(text: str) -> int:
    parsed = parse_rate(text)
    if parsed.warning is not None:
        click.echo(f"shapecfg: warning: {parsed.warning}", err=True)
    return parsed.rate_bits
