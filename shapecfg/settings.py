"""What `shapecfg set` takes: KEY VALUE pairs, some values of several words."""

from __future__ import annotations

from collections.abc import Callable

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
LINE_KEYS = ("delay", "loss", "duplicate", "corrupt", "reorder", "seed")

KEYS = (*_SETTINGS, *LINE_KEYS)


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
        if key in LINE_KEYS:
            line[key] = " ".join(words[index + 1 : end])
        else:
            parameter, value_of = _SETTINGS[key]
            options[parameter] = value_of(words[index + 1])
        index = end
    return {**options, "line": line} if line else options


def _end(words: tuple[str, ...], index: int) -> int:
    """Return where the value of the key at `index` ends."""
    if words[index] not in LINE_KEYS:
        return min(index + 2, len(words))
    end = index + 1
    while end < len(words) and words[end] not in KEYS:
        end += 1
    return end
