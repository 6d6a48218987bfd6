"""What the documents list in tables and code, as values a test can compare with the code."""

from __future__ import annotations

import re
from pathlib import Path

from bench.lab.namespaces import ROOT

_SEPARATOR = re.compile(r"\|?[\s:|-]+\|?")
_CODE = re.compile(r"`([^`]+)`")


def read(page: str) -> str:
    """Return the text of a document, named from the top of the checkout."""
    return (ROOT / Path(page)).read_text(encoding="utf-8")


def rows(page: str, *heading: str) -> list[list[str]]:
    """Return the cells of the table whose heading begins with these cells.

    Raises:
        LookupError: there is not exactly one such table.

    """
    lines = read(page).splitlines()
    starts = [
        number for number, line in enumerate(lines) if cells(line)[: len(heading)] == [*heading]
    ]
    if len(starts) != 1:
        raise LookupError(f"{page} has {len(starts)} tables that begin with {heading}")
    found = []
    for line in lines[starts[0] + 1 :]:
        if not line.startswith("|"):
            break
        if not _SEPARATOR.fullmatch(line):
            found.append(cells(line))
    return found


def cells(line: str) -> list[str]:
    """Return the cells of a line of a table; none for any other line."""
    if not line.startswith("|"):
        return []
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def code(text: str) -> list[str]:
    """Return what a text sets as code, in order."""
    return _CODE.findall(text)


def fenced(page: str, language: str, beginning: str) -> str:
    """Return the one fenced block of a language that begins so.

    Raises:
        LookupError: there is not exactly one such block.

    """
    pattern = rf"^```{language}\n({re.escape(beginning)}.*?)^```$"
    found: list[str] = re.findall(pattern, read(page), re.DOTALL | re.MULTILINE)
    if len(found) != 1:
        raise LookupError(f"{page} has {len(found)} blocks of {language} that begin so")
    return found[0]
