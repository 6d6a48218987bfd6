"""What is typed after `shapecfg run`: checked here, and done by `shapecfg.run`."""

from __future__ import annotations

import random

import click

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
    host_loopback: bool,
    json_file: str | None,
    is_quiet: bool,
    command: tuple[str, ...],
) -> None:
    """Run a command behind a link of its own."""
    from shapecfg.run import behind_link
    from shapecfg.run.plan import Direction, Wishes, speed_bits
    from shapecfg.run.profiles import profile_values
    from shapecfg.run.words import read_lines

    if not command:
        raise InvalidValue("run needs a command: write shapecfg run --down 8mbit -- COMMAND")
    if profile is not None:
        known = profile_values(profile)
        down, up = down or known.down, up or known.up
        delay, loss = delay or known.delay, loss or known.loss
    rates = _rate(down), _rate(up)
    speeds = speed_bits(rates[0], is_linked=True), speed_bits(rates[1], is_linked=True)
    seed = random.getrandbits(31) if seed is None else seed
    lines = read_lines(delay, loss, seed, speeds)
    delay_ms = sum(each.delay.delay_ns for each in lines) // 10**6
    to, back = (Direction(*each) for each in zip(rates, (delay_ms,) * 2, lines, strict=True))
    wishes = Wishes(command, to, back, host_loopback)
    behind_link(wishes, is_quiet=is_quiet, json_file=json_file)


def _rate(text: str | None) -> int | None:
    if text is None:
        return None
    parsed = parse_rate(text)
    if parsed.warning is not None:
        click.echo(f"shapecfg: warning: {parsed.warning}", err=True)
    return parsed.rate_bits
