"""What is typed after `shapecfg run`: read and done by `shapecfg.run`, imported when asked for."""

from __future__ import annotations

from typing import Any

import click

_RUN_HELP = """Run COMMAND behind a link of its own, as any user.

It has a network of its own, with the machine's connections behind the link. No daemon has to run,
and nothing stays when it has ended. The exit status is the command's.
"""


def _complete_profile(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from shapecfg import completion

    return completion.profiles(incomplete)


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
@click.option(
    "--profile",
    metavar="NAME",
    shell_complete=_complete_profile,
    help="A common link, such as 3g; see set.",
)
@click.option(
    "--trace-down", metavar="FILE", help="A rate over time, in place of --down; see set."
)
@click.option("--trace-up", metavar="FILE", help="The same in place of --up.")
@click.option("--host-loopback", is_flag=True, help="The gateway is 127.0.0.1 of the machine.")
@click.option("--json", "json_file", metavar="FILE", help="Write what the link did to FILE.")
@click.option("-q", "--quiet", "is_quiet", is_flag=True, help="Print no summary.")
@click.argument("command", metavar="COMMAND...", nargs=-1, type=click.UNPROCESSED)
def run(command: tuple[str, ...], json_file: str | None, is_quiet: bool, **link: Any) -> None:
    """Run a command behind a link of its own."""
    from shapecfg.run import behind_link
    from shapecfg.run.asked import wishes

    behind_link(wishes(command, **link), is_quiet=is_quiet, json_file=json_file)
