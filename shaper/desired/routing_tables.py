"""The names of routing tables, as iproute2 reads them."""

from __future__ import annotations

from pathlib import Path

# Specified: ip-route(8); a later file wins over an earlier one.
_FILES = (
    "/usr/lib/iproute2/rt_tables",
    "/usr/share/iproute2/rt_tables",
    "/etc/iproute2/rt_tables",
)
_FOLDERS = ("/usr/lib/iproute2/rt_tables.d", "/etc/iproute2/rt_tables.d")


def table_names() -> dict[str, int]:
    """Return the numbers of tables by name. Files that cannot be read are passed over."""
    paths = [Path(name) for name in _FILES]
    paths += [path for folder in _FOLDERS for path in sorted(Path(folder).glob("*.conf"))]
    names: dict[str, int] = {}
    for path in paths:
        try:
            names |= parse_tables(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return names


def parse_tables(text: str) -> dict[str, int]:
    """Return the tables of one file: a number and a name on each line."""
    names = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) != 2:
            continue
        try:
            names[words[1]] = int(words[0], 0)
        except ValueError:
            continue
    return names
