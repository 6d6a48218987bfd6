"""Markdown to man(7): the few forms that the manual pages and the guide use.

Headings of the second and third level, paragraphs, lists, tables, fenced blocks, and code, bold,
italics and links in a line. A table becomes a list of terms: the first cell of a row is the term,
the second its text, and every other one follows with its heading. Comments vanish.

The output is plain ASCII and free of warnings of groff and mandoc.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

WIDTH = 78  # mandoc remarks on lines over 80
_INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<bold>.+?)\*\*|(?<!\*)\*(?P<italic>[^*\s][^*]*)\*"
    r"|\[(?P<link>[^\]]+)\]\([^)]+\)"
)
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_ITEM = re.compile(r"[-*] +")
_ESCAPES = {"\\": r"\e", "~": r"\(ti", "^": r"\(ha", "`": r"\(ga"}
_LITERAL = {**_ESCAPES, "-": r"\-", "'": r"\(aq", '"': r"\(dq"}


def page(markdown: str) -> str:
    """Return a document in man(7), without its title line."""
    lines = _COMMENT.sub("", markdown).splitlines()
    return "\n".join(_blocks(lines)) + "\n"


def text(line: str) -> str:
    """Return a line of running text, with its fonts."""
    out, end = [], 0
    for match in _INLINE.finditer(line):
        out += [escape(line[end : match.start()]), _span(match)]
        end = match.end()
    return "".join([*out, escape(line[end:])])


def plain(line: str) -> str:
    """Return a line without its marks."""
    return _INLINE.sub(lambda match: next(filter(None, match.groups())), line)


def escape(line: str, *, is_literal: bool = False) -> str:
    """Return characters that roff prints as they are; literal ones can be copied from the page."""
    table = _LITERAL if is_literal else _ESCAPES
    return "".join(table.get(each, each if each.isascii() else _named(each)) for each in line)


def wrapped(line: str) -> list[str]:
    """Return text that is converted already as lines, none of which is a request."""
    lines = textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
    return [rf"\&{each}" if each[0] in ".'" else each for each in lines]


def verbatim(lines: Iterable[str]) -> list[str]:
    """Return lines that keep their form."""
    escaped = [escape(line, is_literal=True) for line in lines]
    kept = [rf"\&{line}" if line[:1] in (".", "'") else line for line in escaped]
    return [".RS 4", ".EX", *kept, ".EE", ".RE"]


def term(tag: str, body: Iterable[str]) -> list[str]:
    """Return an entry of a list of terms; the tag and the lines are converted already."""
    return [".TP", tag, *body]


def _span(match: re.Match[str]) -> str:
    if match["code"]:
        return rf"\fB{escape(match['code'], is_literal=True)}\fR"
    if match["bold"]:
        return rf"\fB{escape(plain(match['bold']))}\fR"
    if match["italic"]:
        return rf"\fI{escape(plain(match['italic']))}\fR"
    return text(match["link"])


def _named(character: str) -> str:
    return rf"\[u{ord(character):04X}]"


def _blocks(lines: list[str]) -> Iterator[str]:
    """Convert block by block; what begins a section needs no request for a paragraph."""
    is_first = True
    while lines:
        line = lines[0]
        if not line.strip():
            lines = lines[1:]
            continue
        if line.startswith("#"):
            request = ".SH" if line.startswith("## ") else ".SS"
            yield f"{request} {escape(plain(line.lstrip('# ')))}"
            lines, is_first = lines[1:], True
            continue
        converted, lines = _block(lines, is_first=is_first)
        yield from converted
        is_first = False


def _block(lines: list[str], *, is_first: bool) -> tuple[list[str], list[str]]:
    """Convert the block that begins here, and return it and what follows."""
    if lines[0].startswith("."):  # converted before
        end = next((n for n, line in enumerate(lines) if not line), len(lines))
        return lines[:end], lines[end:]
    if lines[0].startswith("```"):
        end = lines.index("```", 1)
        return [*_paragraph(is_first=is_first), *verbatim(lines[1:end])], lines[end + 1 :]
    if lines[0].startswith("|"):
        end = next((n for n, line in enumerate(lines) if not line.startswith("|")), len(lines))
        return table(lines[:end]), lines[end:]
    if _ITEM.match(lines[0]):
        end = next((n for n, line in enumerate(lines) if n and _ends_item(line)), len(lines))
        item = " ".join(line.strip() for line in lines[:end])
        return [r".IP \(bu 2", *wrapped(text(_ITEM.sub("", item, count=1)))], lines[end:]
    end = next((n for n, line in enumerate(lines) if _ends_paragraph(line)), len(lines))
    words = " ".join(line.strip() for line in lines[:end])
    return [*_paragraph(is_first=is_first), *wrapped(text(words))], lines[end:]


def _paragraph(*, is_first: bool) -> list[str]:
    return [] if is_first else [".PP"]


def _ends_item(line: str) -> bool:
    return _ITEM.match(line) is not None or _ends_paragraph(line)


def _ends_paragraph(line: str) -> bool:
    return not line.strip() or line.startswith(("```", "|", "#", "- "))


def table(lines: list[str]) -> list[str]:
    """Return a table as a list of terms."""
    heading, *rows = ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)
    out: list[str] = []
    for name, *cells in rows[1:]:  # after the separator
        more = zip(heading[2:], cells[1:], strict=False)
        said = [*cells[:1], *(f"*{head}*: {cell}" for head, cell in more if cell)]
        body = [line for each in said for line in [".br", *wrapped(text(each))]]
        out += term(text(name), body[1:] or [r"\&"])
    return out
