"""The daemon's life, with its signals and its socket, on a machine in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from shaper.desired.config import CommandLine
from shaper.desired.store import sole_owner
from shaper.errors import Busy
from shaper.model import Options, Queue, Spec
from shaper.network import Network
from shaper.supervisor.journal import Repetition
from shaper.supervisor.lifecycle import Daemon
from tests.unit.instantly import instantly, settle, until
from tests.unit.machine_rig import Machine

GOOD = "[device.shaper0]\nmaster = 'eth1'\nspeed = '64kbit'\nqueue = 'fifo'\n"


class Life:
    """A daemon, the file it reads, and what it tells the service manager."""

    def __init__(self, machine: Machine, directory: Path, manager: socket.socket) -> None:
        self.machine = machine
        self.config = directory / "shaper.toml"
        self.config.write_text(GOOD)
        self._socket = directory / "org.shaper"
        self._manager = manager

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the daemon until it has stopped as SIGTERM makes it."""
        state = self.machine.state_directory
        command_line = CommandLine(self._socket, state, self.config, True, None, None, None)
        task = asyncio.get_running_loop().create_task(
            Daemon(
                command_line,
                command_line.config(),
                self.machine.edge,
                lambda _: _unkept(),
                self.machine.make_forwarder,
            ).run()
        )
        await until(self._socket.exists)
        await settle()
        yield
        os.kill(os.getpid(), signal.SIGTERM)
        await task

    def told(self) -> list[str]:
        """Return what the service manager was told since it was asked last, but for pings."""
        told = ""
        with contextlib.suppress(BlockingIOError):
            while True:
                told += self._manager.recv(256).decode() + "\n"
        return [line for line in told.splitlines() if not line.startswith(("MONOTONIC", "WATCH"))]


class IdleKeeper:
    """A keeper of declared routes that has nothing to keep."""

    def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    def withdraw(self) -> None:
        """Do nothing."""

    def inventory(self) -> dict[str, Network]:
        """Return nothing."""
        return {}


@contextlib.asynccontextmanager
async def _unkept() -> AsyncIterator[IdleKeeper]:
    yield IdleKeeper()


@pytest.fixture
def life(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    """Return a daemon that does not run yet, with a service manager that listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
        yield Life(machine, tmp_path, manager)


async def reload(life: Life, text: str) -> None:
    """Have the daemon read this."""
    life.config.write_text(text)
    os.kill(os.getpid(), signal.SIGHUP)
    await settle()


@instantly
async def test_the_service_manager_is_told_how_many_pass_traffic(life: Life) -> None:
    """At the start and when it changes, which is found out within seconds."""
    async with life.running():
        assert life.told() == ["READY=1", "STATUS=1 shaper, 0 active"]
        life.machine.change_link(life.machine.kernel.index_of("shaper0"), is_up=True)
        await asyncio.sleep(20)
        assert life.told().count("STATUS=1 shaper, 1 active") == 1
    assert life.told()[-1] == "STOPPING=1"
    assert "shaper0" not in {link.ifname for link in life.machine.kernel.devices.values()}


@instantly
async def test_a_reload_is_told_and_warned_of(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    """What was understood of a speed, and what the master would do, is in the log."""
    life.machine.edge.ipv4_values["rp_filter"] = 1
    async with life.running():
        life.told()
        await reload(life, GOOD.replace("64kbit", "10mbps"))
        assert life.told() == ["RELOADING=1", "READY=1", "STATUS=1 shaper, 0 active"]
    assert "10mbps is in bytes per second and was understood as 80Mbit" in caplog.text
    assert "replies that arrive on eth1" in caplog.text
    (saved,) = life.machine.saved()
    assert saved.options.rate_bits == 80_000_000


@pytest.mark.parametrize("text", ["nonsense = [", GOOD.replace("eth1", "shaper0")])
@instantly
async def test_a_refused_reload_is_told_and_nothing_else(
    life: Life, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """The log says why; shapers and state are as they were, and the daemon serves on."""
    caplog.set_level("INFO")
    async with life.running():
        await reload(life, text)
        assert "configuration refused, the old one stays" in caplog.text
        refused = "STATUS=1 shaper, 0 active, the configuration is refused (see the log)"
        assert life.told()[-2:] == ["READY=1", refused]
        await reload(life, GOOD)
        assert life.told()[-1] == "STATUS=1 shaper, 0 active"
    assert "configuration read again" in caplog.text
    assert life.machine.saved() == [
        Spec("shaper0", "eth1", Options(rate_bits=64_000, queue=Queue.FIFO))
    ]


@instantly
async def test_no_refusal_is_left_out(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    """Each says something else, however soon one follows the other."""
    repetition = Repetition()
    async with life.running():
        for number in range(12):
            await reload(life, f"nonsense{number} = 1")
    refused = [each for each in caplog.records if "refused" in each.getMessage()]
    assert len(refused) == 12
    assert all(map(repetition.filter, refused))


def held_for(seconds: float) -> Callable[[str], Busy | None]:
    """Return for `MemoryKernel.holders` that a process holds every TAP for so long."""
    loop = asyncio.get_running_loop()
    released_at = loop.time() + seconds

    def refusal(ifname: str) -> Busy | None:
        is_held = loop.time() < released_at
        return Busy(f"{ifname} is held by another process") if is_held else None

    return refusal


@instantly
async def test_a_reload_waits_for_the_start(life: Life) -> None:
    """SIGHUP to a daemon that is still making its shapers is obeyed once they are there."""
    async with life.running():
        pass
    life.told()
    life.machine.edge.holders = held_for(3)
    async with life.running():
        await reload(life, GOOD.replace("64kbit", "1mbit"))
        assert life.told() == []
        await asyncio.sleep(3)
        await settle()
        assert [each for each in life.told() if each.endswith("=1")] == [
            "READY=1",
            "RELOADING=1",
            "READY=1",
        ]
    (saved,) = life.machine.saved()
    assert saved.options.rate_bits == 1_000_000


@instantly
async def test_what_was_saved_may_still_be_held(life: Life) -> None:
    """The TAPs of the state file are waited for: nobody but a dying forwarder can hold them."""
    async with life.running():
        pass
    life.machine.edge.holders = held_for(3)
    life.told()
    async with life.running():
        assert life.told() == []
        await asyncio.sleep(3)
        assert life.told()[0] == "READY=1"


def test_a_state_directory_has_one_owner(tmp_path: Path) -> None:
    """A second daemon on it is refused by name, and taken once the first is gone."""
    directory = tmp_path / "state"
    with sole_owner(directory), pytest.raises(Busy, match=str(directory)), sole_owner(directory):
        pass
    with sole_owner(directory):
        pass


@instantly
async def test_a_slow_start_asks_for_patience(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ten seconds for twenty more, until it is ready; no more is asked for after that."""
    async with life.running():
        pass
    life.told()
    life.machine.edge.holders = held_for(25)
    running = life.running()
    await running.__aenter__()
    await asyncio.sleep(22)
    assert life.told() == ["EXTEND_TIMEOUT_USEC=20000000"] * 2
    await asyncio.sleep(60)
    assert not any(each.startswith("EXTEND") for each in life.told())
    await running.__aexit__(None, None, None)
