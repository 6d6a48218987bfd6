"""`shapecfg doctor`: is it in force, and if not, why not and what mends it.

This is the one part of the command that talks to the kernel, and it is imported when it is asked
for: pyroute2 alone takes longer to start than everything else here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from shapecfg import render
from shapecfg.client import EXIT_REFUSED, Client
from shapecfg.doctor import packet_path
from shapecfg.doctor.gather import Gathering
from shapecfg.reply import Shaper, printable
from shaper.desired.diagnosis import diagnose
from shaper.desired.findings import Finding, Severity
from shaper.errors import InvalidValue

_TO = "to"


def examine(
    client: Client,
    words: tuple[str, ...],
    *,
    is_json: bool,
    is_pretty: bool,
    gather: Callable[[Client, list[Shaper]], Gathering] = Gathering,
) -> int:
    """Print what is found; return the exit status.

    Args:
        client: the daemon to ask.
        words: names of shapers, none for all, and perhaps `to ADDRESS`.
        is_json: print an array of findings.
        is_pretty: indent it.
        gather: looks at the machine.
    """
    names, destination = _read(words)
    shapers = _chosen(client, names)
    if not shapers:
        return _print([("", _none())], [], is_json=is_json, is_pretty=is_pretty)
    with gather(client, shapers) as gathering:
        cases = gathering.cases(destination)
        found = [
            (case.shown.ifname, finding)
            for case, shaper in zip(cases, shapers, strict=True)
            for finding in diagnose(case, _of_daemon(shaper))
        ]
        if destination is not None:
            lines, more = packet_path.describe(gathering, cases, destination)
            found += [("", finding) for finding in more]
            _say_way(lines, is_json=is_json)
    return _print(found, gathering.unseen, is_json=is_json, is_pretty=is_pretty)


def _read(words: tuple[str, ...]) -> tuple[list[str], Any]:
    if _TO not in words:
        return list(words), None
    at = words.index(_TO)
    match words[at + 1 :]:
        case ():
            raise InvalidValue("to needs an address: write to 10.1.0.2")
        case (address,):
            return list(words[:at]), packet_path.parse_destination(address)
        case (_, extra, *_):
            raise InvalidValue(f"{extra!r} has no meaning after an address")
    raise AssertionError


def _chosen(client: Client, names: list[str]) -> list[Shaper]:
    if not names:
        return client.show()
    return [each for name in dict.fromkeys(names) for each in client.show(name)]


def _of_daemon(shaper: Shaper) -> list[Finding]:
    severities = {str(each) for each in Severity}
    return [
        Finding(
            each["id"],
            Severity(each["severity"] if each["severity"] in severities else Severity.WARNING),
            each["sentence"],
            each["remedy"],
        )
        for each in shaper["findings"] or ()
    ]


def _none() -> Finding:
    return Finding("no-shaper", Severity.FAULT, "there is no shaper", "shapecfg add")


def _say_way(lines: list[str], *, is_json: bool) -> None:
    for line in lines:
        click.echo(printable(line), err=is_json)


def _print(
    found: list[tuple[str, Finding]], unseen: list[str], *, is_json: bool, is_pretty: bool
) -> int:
    if is_json:
        told = [
            {
                "id": finding.id,
                "ifname": ifname or None,
                "severity": str(finding.severity),
                "sentence": finding.sentence,
                "remedy": finding.remedy,
            }
            for ifname, finding in found
        ]
        click.echo(render.to_json(told, is_pretty=is_pretty))
    else:
        for _, finding in dict.fromkeys(found):
            click.echo(printable(_text(finding)))
    sys.stdout.flush()
    for what in dict.fromkeys(unseen):
        click.echo(f"shapecfg: not seen: {printable(what)}", err=True)
    return EXIT_REFUSED if found else 0


def _text(finding: Finding) -> str:
    lines = [f"{finding.severity} [{finding.id}]: {finding.sentence}"]
    if finding.remedy is not None:
        lines.append(f"    {finding.remedy}")
    return "\n".join(lines)
