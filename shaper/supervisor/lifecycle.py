"""The daemon's life: it starts, listens to signals, is watched, and stops.

How it goes: the control socket is bound before any device is made, so that a second daemon finds
out at once; it answers when all shapers are there, which is also when the service manager is told.
A clean stop removes the devices; any other end leaves them, so that nothing leaves unshaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from shaper import __version__
from shaper.channel.board import MAX_SHAPERS
from shaper.control.service import Service
from shaper.desired.config import CommandLine, Config, further_specs, initial_specs
from shaper.desired.continuing import begun, drawn
from shaper.desired.store import Store
from shaper.errors import InvalidValue, ShaperError
from shaper.events import Event, Kind, tell
from shaper.kernel.glance import Glance
from shaper.kernel.linux import LINUX, Kernel
from shaper.supervisor import signals
from shaper.supervisor.bypass import Bypasses
from shaper.supervisor.commands import Commands
from shaper.supervisor.keepsakes import Keepsakes
from shaper.supervisor.network_keeper import NetworkKeeper, kept
from shaper.supervisor.notify import Notifier, watchdog_interval_ns
from shaper.supervisor.observer import Observer
from shaper.supervisor.pool import MakeForwarder, Pool
from shaper.supervisor.process import Forwarder
from shaper.supervisor.reconciler import Supervisor
from shaper.supervisor.shaper_object import in_alarm
from shaper.supervisor.shaper_view import summary

_NANOSECONDS = 1_000_000_000

# Chosen.
_PING_INTERVAL_NS = 5 * _NANOSECONDS  # where no service manager asks for another
_EXTENSION_SECONDS = 20  # asked for anew after half of it, as long as the start or stop goes on
_MOST_EXTENSIONS = 60  # ten minutes: whatever takes longer hangs
_PING_AGAIN_SECONDS = 0.5  # a forwarder that was replaced answers by then

_REFUSED = ", the configuration is refused (see the log)"
_LAST_WORDS_SECONDS = 0.02  # for the refusals of calls that came too late

_log = logging.getLogger("shaperd")

Keep = Callable[[Supervisor], AbstractAsyncContextManager[NetworkKeeper]]


class Daemon:
    """One run of shaperd.

    Args:
        command_line: its options.
        config: the configuration it starts with.
        kernel: what it asks of the kernel.
        keep: keeps declared routes.
        make: makes forwarders.
    """

    def __init__(
        self,
        command_line: CommandLine,
        config: Config,
        kernel: Kernel = LINUX,
        keep: Keep = kept,
        make: MakeForwarder = Forwarder,
    ) -> None:
        self._make = make
        self._kernel = kernel
        self._keep = keep
        self._command_line = command_line
        self._config = config
        self._notifier = Notifier(os.environ)
        self._has_started = asyncio.Event()
        self._is_stopping = asyncio.Event()
        self._is_reload_wanted = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._reloader: asyncio.Task[None]
        self._refused = ""  # what the status says as long as the file is not what there is
        self._pool: Pool

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ShaperError when it cannot start."""
        store = Store(self._command_line.state_directory)
        with self._kernel.netlink() as netlink:
            keepsakes = Keepsakes.open(self._notifier, os.environ)
            self._pool = self._make_pool(keepsakes)
            supervisor = Supervisor(store, self._pool, netlink, keepsakes, self._kernel)
            commands = Commands(supervisor, self._config.hz)
            commands.profiles = self._config.profiles
            service = Service(
                self._command_line.socket, self._config.group, commands, self._pool.is_forwarder
            )
            service.listen()
            self._catch_signals(supervisor, commands, service)
            patience = asyncio.get_running_loop().create_task(self._ask_for_patience())
            try:
                await self._start(supervisor, store)
                async with self._keep(supervisor) as keeper:
                    commands.inventory, keeper.explain = keeper.inventory, self._explain
                    keeper.start()
                    service.accept()
                    patience.cancel()
                    with contextlib.closing(Glance()) as glance:
                        await self._serve(supervisor, self._observe(supervisor, commands, glance))
                    patience = asyncio.get_running_loop().create_task(self._ask_for_patience())
                    await keeper.stop()
                    if supervisor.is_kept:
                        # Whether this is a restart the manager knows alone. If it is not, the
                        # devices go with what it holds, and `shaperd --withdraw` takes the rest.
                        await supervisor.rest()
                    else:
                        await supervisor.stop()
                        keeper.withdraw()
                    await asyncio.sleep(_LAST_WORDS_SECONDS)
            except BaseException:
                # Whatever went wrong, traffic must not start to leave unshaped because of it.
                await supervisor.abandon()
                raise
            finally:
                patience.cancel()
                service.close()

    def _make_pool(self, keepsakes: Keepsakes) -> Pool:
        caps = self._kernel.ring_caps(self._config.forwarders, MAX_SHAPERS)
        return Pool(self._config.forwarders, keepsakes, caps, self._make)

    async def _ask_for_patience(self) -> None:
        """Have the service manager wait for a slow start or stop, but not for ever."""
        for _ in range(_MOST_EXTENSIONS):
            await asyncio.sleep(_EXTENSION_SECONDS / 2)
            self._notifier.extend(_EXTENSION_SECONDS * 1_000_000)

    async def _start(self, supervisor: Supervisor, store: Store) -> None:
        saved = store.load()
        # The state directory is ours alone: a process that still holds one of these has no daemon.
        inherited = {spec.ifname for spec in saved}
        now_us = time.monotonic_ns() // 1000
        before = {spec.ifname: spec for spec in saved}
        specs = [
            drawn(begun(spec, now_us), before.get(spec.ifname))
            for spec in initial_specs(self._config, saved)
        ]
        await supervisor.start(specs, inherited)
        if self._pool.ring_caps.refusal:
            _log.info("%s", self._pool.ring_caps.refusal)

    def _catch_signals(self, supervisor: Supervisor, commands: Commands, service: Service) -> None:
        """Let signals wait from now on; one that comes during start-up is obeyed after it.

        However many ask for a reload while one is under way, one more follows it.
        """
        loop = asyncio.get_running_loop()
        for number in signals.STOP:
            loop.add_signal_handler(number, self._is_stopping.set)
        loop.add_signal_handler(signals.RELOAD, self._is_reload_wanted.set)
        signals.unblock()
        self._reloader = loop.create_task(self._reload_on_request(supervisor, commands, service))

    def _observe(self, supervisor: Supervisor, commands: Commands, glance: Glance) -> Observer:
        """Return what looks at the shapers, for `show` and for the status to tell."""

        def name_of(ifindex: int) -> str:
            link = supervisor.links.index(ifindex)
            return link.ifname if link is not None else f"device {ifindex}"

        def shapers() -> set[int]:
            return {device.ifindex for device in supervisor.devices.values()}

        bypasses = Bypasses(glance, supervisor.netlink, name_of, shapers)
        observer = Observer(supervisor, self._pool.board.snapshot, bypasses)
        commands.view.performance = observer.performance
        return observer

    async def _serve(self, supervisor: Supervisor, observer: Observer) -> None:
        loop = asyncio.get_running_loop()
        watching = loop.create_task(observer.run(lambda: self._follow_up(supervisor, observer)))
        watchdog = loop.create_task(self._feed_watchdog(supervisor))
        self._notifier.ready(summary(supervisor))
        self._has_started.set()
        with contextlib.suppress(OSError):  # a standard output that is full or closed
            print(f"shaperd {__version__} listens on {self._command_line.socket}", flush=True)
        await self._is_stopping.wait()
        self._notifier.stopping()
        supervisor.close_door()
        watchdog.cancel()
        watching.cancel()
        async with self._reloading:  # one that has begun is finished
            self._reloader.cancel()

    async def _reload_on_request(
        self, supervisor: Supervisor, commands: Commands, service: Service
    ) -> None:
        await self._has_started.wait()
        while True:
            await self._is_reload_wanted.wait()
            self._is_reload_wanted.clear()
            async with self._reloading:
                await self._reload(supervisor, commands, service)

    async def _reload(self, supervisor: Supervisor, commands: Commands, service: Service) -> None:
        self._notifier.reloading(time.monotonic_ns() // 1000)
        self._refused = _REFUSED
        try:
            await self._configure(commands, service)
        except ShaperError as error:
            _log.error("configuration refused, the old one stays: %s", str(error))
        except Exception:
            _log.exception("configuration refused, the old one stays")
        else:
            self._refused = ""
        self._notifier.ready(summary(supervisor) + self._refused)

    async def _configure(self, commands: Commands, service: Service) -> None:
        """Read the configuration again. Raises ShaperError; the old one is then kept."""
        config = self._command_line.config()
        specs = (*further_specs(self._config, config), *config.devices)
        try:
            warnings = (*config.warnings, *await commands.apply(specs, hz=config.hz))
        except ShaperError as error:
            raise InvalidValue(self._explain(error, config)) from error
        for warning in warnings:
            _log.warning("%s", warning)
        if config.forwarders != self._config.forwarders:
            _log.warning("a new number of forwarders needs a restart")
        commands.profiles = config.profiles
        service.change_group(config.group)
        self._config = replace(config, forwarders=self._config.forwarders)
        tell(Event(Kind.CONFIGURED), "configuration read again")

    def _explain(self, error: ShaperError, config: Config | None = None) -> str:
        """Return what is told of a refusal, behind file and line where it is of a declaration."""
        sentence = (config or self._config).sentence(error)
        return (
            sentence if sentence == str(error) else f"{self._command_line.config_path}: {sentence}"
        )

    def _follow_up(self, supervisor: Supervisor, observer: Observer) -> None:
        """Do what is due once a second."""
        supervisor.retaking.look()
        alarmed = in_alarm(observer.alarmed())
        self._notifier.status(summary(supervisor) + alarmed + self._refused)

    async def _feed_watchdog(self, supervisor: Supervisor) -> None:
        """Ping every forwarder, and tell the service manager if all answer.

        One that does not answer is replaced, with or without a service manager.
        """
        interval_ns = watchdog_interval_ns(os.environ) or _PING_INTERVAL_NS
        while True:
            try:
                await supervisor.ping()
            except ShaperError as error:
                _log.error("watchdog not fed: %s", error)
                await asyncio.sleep(_PING_AGAIN_SECONDS)
            except Exception:  # feeding must go on, or the manager ends a daemon that works
                _log.exception("watchdog not fed")
                await asyncio.sleep(_PING_AGAIN_SECONDS)
            else:
                self._notifier.watchdog()
                await asyncio.sleep(interval_ns / _NANOSECONDS)
