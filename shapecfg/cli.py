"""The command line of `shapecfg`: what was typed, checked here and handed to the daemon.

Options come before the verb and nothing is said on success, as with iproute2. The lines of 1996
are understood as they were.

It has to start in the time a shell script has: click, socket and json only, and what prints or
completes is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import click

from shapecfg import settings as settings_of_set
from shapecfg.client import DEFAULT_SOCKET, Client
from shapecfg.observing import doctor, metrics, monitor, watch
from shapecfg.program import MasterName, Program, ShaperName, TakesNumbers
from shapecfg.reply import Shaper, printable
from shapecfg.run_options import run
from shapecfg.view import View
from shapecfg.warnings import general
from shaper import __version__
from shaper.errors import InvalidValue
from shaper.units import parse_rate

_EPILOG = """\b
Completion of verbs and device names, for the shell's start-up file:
  bash  eval "$(_SHAPECFG_COMPLETE=bash_source shapecfg)"
  zsh   eval "$(_SHAPECFG_COMPLETE=zsh_source shapecfg)"
  fish  _SHAPECFG_COMPLETE=fish_source shapecfg | source"""

_SET_HELP = """Change how DEV shapes.

\b
queue  fq_codel, fifo or classic
limit  frames that may wait: 100, 100p, or default
burst  bytes that may leave at once: 3028, 3028b, 10kb, or default
hz     ticks of its clock in a second: 100 is the machine of 1996; or default

A link behind it; each key takes default, too:

\b
overhead   bytes a frame takes beyond what MASTER shows, and atm or ptm;
           or a word of tc-cake(8): docsis, pppoe-ptm, ethernet ether-vlan
mpu        the fewest bytes that a frame takes
delay      TIME [jitter TIME [distribution uniform|normal|pareto|table FILE]
           [correlation P]]: 20ms jitter 5ms
loss       P [correlation P], or gemodel P R [1-H [1-K]], or pattern FILE: 1%
duplicate  P: frames that arrive twice
corrupt    P: frames with a bit of their payload wrong
reorder    P [gap N]: frames that overtake those under way
seed       the same traffic meets the same fate again

\b
trace      FILE [loop|once], or none: the rate follows a file, of lines
           SECONDS,RATE or as mahimahi has them
profile    NAME [down|up]: a whole link, its rate included: modem-56k, edge,
           3g, 4g, dsl, cable, fibre, satellite, lossy-wifi"""

_ATTACH_HELP = """Bind DEV to MASTER: what is routed to DEV leaves by MASTER.

Without a route, DEV can take from MASTER

\b
egress        everything MASTER sends
ingress       everything MASTER receives
cgroup GROUP  what a control group sends through MASTER: a path below the
              cgroup2 mount, or a unit (backup.service, user.slice)

With one of these, a shaperN that is not there is made."""


def _complete_settings(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from shapecfg import completion

    given = list(ctx.params.get("settings") or ())
    return completion.settings(list(settings_of_set.KEYS), given, incomplete)


def _complete_capture(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from shapecfg import completion

    return completion.captures(list(ctx.params.get("capture") or ()), incomplete)


_device = click.argument("device", metavar="DEV", type=ShaperName())
_optional_device = click.argument("device", metavar="[DEV]", type=ShaperName(), required=False)
_devices = click.argument("devices", metavar="DEV...", type=ShaperName(), nargs=-1, required=True)
_any_devices = click.argument("devices", metavar="[DEV]...", type=ShaperName(), nargs=-1)

_master = click.argument("master", metavar="MASTER", type=MasterName())
_capture = click.argument(
    "capture",
    metavar="[egress|ingress|cgroup GROUP]",
    nargs=-1,
    shell_complete=_complete_capture,
)


def _flag(letters: str, word: str, name: str, text: str) -> Callable[[Any], Any]:
    """Return an option as `ip` has it: of a letter or two, or of a word with either dash."""
    return click.option(letters, f"-{word}", f"--{word}", name, is_flag=True, help=text)


@click.group(
    cls=Program,
    invoke_without_command=True,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--socket",
    metavar="PATH",
    envvar="SHAPER_SOCKET",
    default=DEFAULT_SOCKET,
    show_default=True,
    show_envvar=True,
    help="The daemon's socket.",
)
@_flag("-s", "stats", "has_statistics", "Show counters and the rate achieved.")
@_flag("-d", "details", "is_detailed", "Show index, MTU and exact values.")
@_flag("-j", "json", "is_json", "Print JSON.")
@_flag("-p", "pretty", "is_pretty", "Indent JSON.")
@_flag("-br", "brief", "is_brief", "Show one short line for each device.")
@click.option(
    "-c",
    "-color",
    "--color",
    type=click.Choice(["always", "auto", "never"]),
    default="auto",
    metavar="[=WHEN]",
    help="Colour: always (no WHEN), never, or auto: on a terminal, without NO_COLOR.",
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Attach shaper devices to real ones and set their speed; alone, show them all."""
    ctx.obj = View(**options)
    if ctx.invoked_subcommand is None:
        _print_shapers(ctx.obj, ())


@cli.command(options_metavar="", help=_ATTACH_HELP)
@_device
@_master
@_capture
@click.pass_obj
def attach(view: View, device: str, master: str, capture: tuple[str, ...]) -> None:
    """Bind DEV to MASTER: what is routed to DEV leaves by MASTER."""
    _warn(view.client.attach(device, master, *_read_capture(capture)))


@cli.command(options_metavar="")
@_device
@_master
@_capture
@click.pass_obj
def replace(view: View, device: str, master: str, capture: tuple[str, ...]) -> None:
    """Attach DEV, or change what it is attached to; twice is as once."""
    _warn(view.client.attach(device, master, *_read_capture(capture), may_replace=True))


@cli.command(options_metavar="", cls=TakesNumbers)
@_device
@click.argument("rate", metavar="[RATE]", required=False)
@click.pass_obj
def speed(view: View, device: str, rate: str | None) -> None:
    """Set the rate of DEV, or print it.

    RATE is in bits per second, as in 1996, or a number with a suffix of tc: 64000, 64kbit,
    1.5mbit. It takes effect at once and loses nothing.
    """
    if rate is None:
        _print_speed(view, device)
        return
    parsed = parse_rate(rate)
    if parsed.warning is not None:
        _warn([parsed.warning])
    _warn(view.client.set_speed(device, parsed.rate_bits))


@cli.command(options_metavar="")
@_devices
@click.pass_obj
def detach(view: View, devices: tuple[str, ...]) -> None:
    """Unbind DEV from its master; the device stays, without carrier."""
    _each(view.client, devices, view.client.detach)


@cli.command(options_metavar="")
@_optional_device
@click.pass_obj
def add(view: View, device: str | None) -> None:
    """Create DEV, or the next free shaper, whose name is printed."""
    created = view.client.add(device)
    if device is None:
        click.echo(created["ifname"])
    _warn(created["warnings"])


@cli.command("del", options_metavar="")
@_devices
@click.pass_obj
def delete(view: View, devices: tuple[str, ...]) -> None:
    """Remove shaper devices."""
    _each(view.client, devices, view.client.delete)


@cli.command("set", options_metavar="", cls=TakesNumbers, help=_SET_HELP)
@_device
@click.argument(
    "settings",
    metavar="KEY VALUE [KEY VALUE]...",
    nargs=-1,
    required=True,
    shell_complete=_complete_settings,
)
@click.pass_obj
def set_options(view: View, device: str, settings: tuple[str, ...]) -> None:
    """Change how DEV shapes."""
    _warn(view.client.set_options(device, settings_of_set.read(settings)))


@cli.command(options_metavar="")
@_any_devices
@click.pass_obj
def show(view: View, devices: tuple[str, ...]) -> None:
    """Show DEV, or every shaper."""
    _print_shapers(view, devices)


@cli.command(options_metavar="")
@click.pass_obj
def save(view: View) -> None:
    """Print everything as it is now, in the format of shaper.toml.

    Shapers and their options, and the addresses, routes and rules that concern them.
    """
    click.echo(view.client.save(), nl=False)


@cli.command(options_metavar="")
@click.argument("file", metavar="FILE|-", type=click.File("rb"))
@click.pass_obj
def restore(view: View, file: BinaryIO) -> None:
    """Make everything as FILE says, all or none; - is standard input.

    Shapers that it does not name are removed.
    """
    name = "standard input" if file.name in ("<stdin>", 0) else file.name
    text = settings_of_set.text_of(name, file)
    if not text.strip():
        raise InvalidValue(f"{name} is empty: 'shapecfg del' removes shapers")
    _warn(view.client.restore(text))


for _command in (watch, monitor, metrics, doctor, run):
    cli.add_command(_command)


def _read_capture(words: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Return how traffic comes to a shaper, None for by route, and the group that it is of."""
    match words:
        case ():
            return None, None
        case ("route" | "egress" | "ingress" as mode,):
            return mode, None
        case ("cgroup", group) if group:
            return "cgroup", group
        case ("cgroup",) | ("cgroup", ""):
            raise InvalidValue("cgroup needs a group: a path below its mount, or a unit")
        case (known, extra, *_) if known in ("route", "egress", "ingress"):
            raise InvalidValue(f"{extra!r} has no meaning after {known}")
        case ("cgroup", _, extra, *_):
            raise InvalidValue(f"{extra!r} has no meaning after a group")
    raise InvalidValue(
        f"{words[0]!r} is no way to take traffic: write egress, ingress or cgroup GROUP, "
        "or nothing for what is routed to the shaper"
    )


def _each(client: Client, devices: tuple[str, ...], call: Callable[[str], list[str]]) -> None:
    """Make a call for each device; for none where one of several is not there."""
    for device in devices if len(devices) > 1 else ():
        client.show(device)
    for device in dict.fromkeys(devices):
        _warn(call(device))


def _print_shapers(view: View, devices: tuple[str, ...]) -> None:
    answers = [view.client.overview(device) for device in devices or (None,)]
    shapers = [shaper for answer in answers for shaper in answer["shapers"]]
    from shapecfg import render

    if view.is_json:
        click.echo(render.to_json(shapers, is_pretty=view.is_pretty))
        return
    for shaper in shapers:
        click.echo(_described(view, shaper), color=view.has_color)
        _warn(shaper["warnings"])
    _warn(dict.fromkeys(warning for answer in answers for warning in general(answer)))


def _described(view: View, shaper: Shaper) -> str:
    """Return the lines of a shaper; without colour nothing but text is in them."""
    from shapecfg import render

    has_color = view.has_color
    paint = render.colored if has_color else render.plain
    shaper = printable(shaper) if has_color else shaper
    if view.is_brief:
        text = render.describe_briefly(shaper, paint)
    else:
        text = render.describe(
            shaper,
            is_detailed=view.is_detailed,
            has_statistics=view.has_statistics,
            paint=paint,
        )
    return text if has_color else printable(text)


def _print_speed(view: View, device: str) -> None:
    shapers = view.client.show(device)
    from shapecfg import render

    if view.is_json:
        speeds = [
            {"ifname": shaper["ifname"], "rate_bits": shaper["options"]["rate_bits"]}
            for shaper in shapers
        ]
        click.echo(render.to_json(speeds, is_pretty=view.is_pretty))
        return
    for shaper in shapers:
        click.echo(render.rate(shaper))


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        click.echo(f"shapecfg: warning: {printable(warning)}", err=True)


def main() -> None:
    """Run the command; the entry point."""
    cli(prog_name="shapecfg")
