"""Write the manual pages: `python packaging/manual DIRECTORY` makes DIRECTORY/man8/shapecfg.8, ...

The pages are Markdown, in `pages`. What they share with `--help` and with the administrator's
guide stands there alone, and is taken from it here by lines of their own:

    {{options PROGRAM}}    the options of a program, as its --help has them
    {{commands PROGRAM}}   its commands, as their --help has them
    {{guide NAME}}         the passage of the guide between <!-- page: NAME --> and <!-- /page -->
    {{table HEADING}}      the table of the guide whose first heading this is

The interpreter is one that has the project installed. The first line of a page is `# NAME SECTION
what it is`. Dates follow SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import roff

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
GUIDE = CHECKOUT / "docs/administration.md"
PAGES = sorted((HERE / "pages").glob("*.md"))

_INCLUDE = re.compile(r"^\{\{(\w+) (.+)\}\}$", re.MULTILINE)
_VERBATIM = "\b"  # begins a paragraph that click leaves alone


def main(directory: Path) -> None:
    """Write every page below the directory."""
    for source in PAGES:
        name, section, manual = convert(source.read_text(encoding="utf-8"))
        target = directory / f"man{section}" / f"{name}.{section}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(manual, encoding="ascii")


def convert(source: str) -> tuple[str, str, str]:
    """Return name, section and text in man(7) of a page."""
    from shaper import __version__

    title, _, body = source.partition("\n")
    _, name, section, summary = title.split(maxsplit=3)
    day = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    heading = (
        f'.TH {name.upper()} {section} {time.strftime("%Y-%m-%d", day)} "shaper {__version__}"'
    )
    described = [".SH NAME", rf"{name} \- {roff.escape(summary)}"]
    return name, section, "\n".join([heading, *described, roff.page(include(body))])


def include(body: str) -> str:
    """Put in what the page takes from elsewhere."""

    def taken(match: re.Match[str]) -> str:
        return "\n".join(SOURCES[match[1]](match[2]))

    return _INCLUDE.sub(taken, body)


def options(program: str) -> Iterator[str]:
    """Yield the options of a program."""
    yield from _options(_command(program))
    yield ""


def commands(program: str) -> Iterator[str]:
    """Yield the commands of a program, each with its arguments, its text and its options."""
    group = _command(program)
    assert isinstance(group, click.Group)
    context = click.Context(group, info_name=program)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if not command.hidden:
            yield from _entry(name, command)
    yield ""


def _entry(name: str, command: click.Command) -> Iterator[str]:
    pieces = command.collect_usage_pieces(click.Context(command, info_name=name))
    usage = " ".join(roff.escape(piece, is_literal=True) for piece in pieces)
    yield from roff.term(rf"\fB{name}\fR \fI{usage}\fR".replace(r" \fI\fR", ""), _help(command))
    inner = list(_options(command, has_help=False))
    if inner:
        yield from [".RS", *inner, ".RE"]


def _help(command: click.Command) -> Iterator[str]:
    """Yield the help of a command; a paragraph after the first is indented like it."""
    for number, paragraph in enumerate((command.help or "").strip().split("\n\n")):
        lines = [line.rstrip() for line in paragraph.splitlines()]
        if lines[0].strip() == _VERBATIM:
            yield from [".RS", *roff.verbatim(lines[1:])[1:]]
            continue
        if number:
            yield ".IP"
        yield from roff.wrapped(roff.text(" ".join(line.strip() for line in lines)))


def _options(command: click.Command, *, has_help: bool = True) -> Iterator[str]:
    context = click.Context(command, info_name=command.name, **command.context_settings)
    for parameter in command.get_params(context):
        is_other_help = "--help" in parameter.opts and not has_help
        record = parameter.get_help_record(context)
        if record is None or isinstance(parameter, click.Argument) or is_other_help:
            continue
        yield from roff.term(_tag(record[0]), roff.wrapped(roff.text(record[1])))


def _tag(declaration: str) -> str:
    """Return how an option is written, with what it takes in italics."""
    words = []
    for word in declaration.split():
        font = "B" if word.startswith("-") else "I"
        words.append(rf"\f{font}{roff.escape(word, is_literal=True)}\fR")
    return " ".join(words)


def _command(program: str) -> click.Command:
    from shapecfg.cli import cli
    from shaper.daemon import shaperd

    return {"shapecfg": cli, "shaperd": shaperd}[program]


def passage(name: str) -> list[str]:
    """Return a passage of the guide.

    Raises:
        LookupError: there is not exactly one of that name.

    """
    pattern = rf"^<!-- page: {re.escape(name)} -->\n(.*?)^<!-- /page -->$"
    found: list[str] = re.findall(pattern, _guide(), re.DOTALL | re.MULTILINE)
    if len(found) != 1:
        raise LookupError(f"{GUIDE.name} has {len(found)} passages marked 'page: {name}'")
    return found[0].splitlines()


def guide_table(heading: str) -> list[str]:
    """Return the lines of a table of the guide.

    Raises:
        LookupError: there is not exactly one with that heading.

    """
    lines = _guide().splitlines()
    begin = f"| {heading} |"
    starts = [number for number, line in enumerate(lines) if line.startswith(begin)]
    if len(starts) != 1:
        raise LookupError(f"{GUIDE.name} has {len(starts)} tables that begin with {heading!r}")
    end = next(n for n in range(starts[0], len(lines) + 1) if not lines[n].startswith("|"))
    return lines[starts[0] : end]


def _guide() -> str:
    return GUIDE.read_text(encoding="utf-8")


SOURCES: dict[str, Callable[[str], Iterator[str] | list[str]]] = {
    "options": options,
    "commands": commands,
    "guide": passage,
    "table": guide_table,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
