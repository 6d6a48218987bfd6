"""Rates and sizes as tc writes them, read and printed.

What may live here: text to integers and back, nothing that asks the system.

The law: arithmetic is on whole numbers, so "1.5mbit" is 1500000 bits per second and not nearly
that. A fraction of a bit per second or of a byte is cut off, as tc does. Everything
accepted here, tc accepts and understands alike (`tests/kernel/test_units_against_tc.py` asks it);
what tc reads but hardly anyone means (hexadecimal, nan, a size of nothing) is refused.

How it works: a number is split into its digits, a power of ten and a suffix; the suffix gives a
whole multiplier; one multiplication and at most one division follow.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from shaper.errors import InvalidValue
from shaper.model import (
    MAX_HZ,
    MAX_LIMIT_PACKETS,
    MAX_RATE_BITS,
    MIN_HZ,
    MIN_RATE_BITS,
)

# Specified by tc(8), "PARAMETERS": the names of rates and sizes, in any case.
_RATE_SUFFIXES = {
    "": 1,
    "bit": 1,
    "kbit": 10**3,
    "mbit": 10**6,
    "gbit": 10**9,
    "tbit": 10**12,
    "kibit": 2**10,
    "mibit": 2**20,
    "gibit": 2**30,
    "tibit": 2**40,
    "bps": 8,
    "kbps": 8 * 10**3,
    "mbps": 8 * 10**6,
    "gbps": 8 * 10**9,
    "tbps": 8 * 10**12,
    "kibps": 8 * 2**10,
    "mibps": 8 * 2**20,
    "gibps": 8 * 2**30,
    "tibps": 8 * 2**40,
}
_SIZE_SUFFIXES = {
    "": 1,
    "b": 1,
    "k": 2**10,
    "kb": 2**10,
    "m": 2**20,
    "mb": 2**20,
    "g": 2**30,
    "gb": 2**30,
    "kbit": 2**10 // 8,
    "mbit": 2**20 // 8,
    "gbit": 2**30 // 8,
}
_PRINTED_PREFIXES = ("", "K", "M", "G", "T")

# Chosen.
MAX_SIZE_BYTES = 2**32 - 1  # what tc's own sizes hold
_MAX_EXPONENT = 99  # of ten: far beyond every limit, and still a number that is quick to build
_MAX_TEXT = 64  # characters: the longest value anyone means, and int() is slow beyond

_NUMBER = re.compile(r"\+?([0-9]*)(?:\.([0-9]*))?(?:e([+-]?[0-9]+))?", re.IGNORECASE)
_ALMOST_A_SUFFIX = re.compile(
    r"(?P<prefix>(?:[kmgt]i?)?)(?:(?P<said_bits>bit.*)|b?(?:/s)?)", re.DOTALL
)
_RATE_EXAMPLE = "64000, 64kbit or 1.5mbit"
_SIZE_EXAMPLE = "1514, 1514b or 10kb"


class ParsedRate(NamedTuple):
    """A rate in bits per second, and a warning where another may have been meant."""

    rate_bits: int
    warning: str | None


class _Number(NamedTuple):
    """A decimal number, digits * 10**exponent, and the text behind it in lower case."""

    digits: int
    exponent: int
    written: str
    suffix: str

    def times(self, multiplier: int) -> int:
        """Multiply exactly and cut off the fraction."""
        power: int = 10 ** abs(self.exponent)
        product = self.digits * multiplier
        return product * power if self.exponent >= 0 else product // power


def parse_rate(text: str) -> ParsedRate:
    """Read a rate: bits per second, or bytes for the suffixes ending in "bps".

    Raises InvalidValue for anything else, or out of MIN_RATE_BITS to MAX_RATE_BITS.
    """
    number = _split(text, noun="rate", example=_RATE_EXAMPLE)
    multiplier = _RATE_SUFFIXES.get(number.suffix)
    if multiplier is None:
        _refuse_rate_suffix(text, number)
    rate_bits = number.times(multiplier)
    if rate_bits < MIN_RATE_BITS:
        lowest = f"{MIN_RATE_BITS}bit"
        raise InvalidValue(f"{_shown(text)} is under the lowest rate: write {lowest} or more")
    if rate_bits > MAX_RATE_BITS:
        highest = format_rate(MAX_RATE_BITS).lower()
        raise InvalidValue(f"{_shown(text)} is over the highest rate: write {highest} or less")
    return ParsedRate(rate_bits, _bytes_warning(text, number, rate_bits))


def parse_size(text: str) -> int:
    """Read a size in bytes; kb, mb and gb count in 1024, kbit and so on in eighths of that.

    Raises InvalidValue for anything else, for less than a byte and over MAX_SIZE_BYTES.
    """
    number = _split(text, noun="size", example=_SIZE_EXAMPLE)
    multiplier = _SIZE_SUFFIXES.get(number.suffix)
    if multiplier is None:
        raise InvalidValue(
            f"{_shown(text)} has the unknown suffix {number.suffix!r}: write it as {_SIZE_EXAMPLE}"
        )
    size_bytes = number.times(multiplier)
    if not 1 <= size_bytes <= MAX_SIZE_BYTES:
        raise InvalidValue(f"{_shown(text)} is not a size from 1b to {MAX_SIZE_BYTES}b")
    return size_bytes


def parse_limit(text: str) -> int:
    """Read a queue limit in frames, with or without the "p" that `show` prints.

    Raises InvalidValue unless it is a whole number from 1 to MAX_LIMIT_PACKETS.
    """
    return _parse_count(text, text.removesuffix("p"), "limit in frames", 1, MAX_LIMIT_PACKETS)


def parse_hz(text: str) -> int:
    """Read the jiffies of a second.

    Raises InvalidValue unless it is a whole number from MIN_HZ to MAX_HZ.
    """
    return _parse_count(text, text, "hz value", MIN_HZ, MAX_HZ)


def format_rate(rate_bits: int) -> str:
    """Print a rate as `tc qdisc show` does: whole thousands in the largest prefix that is exact.

    From a million up four digits or more are kept and the rest is cut off: 1234567 is "1234Kbit".
    """
    value = rate_bits
    for prefix in _PRINTED_PREFIXES[:-1]:
        if value < 1000 or (value % 1000 and value < 1_000_000):
            return f"{value}{prefix}bit"
        value //= 1000
    return f"{value}{_PRINTED_PREFIXES[-1]}bit"


def format_measured_rate(rate_bits: int) -> str:
    """Print a rate that was measured: two decimals of the largest prefix that fits."""
    for power, prefix in reversed(list(enumerate(_PRINTED_PREFIXES))[1:]):
        unit = 1000**power
        if rate_bits >= unit:
            hundredths = (rate_bits * 100 + unit // 2) // unit
            return f"{hundredths // 100}.{hundredths % 100:02}{prefix}bit"
    return f"{rate_bits}bit"


def format_size(size_bytes: int) -> str:
    """Print a size as tc does: "Kb" within 15 bytes of a whole one, "Mb" within 1023."""
    for unit, tolerance, suffix in ((2**20, 1024, "Mb"), (2**10, 16, "Kb")):
        nearest = (size_bytes + unit // 2) // unit
        if size_bytes >= unit and abs(nearest * unit - size_bytes) < tolerance:
            return f"{nearest}{suffix}"
    return f"{size_bytes}b"


def _split(text: str, *, noun: str, example: str) -> _Number:
    """Take a number and its suffix apart, or refuse what has no number in front."""
    match = _NUMBER.match(text)
    whole, fraction, exponent = match.groups(default="") if match else ("", "", "")
    is_hexadecimal = text[:2].lower() == "0x"
    if match is None or not whole + fraction or len(text) > _MAX_TEXT or is_hexadecimal:
        _refuse_number(text, noun, example)
    if abs(int(exponent or 0)) > _MAX_EXPONENT:
        raise InvalidValue(
            f"{_shown(text)} is not a {noun}, its exponent goes to {_MAX_EXPONENT} at most: "
            f"write it as {example}"
        )
    power_of_ten = int(exponent or 0) - len(fraction)
    suffix = text[match.end() :].lower()
    return _Number(int(whole + fraction), power_of_ten, match.group(), suffix)


def _refuse_number(text: str, noun: str, example: str) -> NoReturn:
    """Say what is wrong with a text that does not begin with a plain decimal number."""
    lowered = text.lower()
    if lowered.startswith("-"):
        reason = f"a {noun} cannot be negative"
    elif lowered.startswith("0x"):
        reason = "hexadecimal is not read"
    elif lowered.startswith(("nan", "inf")):
        reason = "it has to be finite"
    elif len(text) > _MAX_TEXT:
        reason = f"it has {len(text)} characters"
    else:
        reason = "it has to begin with a decimal number"
    raise InvalidValue(f"{_shown(text)} is not a {noun}, {reason}: write it as {example}")


def _refuse_rate_suffix(text: str, number: _Number) -> NoReturn:
    """Say what to write instead of a suffix that tc does not know."""
    match = _ALMOST_A_SUFFIX.fullmatch(number.suffix)
    if match is None:
        raise InvalidValue(
            f"{_shown(text)} has the unknown suffix {number.suffix!r}: write it as {_RATE_EXAMPLE}"
        )
    bits, in_bytes = (f"{number.written}{match['prefix']}{unit}" for unit in ("bit", "bps"))
    if match["said_bits"]:
        raise InvalidValue(
            f"{_shown(text)} has the unknown suffix {number.suffix!r}: write {bits}"
        )
    raise InvalidValue(
        f"{_shown(text)} does not say bits or bytes per second: "
        f"write {bits}, or {in_bytes} for bytes"
    )


def _bytes_warning(text: str, number: _Number, rate_bits: int) -> str | None:
    """Tell what was understood when a rate was given in bytes, which few mean."""
    if not number.suffix.endswith("bps"):
        return None
    bits = number.suffix.replace("bps", "bit")
    return (
        f"{text} is in bytes per second and was understood as {format_rate(rate_bits)}: "
        f"write {number.written}{bits} if bits were meant"
    )


def _parse_count(text: str, digits: str, noun: str, lowest: int, highest: int) -> int:
    """Read a whole number of plain digits within two limits."""
    is_count = digits.isascii() and digits.isdigit() and len(digits) <= _MAX_TEXT
    if not is_count or not lowest <= int(digits) <= highest:
        raise InvalidValue(
            f"{_shown(text)} is not a {noun}: write a whole number from {lowest} to {highest}"
        )
    return int(digits)


def _shown(text: str) -> str:
    """Quote a value for a message, shortened if someone pasted a page."""
    return repr(text if len(text) <= _MAX_TEXT else f"{text[:24]}...")
