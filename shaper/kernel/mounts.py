"""What is mounted where: /proc/self/mountinfo, in which users can have a say (FUSE).

The kernel writes blanks of a path as octal numbers, and all else as it is: bytes that are no text,
and what Python would take for the end of a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PLACE = 4  # proc(5); counted from 0


class Mount(NamedTuple):
    """A file system and where it is."""

    kind: str
    options: list[str]
    place: str


def mounts(table: Path = Path("/proc/self/mountinfo")) -> Iterator[Mount]:
    """Return every mount of this namespace. Raises OSError."""
    for line in lines(table):
        before, _, after = line.partition(" - ")
        fields, others = before.split(" "), after.split(" ", 2)
        if len(fields) > _PLACE and len(others) > 2:
            yield Mount(others[0], others[2].split(","), fields[_PLACE])


def lines(file: Path) -> list[str]:
    """Return the lines of a file of the kernel's, whatever is in them. Raises OSError."""
    return file.read_bytes().decode(errors="surrogateescape").split("\n")
