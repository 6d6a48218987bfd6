"""Files that the words of a link name: distribution tables and loss patterns.

A table is one of iproute2, as netem reads it: whole numbers, the quantiles of a distribution in
units of jitter / 8192. They are put in order: to netem only how often a value occurs matters,
and a correlation needs quantiles. A pattern has a digit for each frame, 1 for one that is lost;
it begins again when it ends. In both, `#` begins a comment, and lines mean nothing.

The daemon opens no file that a client names. The client reads it, and puts the content in place
of the name, as one word: `distribution table -9000,-100,8500`, `loss pattern 00010`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from shaper.errors import InvalidValue

TABLE, PATTERN = "table", "pattern"
_DELIVERED, _LOST = "0", "1"
_VALUES = bytes.maketrans((_DELIVERED + _LOST).encode(), b"\0\1")
_DIGITS = bytes.maketrans(b"\0\1", (_DELIVERED + _LOST).encode())

# Specified: iproute2 keeps values in 16 bits, and at most so many (netem's MAX_DIST).
_LEAST, _MOST = -(1 << 15), (1 << 15) - 1
_MOST_VALUES = 16 * 1024

# Chosen.
_MOST_FRAMES = 1_000_000
_MAX_SHOWN = 40  # characters of a value that is refused


def parse_table(text: str) -> tuple[int, ...]:
    """Return quantiles in order. Raises InvalidValue, naming line and value."""
    values = array("h")
    for number, content in _lines(text):
        for word in content.replace(",", " ").split():
            values.append(_value(number, word))
            if len(values) > _MOST_VALUES:
                raise InvalidValue(f"line {number}: more than {_MOST_VALUES} values")
    if len(set(values)) < 2:
        only = f"the value {values[0]} alone" if values else "no values"
        raise InvalidValue(f"a table with {only} is no distribution")
    return tuple(sorted(values))


def parse_pattern(text: str) -> bytes:
    """Return a byte for each frame: whether it is lost. Raises InvalidValue, naming the value."""
    pattern = bytearray()
    for number, content in _lines(text):
        digits = "".join(content.split())
        if wrong := digits.strip(_DELIVERED + _LOST):
            raise InvalidValue(
                f"line {number}: {wrong[:_MAX_SHOWN]!r} is neither {_DELIVERED} nor {_LOST}"
            )
        pattern += digits.encode()
        if len(pattern) > _MOST_FRAMES:
            raise InvalidValue(f"line {number}: a pattern of more than {_MOST_FRAMES} frames")
    if not pattern:
        raise InvalidValue("a pattern without a frame")
    return bytes(pattern.translate(_VALUES))


def write_table(table: Sequence[int]) -> str:
    """Return the word that `parse_table` reads as this table."""
    return ",".join(map(str, table))


def write_pattern(lost: bytes) -> str:
    """Return the word that `parse_pattern` reads as this pattern."""
    return lost.translate(_DIGITS).decode()


def inlined(key: str, words: Sequence[str], read: Callable[[str], str]) -> str:
    """Return a value with the content of the file that it names, if any, in place of the name.

    Args:
        key: of a link.
        words: its value.
        read: returns the text of a file, and raises InvalidValue.

    Raises InvalidValue, naming the file, its line and the value.
    """
    place = _place(key, words)
    if place is None:
        return " ".join(words)
    name = words[place]
    text = read(name)
    try:
        content = (
            write_table(parse_table(text))
            if key == "delay"
            else write_pattern(parse_pattern(text))
        )
    except InvalidValue as error:
        shown = name[:_MAX_SHOWN] if is_content(name) else name
        raise InvalidValue(f"{words[place - 1]} {shown}: {error}") from error
    return " ".join([*words[:place], content, *words[place + 1 :]])


def is_content(word: str) -> bool:
    """Whether a word is what stands in a file, and not its name."""
    return not word.strip("0123456789,-")


def _place(key: str, words: Sequence[str]) -> int | None:
    """Return which of the words is a file or its content."""
    before = {"delay": ("distribution", TABLE), "loss": ("loss", PATTERN)}.get(key)
    places = [index + 1 for index, pair in enumerate(pairwise([key, *words])) if pair == before]
    return places[0] if places and places[0] < len(words) else None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        yield number, line.partition("#")[0]


def _value(number: int, word: str) -> int:
    digits = word.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        raise InvalidValue(f"line {number}: {word[:_MAX_SHOWN]!r} is no whole number")
    value = int(word) if len(digits) <= len(str(_MOST)) else _MOST + 1
    if not _LEAST <= value <= _MOST:
        raise InvalidValue(f"line {number}: {word[:_MAX_SHOWN]} is not in {_LEAST} to {_MOST}")
    return value
