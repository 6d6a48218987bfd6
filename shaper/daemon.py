"""shaperd: options and wiring, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import click

from shaper import __version__, checks
from shaper.commands import Commands
from shaper.config import Config, check_forwarders, check_shapers, load
from shaper.control.service import Service
from shaper.errors import Busy, InvalidValue, KernelRefused, ShaperError
from shaper.kernel.netlink import Netlink
from shaper.model import Options, Spec
from shaper.notify import Notifier, watchdog_interval_ns
from shaper.pool import Pool
from shaper.store import Store
from shaper.supervisor import Supervisor

DEFAULT_SOCKET = Path("/run/shaper/org.shaper")
DEFAULT_STATE_DIRECTORY = Path("/var/lib/shaper")
DEFAULT_CONFIG = Path("/etc/shaper/shaper.toml")

_USAGE_STATUS = 1
_REFUSED_STATUS = 2
_INTERRUPTED_STATUS = 130  # 128 and SIGINT, as shells report it
_LOG_LEVELS = ("debug", "info", "warning", "error")
_NANOSECONDS = 1_000_000_000
_PING_INTERVAL_NS = 5 * _NANOSECONDS  # where no service manager asks for another
_PING_AGAIN_SECONDS = 0.5  # a forwarder that was replaced answers by then

_log = logging.getLogger("shaperd")


@dataclass(frozen=True)
class Settings:
    """What the command line says; None: left to the configuration file."""

    socket: Path
    state_directory: Path
    config_path: Path
    must_have_config: bool
    hz: int | None
    shapers: int | None
    forwarders: int | None

    def config(self) -> Config:
        """Return the configuration with the command line's values over it.

        Raises InvalidValue.
        """
        has_file = self.must_have_config or self.config_path.exists()
        config = load(self.config_path) if has_file else Config()
        if self.hz is not None:
            config = replace(config, hz=checks.check_hz(self.hz))
        if self.shapers is not None:
            config = replace(config, shapers=check_shapers(self.shapers))
        if self.forwarders is not None:
            config = replace(config, forwarders=check_forwarders(self.forwarders))
        return config


class Daemon:
    """One run of shaperd.

    Args:
        settings: the command line.
        config: the configuration it starts with.
    """

    def __init__(self, settings: Settings, config: Config) -> None:
        self._settings = settings
        self._config = config
        self._store = Store(settings.state_directory)
        self._notifier = Notifier(os.environ)
        self._is_stopping = asyncio.Event()
        self._reloads: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ShaperError when it cannot start."""
        pool = Pool(self._config.forwarders)
        async with Netlink() as netlink:
            supervisor = Supervisor(self._store, pool, netlink)
            commands = Commands(supervisor, self._config.hz)
            service = Service(self._settings.socket, self._config.group, commands)
            service.listen()
            self._catch_signals(commands, service)
            try:
                await supervisor.start(initial_specs(self._config, self._store.load()))
                service.accept()
                await self._serve(supervisor)
            except BaseException:
                # Whatever went wrong, traffic must not start to leave unshaped because of it.
                await supervisor.abandon()
                raise
            else:
                await supervisor.stop()
            finally:
                service.close()

    def _catch_signals(self, commands: Commands, service: Service) -> None:
        """Let signals wait from now on; one that comes during start-up is obeyed after it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._is_stopping.set)

        def reload() -> None:
            task = loop.create_task(self._reload(commands, service))
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)

    async def _serve(self, supervisor: Supervisor) -> None:
        watchdog = asyncio.get_running_loop().create_task(self._feed_watchdog(supervisor))
        self._say_ready()
        print(f"shaperd {__version__} listens on {self._settings.socket}", flush=True)
        await self._is_stopping.wait()
        self._notifier.stopping()
        for task in (watchdog, *self._reloads):
            task.cancel()

    def _say_ready(self) -> None:
        self._notifier.ready(f"listening on {self._settings.socket}")

    async def _reload(self, commands: Commands, service: Service) -> None:
        """Read the configuration again; a bad one is refused and the old one kept."""
        self._notifier.reloading(time.monotonic_ns() // 1000)
        try:
            config = self._settings.config()
            await commands.configure(config.devices)
        except ShaperError as error:
            _log.error("configuration refused, the old one stays: %s", error)
        except Exception:
            _log.exception("configuration refused, the old one stays")
        else:
            if config.forwarders != self._config.forwarders:
                _log.warning("a new number of forwarders needs a restart")
            commands.hz = config.hz
            service.group = config.group
            self._config = replace(config, forwarders=self._config.forwarders)
            _log.info("configuration read again")
        self._say_ready()

    async def _feed_watchdog(self, supervisor: Supervisor) -> None:
        """Ask every forwarder whether it lives, and tell the service manager if all do.

        One that does not answer is replaced, with or without a service manager.
        """
        interval_ns = watchdog_interval_ns(os.environ) or _PING_INTERVAL_NS
        while True:
            try:
                await supervisor.ping()
            except ShaperError as error:
                _log.error("watchdog not fed: %s", error)
                await asyncio.sleep(_PING_AGAIN_SECONDS)
            else:
                self._notifier.watchdog()
                await asyncio.sleep(interval_ns / _NANOSECONDS)


def initial_specs(config: Config, saved: list[Spec]) -> list[Spec]:
    """Return the shapers to start with: N of them, those saved, and those configured over them."""
    specs = {
        f"shaper{number}": Spec(f"shaper{number}", options=Options(hz=config.hz))
        for number in range(config.shapers)
    }
    for spec in (*saved, *config.devices):
        specs[spec.ifname] = spec
    return list(specs.values())


@contextlib.contextmanager
def _sole_owner(directory: Path) -> Iterator[None]:
    """Hold the state directory; two daemons would overwrite each other's state."""
    path = directory / "lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KernelRefused(
            f"cannot use the state directory {directory}: {error.strerror}", error.errno or 0
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Busy(
            f"another shaperd uses {directory} (stop it, or choose another --state-dir)"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _fail(error: ShaperError, status: int) -> NoReturn:
    click.echo(f"shaperd: {error}", err=True)
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
@click.option("--hz", type=int, help="Ticks per second.  [default: 1000]")
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
@click.option("--check", is_flag=True, help="Validate the configuration and exit.")
@click.version_option(__version__, prog_name="shaperd")
def shaperd(
    socket: Path,
    state_dir: Path,
    shapers: int | None,
    hz: int | None,
    forwarders: int | None,
    config: Path | None,
    log_level: str,
    check: bool,
) -> None:
    """Create shaper devices and forward what is routed to them, each at its own speed.

    Runs in the foreground. SIGTERM stops it and removes the devices; SIGHUP reads the
    configuration again. Use shapecfg to attach devices and set their speed.
    """
    logging.basicConfig(level=log_level.upper(), format="shaperd: %(levelname)s: %(message)s")
    for library in ("asyncio", "pyroute2"):  # which tell every message they handle
        logging.getLogger(library).setLevel(logging.WARNING)
    settings = Settings(
        socket=socket,
        state_directory=state_dir,
        config_path=config or DEFAULT_CONFIG,
        must_have_config=config is not None,
        hz=hz,
        shapers=shapers,
        forwarders=forwarders,
    )
    try:
        checked = settings.config()
    except InvalidValue as error:
        _fail(error, _USAGE_STATUS)
    if check:
        return
    try:
        with _sole_owner(state_dir):
            asyncio.run(Daemon(settings, checked).run())
    except ShaperError as error:
        _fail(error, _REFUSED_STATUS)


def main() -> None:
    """Run the command; the entry point. A mistake in its options is one sentence too."""
    try:
        shaperd(prog_name="shaperd", standalone_mode=False)
    except click.ClickException as mistake:
        message = mistake.format_message().rstrip(".")
        _fail(InvalidValue(f"{message} (see shaperd --help)"), _USAGE_STATUS)
    except click.Abort:  # Ctrl-C before there was anything to stop
        sys.exit(_INTERRUPTED_STATUS)


if __name__ == "__main__":
    main()
