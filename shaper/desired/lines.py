"""Where in shaper.toml something stands: what a refusal of it names.

A parser of TOML does not tell, so the text is searched; in a file written in an unusual way the
line may not be found.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable

from shaper.desired.ip_route import format_address, format_route, parse_address, parse_route
from shaper.desired.ip_rule import format_rule, parse_rule
from shaper.errors import InvalidValue, ShaperError

# Specified: TOML 1.0, "Table".
_TABLE = re.compile(r"""\s*\[\s*device\s*\.\s*(?P<quote>["']?)(?P<ifname>.*?)(?P=quote)\s*\]""")
_ANY_TABLE = re.compile(r"\s*\[\s*[A-Za-z]")


def sentence(error: ShaperError, text: str, tables: dict[str, int]) -> str:
    """Return what a refusal says, behind the line of a file that it is about, where it is found.

    Args:
        error: the refusal.
        text: of the file.
        tables: numbers of tables by name.
    """
    if error.declared is None or error.ifname is None:
        return str(error)
    written = _as_written(text, error.ifname, error.declared, tables)
    line = max((_line(text, error.ifname, each) for each in written), default=0)
    return f"line {line}: {error}" if line else str(error)


def _as_written(text: str, ifname: str, declared: str, tables: dict[str, int]) -> list[str]:
    """Return the texts in the file that mean something that was declared."""
    readers: dict[str, Callable[[str], str]] = {
        "addresses": lambda each: format_address(parse_address(each)),
        "routes": lambda each: format_route(parse_route(each, ifname, tables)),
        "rules": lambda each: format_rule(parse_rule(each, tables)),
    }
    found = []
    try:
        device = tomllib.loads(text)["device"][ifname]
    except (ValueError, KeyError):
        return []
    for key, read in readers.items():
        for each in device.get(key, ()):
            try:
                is_meant = each == declared or read(each) == declared
            except InvalidValue:
                continue
            found += [each] * is_meant
    return found


def _line(text: str, ifname: str, value: str) -> int:
    """Return the last line of a device's table that holds a string; 0 if there is none."""
    found, is_within = 0, False
    for number, line in enumerate(text.splitlines(), start=1):
        if (table := _TABLE.match(line)) is not None:
            is_within = table["ifname"] == ifname
        elif _ANY_TABLE.match(line) is not None:
            is_within = False
        if is_within and (json.dumps(value) in line or f"'{value}'" in line):
            found = number
    return found
