"""Delays and losses as they are typed, exact to the nanosecond and to the billionth.

One value holds for the link as a whole, `DOWN/UP` for each direction.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from shaper.errors import InvalidValue
from shaper.line import PER_BILLION, Delay, LineOptions, RandomLoss

_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([a-z%]*)")
_NANOSECONDS = {
    "s": 10**9,
    "sec": 10**9,
    "secs": 10**9,
    "ms": 10**6,
    "msec": 10**6,
    "msecs": 10**6,
    "us": 10**3,
    "usec": 10**3,
    "usecs": 10**3,
}
_MAX_TEXT = 64

# Chosen.
_MOST_MEMORY_BYTES = 1 << 28  # of one direction
_FASTEST_BITS = 10**9  # that a direction without a rate is reckoned with


def read_lines(
    delay: str | None, loss: str | None, seed: int, rates: tuple[int | None, int | None]
) -> tuple[LineOptions, LineOptions] | None:
    """Return the lines down and up, or None if nothing is asked of them.

    Args:
        delay: of the way there and back together, or `DOWN/UP`; None: none.
        loss: of each direction, or `DOWN/UP`.
        seed: of what is random.
        rates: of down and up, in bits per second; None: no limit.

    Raises:
        InvalidValue: naming the value.
    """
    delays = _both(delay, "delay", parse_time, is_shared=True)
    losses = _both(loss, "loss", parse_share, is_shared=False)
    down, up = (
        LineOptions(Delay(each), RandomLoss(share) if share else None, seed=seed + offset)
        for offset, (each, share) in enumerate(zip(delays, losses, strict=True))
    )
    for options, rate_bits in ((down, rates[0]), (up, rates[1])):
        _check_memory(options, rate_bits, delay)
    return None if down.is_default and up.is_default else (down, up)


def parse_time(text: str) -> int:
    """Return nanoseconds. Raises InvalidValue."""
    value, suffix = _split(text, "40ms, 0.5s or 250us")
    if suffix not in _NANOSECONDS:
        raise InvalidValue(f"{text!r} does not say in which unit: write 40ms, 0.5s or 250us")
    return int(value * _NANOSECONDS[suffix])


def parse_share(text: str) -> int:
    """Return billionths. Raises InvalidValue."""
    value, suffix = _split(text, "0.5%")
    if suffix != "%":
        raise InvalidValue(f"{text!r} is no percentage: write 0.5%")
    if value > 100:
        raise InvalidValue(f"{text!r} is more than all: write 100% at most")
    return int(value * (PER_BILLION // 100))


def _split(text: str, examples: str) -> tuple[Decimal, str]:
    match = _NUMBER.fullmatch(text.lower()) if len(text) <= _MAX_TEXT else None
    if match is None:
        raise InvalidValue(f"{text[:_MAX_TEXT]!r} cannot be read: write {examples}")
    return Decimal(match[1]), match[2]


def _both(
    text: str | None, name: str, parse: Callable[[str], int], *, is_shared: bool
) -> list[int]:
    if text is None:
        return [0, 0]
    words = text.split("/")
    if len(words) > 2:
        raise InvalidValue(f"--{name} {text}: write one value, or DOWN/UP")
    values = [parse(word) for word in words]
    if len(values) == 2:
        return values
    return [values[0] // 2, values[0] - values[0] // 2] if is_shared else values * 2


def _check_memory(options: LineOptions, rate_bits: int | None, delay: str | None) -> None:
    needed = line_limit(options, rate_bits)
    if needed > _MOST_MEMORY_BYTES:
        raise InvalidValue(
            f"--delay {delay} would take {needed // 2**20} MiB of memory at this rate:"
            f" {_MOST_MEMORY_BYTES // 2**20} MiB is the most"
        )


def line_limit(options: LineOptions, rate_bits: int | None) -> int:
    """Return how many bytes may be under way in a direction."""
    return options.limit_bytes(rate_bits or _FASTEST_BITS)
