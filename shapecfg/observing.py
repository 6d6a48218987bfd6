"""The verbs that look on: live, as events, as metrics, and for what is wrong.

What they do is imported when they are asked for: it takes its time.
"""

from __future__ import annotations

from pathlib import Path

import click

from shapecfg.client import DEFAULT_SOCKET, EXIT_REFUSED, CallError
from shapecfg.program import ShaperName
from shapecfg.view import View
from shaper.errors import InvalidValue

_METRICS_HELP = """Print metrics for Prometheus.

Sent, dropped by reason, backlog, busy time, the configured rate, the delay, the state, alarms and
events. Without options they are printed once. shaper_up is 0 if no daemon answers.
"""

_PORTS = 65536
# Chosen: a day, and no more looks than a screen can show.
_LEAST_SECONDS, _MOST_SECONDS = 0.01, 86400


def _check_seconds(
    _: click.Context, option: click.Parameter, seconds: float | None
) -> float | None:
    """Return a time. Raises InvalidValue for what is none, or has no end."""
    if seconds is not None and not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        bounds = f"{_LEAST_SECONDS:g} to {_MOST_SECONDS}"
        raise InvalidValue(f"--{option.name} {seconds:g} is out of bounds ({bounds})")
    return seconds


@click.command()
@click.argument("devices", metavar="[DEV]...", type=ShaperName(), nargs=-1)
@click.option(
    "--seconds",
    type=float,
    default=1.0,
    show_default=True,
    callback=_check_seconds,
    help="Between looks.",
)
@click.option("--looks", type=click.IntRange(min=1), help="End after so many.  [default: no end]")
@click.option("--svg", type=click.Path(path_type=Path), help="Draw the last view as a picture.")
@click.pass_obj
def watch(
    view: View, devices: tuple[str, ...], seconds: float, looks: int | None, svg: Path | None
) -> None:
    """Show DEV, or every shaper, live: q quits, p pauses, s sorts."""
    from shapecfg.watch import watch as show_live

    show_live(
        view.client,
        devices,
        is_json=view.is_json,
        interval_seconds=seconds,
        looks=looks,
        svg=svg,
        has_color=view.has_color,
    )


@click.command()
@click.argument("devices", metavar="[DEV]...", type=ShaperName(), nargs=-1)
@click.option(
    "--seconds",
    type=float,
    callback=_check_seconds,
    help="End after so long.  [default: no end]",
)
@click.pass_obj
def monitor(view: View, devices: tuple[str, ...], seconds: float | None) -> None:
    """Print events of DEV, or of every shaper, as they happen.

    With -j each is a JSON object on a line. It ends with Ctrl-C, or with the daemon.
    """
    from shapecfg.monitor import lines

    for line in lines(view.client.monitor(seconds), devices, is_json=view.is_json):
        click.echo(line)


@click.command(help=_METRICS_HELP)
@click.option("--listen", metavar="[HOST:]PORT", help="Answer scrapes; HOST is 127.0.0.1.")
@click.option("--textfile", type=click.Path(path_type=Path), help="Write them to a file.")
@click.pass_obj
def metrics(view: View, listen: str | None, textfile: Path | None) -> None:
    """Print metrics for Prometheus."""
    address = _read_address(listen) if listen is not None else None
    try:
        from shapecfg import metrics as prometheus
    except ModuleNotFoundError as missing:
        sentence = f"metrics needs {missing.name}: install the package python3-prometheus-client"
        raise CallError(f"{sentence}, or pip install prometheus-client", EXIT_REFUSED) from missing
    if address is not None:
        prometheus.listen(view.client, *address)
    elif textfile is not None:
        prometheus.write_textfile(view.client, textfile)
    else:
        click.echo(prometheus.text(view.client), nl=False)


def _complete_doctor(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from shapecfg import completion

    socket_path = ctx.find_root().params.get("socket") or DEFAULT_SOCKET
    return completion.asked(socket_path, list(ctx.params.get("words") or ()), incomplete)


@click.command(options_metavar="")
@click.argument(
    "words", metavar="[DEV]... [to ADDRESS]", nargs=-1, shell_complete=_complete_doctor
)
@click.pass_context
def doctor(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Find why DEV, or any shaper, is not in force.

    A sentence and the command that mends it are printed for each reason. With an address, the
    way of a packet to it is told as well. The exit status is 0 only if nothing was found.
    """
    from shapecfg.doctor import examine

    view: View = ctx.obj
    is_json, is_pretty = view.is_json, view.is_pretty
    ctx.exit(examine(view.client, words, is_json=is_json, is_pretty=is_pretty))


def _read_address(text: str) -> tuple[str, int]:
    """Return the host and the port of [HOST:]PORT."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < _PORTS):
        raise InvalidValue(f"{text!r} is no [HOST:]PORT: write 9811, or 192.0.2.1:9811")
    return host.strip("[]") or "127.0.0.1", int(port)
