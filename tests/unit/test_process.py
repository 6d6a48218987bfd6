"""Our end of a forwarder's channel: each message is waited for, and a death is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from shaper.channel import messages
from shaper.channel.board import Board
from shaper.errors import KernelRefused
from shaper.supervisor import process as process_module
from shaper.supervisor.process import Forwarder
from tests.unit.instantly import instantly, until


class Process:
    """The process of a forwarder: its end of the channel, and what was done to it.

    Attributes:
        pid: a number for messages.
        end: its end of the channel.
        heard: every message so far.
        is_obedient: it answers each message at once, and ends when its channel does.
        signals: those it was sent, `kill` included.
    """

    pid = 4711

    def __init__(self, descriptor: int) -> None:
        self.end = socket.socket(fileno=os.dup(descriptor))
        self.heard: list[dict[str, Any]] = []
        self.is_obedient = True
        self.signals: list[int] = []
        asyncio.get_running_loop().add_reader(self.end, self._on_readable)

    def answer(self, serial: int, **fields: str) -> None:
        """Answer a message."""
        messages.send(self.end, {"serial": serial, **fields})

    def die(self) -> None:
        """Let go of the channel, as the kernel does for the dead."""
        asyncio.get_running_loop().remove_reader(self.end)
        self.end.close()

    def wait(self, timeout: float | None = None) -> int:
        """Stand in for Popen.wait: a stubborn one has to be killed first."""
        if timeout is not None and not self.is_obedient and not self.signals:
            raise subprocess.TimeoutExpired("forwarder", timeout)
        return -self.signals[-1] if self.signals else 0

    def send_signal(self, number: int) -> None:
        """Note a signal."""
        self.signals.append(number)

    def kill(self) -> None:
        """Note the signal."""
        self.send_signal(signal.SIGKILL)

    def _on_readable(self) -> None:
        received = messages.receive(self.end)
        if received is None:
            self.die()
            return
        message, descriptor = received
        self.heard.append({**message, "has_descriptor": descriptor is not None})
        if descriptor is not None:
            os.close(descriptor)
        if self.is_obedient:
            self.answer(message["serial"])


class Rig:
    """A forwarder, whose process is in memory, and the deaths it told of."""

    def __init__(self) -> None:
        self.board = Board.create(1)
        self.deaths: list[Forwarder] = []
        self.processes: list[Process] = []

    def spawn(self, descriptor: int) -> Process:
        """Stand in for the start of a process."""
        self.processes.append(Process(descriptor))
        return self.processes[-1]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Forwarder, Process]]:
        """Start one, and stop it in the end."""
        forwarder = Forwarder(self.board, self.deaths.append)
        try:
            await forwarder.start()
            yield forwarder, self.processes[-1]
        finally:
            forwarder.stop()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Return what no forwarder has been started on."""
    rig = Rig()
    monkeypatch.setattr("shaper.supervisor.process._spawn", rig.spawn)
    yield rig
    for process in rig.processes:
        process.end.close()


@instantly
async def test_it_starts_with_the_board(rig: Rig) -> None:
    """The first message brings the memory of the counters."""
    async with rig.running() as (_, process):
        assert process.heard == [{"verb": "board", "serial": 1, "has_descriptor": True}]


@instantly
async def test_each_is_told_of_its_own_answer(rig: Rig) -> None:
    """Of two messages under way, answered in the wrong order, neither gets the other's answer."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = False
        flush = asyncio.create_task(forwarder.tell("flush", slot=0))
        close = asyncio.create_task(forwarder.tell("close", slot=1))
        await until(lambda: len(process.heard) == 3)
        assert [message["slot"] for message in process.heard[1:]] == [0, 1]
        process.answer(process.heard[2]["serial"])
        await close
        assert not flush.done()
        process.answer(process.heard[1]["serial"], failed="no such slot")
        with pytest.raises(KernelRefused, match="no such slot"):
            await flush


@instantly
async def test_an_answer_that_nobody_waits_for_is_passed_over(rig: Rig) -> None:
    """A message that was given up may be answered yet; the next one is not disturbed by it."""
    async with rig.running() as (forwarder, process):
        process.answer(99)
        await forwarder.tell("ping")


@instantly
async def test_a_death_is_told_to_everybody(rig: Rig) -> None:
    """Whoever waits is refused, whoever asks later too, and a successor is called for once."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = False
        waiting = asyncio.create_task(forwarder.tell("flush", slot=0))
        await until(lambda: len(process.heard) == 2)
        process.die()
        for asking in (waiting, forwarder.tell("ping")):
            with pytest.raises(KernelRefused, match="4711 is gone") as refused:
                await asking
            assert refused.value.errno == errno.EPIPE
        assert rig.deaths == [forwarder]


@instantly
async def test_the_stuck_are_killed(rig: Rig) -> None:
    """One that does not answer in time serves nobody: it is made to die, and is replaced then."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = False
        with pytest.raises(KernelRefused, match="4711 is stuck") as refused:
            await forwarder.tell("ping")
        assert refused.value.errno == errno.ETIMEDOUT
        assert process.signals == [signal.SIGKILL]
        process.die()
        await until(lambda: rig.deaths)


@pytest.mark.parametrize(("is_obedient", "signals"), [(True, []), (False, [signal.SIGKILL])])
@instantly
async def test_stopping_is_no_death(rig: Rig, is_obedient: bool, signals: list[int]) -> None:
    """It is given time to end by itself, made to end otherwise, and no successor is called for."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = is_obedient
        forwarder.stop()
        assert process.signals == signals
        await until(lambda: process.end.fileno() < 0)
        assert rig.deaths == []


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (1, "exit status 1"),
        (-signal.SIGKILL, "signal SIGKILL"),
        (
            -signal.SIGSYS,
            "signal SIGSYS: a system call that its filter does not allow, see the kernel's log",
        ),
    ],
)
def test_the_log_tells_how_a_forwarder_died(status: int, sentence: str) -> None:
    """An exit status, a signal by its name, and what it means that the filter ended it."""
    assert process_module._how(status) == sentence
