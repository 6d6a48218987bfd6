"""What `shapecfg set` takes: KEY VALUE pairs, some values of several words."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from shaper.desired.line_files import inlined
from shaper.desired.trace_syntax import parse_trace, write_trace
from shaper.errors import InvalidValue
from shaper.units import parse_hz, parse_limit, parse_size

# The parameter of the call, and how its value is read. To the daemon 0 is the default, which is
# why it cannot be typed as a value.
_SETTINGS: dict[str, tuple[str, Callable[[str], str | int]]] = {
    "queue": ("queue", str),
    "limit": ("limit_packets", lambda text: 0 if text == "default" else parse_limit(text)),
    "burst": ("burst_bytes", lambda text: 0 if text == "default" else parse_size(text)),
    "hz": ("hz", lambda text: 0 if text == "default" else parse_hz(text)),
}
# Keys of the emulated link. Their values are the daemon's to read, up to the next key.
LINE_KEYS = ("overhead", "mpu", "delay", "loss", "duplicate", "corrupt", "reorder", "seed")

TRACE, NO_TRACE = "trace", "none"
PROFILE = "profile"
_TRACE_MODES = ("loop", "once")
_MOST_FILE_BYTES = 3 << 20  # chosen: what the daemon takes in one message, with room to spare
MOST_TRACE_BYTES = 64 << 20  # chosen: mahimahi's lines, which become far fewer
_MOST_READABLE_BYTES = 1 << 18  # chosen: a trace that is sent as it is written

KEYS = (*_SETTINGS, *LINE_KEYS, TRACE, PROFILE)


def read(words: tuple[str, ...]) -> dict[str, str | int | dict[str, str]]:
    """Return the parameters of the call. Raises InvalidValue, naming key or value."""
    options: dict[str, str | int | dict[str, str]] = {}
    line: dict[str, str] = {}
    index = 0
    while index < len(words):
        key = words[index]
        if key not in KEYS:
            raise InvalidValue(
                f"{key!r} is not a setting: write {', '.join(KEYS)}"
                " (the rate has a verb of its own, speed)"
            )
        end = _end(words, index)
        if end == index + 1:
            raise InvalidValue(f"{key!r} has no value: write {key} VALUE")
        if key in line or (key in _SETTINGS and _SETTINGS[key][0] in options):
            raise InvalidValue(f"{key!r} is set twice: write it once")
        if key in (TRACE, PROFILE):
            if key in options:
                raise InvalidValue(f"{key!r} is set twice: write it once")
            value = words[index + 1 : end]
            options[key] = _read_trace(value) if key == TRACE else " ".join(value)
        elif key in LINE_KEYS:
            line[key] = inlined(key, words[index + 1 : end], read_file)
        else:
            parameter, value_of = _SETTINGS[key]
            options[parameter] = value_of(words[index + 1])
        index = end
    return {**options, "line": line} if line else options


def _read_trace(words: tuple[str, ...]) -> str:
    """Return the text of a trace behind its mode, or that there is to be none."""
    name, *mode = words
    if name in (NO_TRACE, "default") and not mode:
        return NO_TRACE
    if len(mode) > 1 or (mode and mode[0] not in _TRACE_MODES):
        raise InvalidValue(f"trace {' '.join(words)}: write trace FILE [loop|once]")
    text = f"{mode[0] if mode else _TRACE_MODES[0]}\n{read_file(name, MOST_TRACE_BYTES)}"
    return text if len(text) <= _MOST_READABLE_BYTES else _shortened(name, text)


def _shortened(name: str, text: str) -> str:
    """Return a long trace in the words that programs have for it."""
    try:
        text = write_trace(parse_trace(text))
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error}") from error
    if len(text) > _MOST_FILE_BYTES:
        raise InvalidValue(
            f"the trace {name} takes {len(text) >> 20} MiB, {_MOST_FILE_BYTES >> 20} is the most"
        )
    return text


def read_file(name: str, most_bytes: int = _MOST_FILE_BYTES) -> str:
    """Return the text of a file that was named. Raises InvalidValue, naming it."""
    try:
        with open(name, "rb") as file:
            return text_of(name, file, most_bytes)
    except OSError as error:
        raise InvalidValue(f"cannot read {name}: {error.strerror}") from error


def text_of(name: str, file: BinaryIO, most_bytes: int = _MOST_FILE_BYTES) -> str:
    """Return the text of an open file, which may have no end. Raises InvalidValue, naming it."""
    try:
        data = file.read(most_bytes + 1)
        text = data.decode()
    except OSError as error:
        raise InvalidValue(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{name} is no text: {error.reason}") from error
    if len(data) > most_bytes:
        raise InvalidValue(f"{name} is larger than {most_bytes >> 20} MiB")
    return text


def _end(words: tuple[str, ...], index: int) -> int:
    """Return where the value of the key at `index` ends."""
    if words[index] not in (*LINE_KEYS, TRACE, PROFILE):
        return min(index + 2, len(words))
    end = index + 1
    while end < len(words) and words[end] not in KEYS:
        end += 1
    return end
