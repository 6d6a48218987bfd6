"""What is typed after `shapecfg run`: checked here, and done by `shapecfg.run`."""

from __future__ import annotations

import random

import click

from shapecfg.settings import MOST_TRACE_BYTES, read_file
from shaper.errors import InvalidValue
from shaper.units import parse_rate

_RUN_HELP = """Run COMMAND behind a link of its own, as any user.

It has a network of its own, with the machine's connections behind the link. No daemon has to run,
and nothing stays when it has ended. The exit status is the command's.
"""


@click.command(
    "run",
    options_metavar="[OPTIONS] [--]",
    context_settings={"allow_interspersed_args": False},
    help=_RUN_HELP,
)
@click.option("--down", metavar="RATE", help="Towards the command.  [default: no limit]")
@click.option("--up", metavar="RATE", help="Away from the command.  [default: no limit]")
@click.option("--delay", metavar="TIME", help="There and back together, or DOWN/UP.")
@click.option("--loss", metavar="P", help="Of each direction, or DOWN/UP.")
@click.option("--seed", type=int, help="Lose the same frames again.  [default: drawn]")
@click.option("--profile", metavar="NAME", help="A common link, such as 3g; see set.")
@click.option(
    "--trace-down", metavar="FILE", help="A rate over time, in place of --down; see set."
)
@click.option("--trace-up", metavar="FILE", help="The same in place of --up.")
@click.option("--host-loopback", is_flag=True, help="The gateway is 127.0.0.1 of the machine.")
@click.option("--json", "json_file", metavar="FILE", help="Write what the link did to FILE.")
@click.option("-q", "--quiet", "is_quiet", is_flag=True, help="Print no summary.")
@click.argument("command", metavar="COMMAND...", nargs=-1, type=click.UNPROCESSED)
def run(
    down: str | None,
    up: str | None,
    delay: str | None,
    loss: str | None,
    seed: int | None,
    profile: str | None,
    trace_down: str | None,
    trace_up: str | None,
    host_loopback: bool,
    json_file: str | None,
    is_quiet: bool,
    command: tuple[str, ...],
) -> None:
    """Run a command behind a link of its own."""
    from shapecfg.run import behind_link
    from shapecfg.run.plan import Direction, Wishes, speed_bits
    from shapecfg.run.profiles import profile_named
    from shapecfg.run.words import NO_LINE, read_lines, read_trace

    if not command:
        raise InvalidValue("run needs a command: write shapecfg run --down 8mbit -- COMMAND")
    for rate, trace, name in ((down, trace_down, "down"), (up, trace_up, "up")):
        if rate is not None and trace is not None:
            raise InvalidValue(f"--{name} {rate} --trace-{name} {trace}: write one of them")
    base = NO_LINE
    if profile is not None:
        known = profile_named(profile)
        down, up = down or f"{known.down_bits}bit", up or f"{known.up_bits}bit"
        base = known.line
    traces = [
        None if name is None else read_trace(name, read_file(name, MOST_TRACE_BYTES))
        for name in (trace_down, trace_up)
    ]
    rates = [
        _rate(text) if trace is None else trace.mean_bits
        for text, trace in zip((down, up), traces, strict=True)
    ]
    peaks = [
        speed_bits(rate, is_linked=True) if trace is None else trace.peak_bits
        for rate, trace in zip(rates, traces, strict=True)
    ]
    seed = random.getrandbits(31) if seed is None else seed
    lines = read_lines(delay, loss, seed, (peaks[0], peaks[1]), base)
    delay_ms = sum(each.delay.delay_ns for each in lines) // 10**6
    each_way = zip(rates, (delay_ms,) * 2, lines, traces, strict=True)
    to, back = (Direction(*each) for each in each_way)
    wishes = Wishes(command, to, back, host_loopback)
    behind_link(wishes, is_quiet=is_quiet, json_file=json_file)


def _rate(text: str | None) -> int | None:
    if text is None:
        return None
    parsed = parse_rate(text)
    if parsed.warning is not None:
        click.echo(f"shapecfg: warning: {parsed.warning}", err=True)
    return parsed.rate_bits
