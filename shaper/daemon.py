"""shaperd: its options, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from shaper import __version__
from shaper.desired.config import CommandLine
from shaper.desired.store import sole_owner
from shaper.errors import InvalidValue, ShaperError
from shaper.names import printable
from shaper.output import settle_output
from shaper.shipped import obstacle, unit
from shaper.supervisor.journal import handler
from shaper.supervisor.lifecycle import Daemon
from shaper.supervisor.signals import ignore_harmless
from shaper.supervisor.withdraw import withdraw as withdraw_from

DEFAULT_SOCKET = Path("/run/shaper/org.shaper")
DEFAULT_STATE_DIRECTORY = Path("/var/lib/shaper")
DEFAULT_CONFIG = Path("/etc/shaper/shaper.toml")

_USAGE_STATUS = 1
_REFUSED_STATUS = 2
_INTERRUPTED_STATUS = 130  # 128 and SIGINT, as shells report it
_UMASK = 0o022  # what is made is for the daemon to write alone, however it was started
_UNWRITTEN = (errno.ENOSPC, errno.EPIPE, errno.EBADF, errno.EIO)
_LOG_LEVELS = ("debug", "info", "warning", "error")

_log = logging.getLogger("shaperd")


def _fail(error: ShaperError, status: int) -> NoReturn:
    with contextlib.suppress(OSError):  # there is nowhere left to say it
        click.echo(f"shaperd: {printable(str(error))}", err=True)
    sys.exit(status)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    default=DEFAULT_SOCKET,
    show_default=True,
    help="Control socket.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=DEFAULT_STATE_DIRECTORY,
    show_default=True,
    help="Where the state file lives.",
)
@click.option("--shapers", type=int, help="Devices to create at start.  [default: 1]")
@click.option("--hz", type=int, help="Jiffies per second.  [default: by the rate]")
@click.option("--forwarders", type=int, help="Forwarder processes.  [default: 1]")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help=f"Configuration.  [default: {DEFAULT_CONFIG}, if it exists]",
)
@click.option(
    "--log-level",
    type=click.Choice(_LOG_LEVELS),
    default="info",
    show_default=True,
    help="How much to log.",
)
@click.option(
    "--check",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Validate the configuration, or FILE, and exit. Works as any user.",
)
@click.option(
    "--withdraw", is_flag=True, help="Remove what a daemon that has ended left, and exit."
)
@click.option(
    "--print-unit",
    is_flag=True,
    help="Print the service's unit for this installation, with where its pages lie, and exit.",
)
@click.version_option(__version__, "-V", "--version", message="shaperd %(version)s")
def shaperd(
    socket: Path,
    state_dir: Path,
    shapers: int | None,
    hz: int | None,
    forwarders: int | None,
    config: Path | None,
    log_level: str,
    check: str | None,
    withdraw: bool,
    print_unit: bool,
) -> None:
    """Create shaper devices and forward what is routed to them, each at its own speed.

    Runs in the foreground. SIGTERM stops it and removes the devices; SIGHUP reads the
    configuration again. Use shapecfg to attach devices and set their speed.
    """
    log = handler(os.environ)
    log.setLevel(log_level.upper())  # events are records whatever the level is
    logging.basicConfig(level=log_level.upper(), handlers=[log])
    for library in ("asyncio", "pyroute2"):  # which tell every message they handle
        logging.getLogger(library).setLevel(logging.WARNING)
    if withdraw:
        try:
            with sole_owner(state_dir):
                withdraw_from(state_dir)
        except ShaperError as error:
            _fail(error, _REFUSED_STATUS)
        return
    if print_unit:
        _print_unit()
        return
    config = Path(check) if check else config
    command_line = CommandLine(
        socket=socket,
        state_directory=state_dir,
        config_path=config or DEFAULT_CONFIG,
        must_have_config=config is not None,
        hz=hz,
        shapers=shapers,
        forwarders=forwarders,
    )
    try:
        checked = command_line.config()
    except InvalidValue as error:
        _fail(error, _USAGE_STATUS)
    for warning in checked.warnings:
        _log.warning("%s", warning)
    if check is not None:
        return
    os.umask(_UMASK)
    try:
        with sole_owner(state_dir):
            asyncio.run(Daemon(command_line, checked).run())
    except ShaperError as error:
        _fail(error, _REFUSED_STATUS)


def _print_unit() -> None:
    try:
        click.echo(unit(), nl=False)
    except InvalidValue as error:
        _fail(error, _REFUSED_STATUS)
    if (reason := obstacle()) is not None:
        _log.warning("%s", reason)


def main() -> None:
    """Run the command; the entry point. A mistake in its options is one sentence too."""
    ignore_harmless()
    _open_streams()
    try:
        shaperd(prog_name="shaperd", standalone_mode=False)
    except click.ClickException as mistake:
        message = mistake.format_message().rstrip(".")
        _fail(InvalidValue(f"{message} (see shaperd --help)"), _USAGE_STATUS)
    except click.Abort:  # Ctrl-C before there was anything to stop
        sys.exit(_INTERRUPTED_STATUS)
    except OSError as unwritten:
        if unwritten.errno not in _UNWRITTEN:
            raise
        _fail(InvalidValue(f"the output cannot be written: {unwritten.strerror}"), _USAGE_STATUS)
    finally:
        settle_output()


def _open_streams() -> None:
    """Have standard streams where they are closed, here and in forwarders.

    Else the first sockets would be theirs, and what is written to a log would go into them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - while the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


if __name__ == "__main__":
    main()
