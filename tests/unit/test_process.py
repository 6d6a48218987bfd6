"""Our end of a forwarder's channel: each message is waited for, and a death is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from shaper.channel import messages
from shaper.channel.board import Board
from shaper.channel.messages import Begin, Close, Done, Flush, Ping, ReadFailed, Serve
from shaper.errors import KernelRefused
from shaper.supervisor import procfs
from shaper.supervisor.process import Forwarder
from tests.unit.instantly import instantly, until


class MemoryProcess:
    """The process of a forwarder: its end of the channel, and what was done to it.

    Attributes:
        pid: a number for messages.
        end: its end of the channel.
        heard: every order so far, with its serial number.
        is_obedient: it answers each order at once, and ends when its channel does.
        signals: those it was sent.
        used: what the kernel tells of it.
    """

    pid = 4711

    def __init__(self, descriptor: int) -> None:
        self.end = socket.socket(fileno=os.dup(descriptor))
        self.heard: list[messages.ReceivedOrder] = []
        self.is_obedient = True
        self.is_immortal = False
        self.signals: list[int] = []
        self.returncode: int | None = None
        self.used = procfs.Usage("S", 0.0)
        asyncio.get_running_loop().add_reader(self.end, self._on_readable)

    def answer(self, serial: int, failed: str | None = None) -> None:
        """Answer an order."""
        messages.send_report(self.end, Done(serial, failed))

    def die(self) -> None:
        """Let go of the channel, as the kernel does for the dead."""
        asyncio.get_running_loop().remove_reader(self.end)
        self.end.close()
        self.returncode = 0

    def poll(self) -> int | None:
        """Stand in for Popen.poll."""
        return self.returncode

    def usage(self) -> procfs.Usage:
        """Return what the kernel tells of it."""
        return self.used

    def kill(self) -> None:
        """Note the signal, and end by it."""
        self.signals.append(signal.SIGKILL)
        if not self.is_immortal and self.returncode is None:
            self.die()
            self.returncode = -signal.SIGKILL

    def _on_readable(self) -> None:
        received = messages.receive_order(self.end)
        if received is None:
            if self.is_obedient:
                self.die()
            else:
                asyncio.get_running_loop().remove_reader(self.end)
            return
        self.heard.append(received)
        if received.descriptor is not None:
            os.close(received.descriptor)
        if self.is_obedient:
            self.answer(received.serial)

    def orders(self) -> list[messages.Order]:
        """Return what was heard, but for pings."""
        return [each.order for each in self.heard if each.order != Ping()]


class ProcessRig:
    """A forwarder, whose process is in memory, and what it told of."""

    def __init__(self) -> None:
        self.board = Board.create(2)
        self.deaths: list[Forwarder] = []
        self.notices: list[messages.Notice] = []
        self.accepts_notices = True
        self.processes: list[MemoryProcess] = []
        self.standbys: list[bool] = []

    def launch(self, channel_descriptor: int, *, is_standby: bool) -> MemoryProcess:
        """Start a process in memory."""
        self.standbys.append(is_standby)
        self.processes.append(MemoryProcess(channel_descriptor))
        return self.processes[-1]

    def make(self, **options: Any) -> Forwarder:
        """Make one that has not begun."""
        return Forwarder(
            self.board, 1, self.deaths.append, self._take, launch=self.launch, **options
        )

    @contextlib.asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[tuple[Forwarder, MemoryProcess]]:
        """Start one, and stop it in the end."""
        forwarder = self.make(**options)
        try:
            await forwarder.start()
            yield forwarder, self.processes[-1]
        finally:
            await forwarder.stop()

    def _take(self, event: messages.Notice) -> bool:
        self.notices.append(event)
        return self.accepts_notices


@pytest.fixture
def rig() -> Iterator[ProcessRig]:
    """Return what no forwarder has been started on."""
    rig = ProcessRig()
    yield rig
    for process in rig.processes:
        process.end.close()


@instantly
async def test_it_starts_with_the_board(rig: ProcessRig) -> None:
    """The first order brings the memory of the counters, and says where its pulse is."""
    async with rig.running() as (_, process):
        assert process.orders() == [Begin(1)]


@instantly
async def test_answers_come_in_the_order_of_orders(rig: ProcessRig) -> None:
    """Of two orders under way each gets its own answer."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = False
        flush = asyncio.create_task(forwarder.tell(Flush(0)))
        close = asyncio.create_task(forwarder.tell(Close(1)))
        await until(lambda: len(process.orders()) == 3)
        assert process.orders()[1:] == [Flush(0), Close(1)]
        process.answer(process.heard[-2].serial, "no such slot")
        with pytest.raises(KernelRefused, match="no such slot"):
            await flush
        assert not close.done()
        process.answer(process.heard[-1].serial)
        await close


@instantly
async def test_an_order_that_was_given_up_disturbs_no_other(rig: ProcessRig) -> None:
    """What waited for it may be gone; its answer is still the next one."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = False
        given_up = asyncio.create_task(forwarder.tell(Flush(0)))
        await until(lambda: len(process.orders()) == 2)
        given_up.cancel()
        process.answer(process.heard[-1].serial)
        process.is_obedient = True
        await forwarder.tell(Close(0))


@instantly
async def test_a_full_channel_is_waited_for(rig: ProcessRig) -> None:
    """More orders than the channel holds are all carried out, in order."""
    async with rig.running() as (forwarder, process):
        await asyncio.gather(*(forwarder.tell(Flush(slot)) for slot in range(2000)))
        assert process.orders()[1:] == [Flush(slot) for slot in range(2000)]


@instantly
async def test_a_death_is_told_to_everybody(rig: ProcessRig) -> None:
    """Whatever waits is refused, later orders too, and a successor is called for once."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = False
        waiting = asyncio.create_task(forwarder.tell(Flush(0)))
        await until(lambda: len(process.orders()) == 2)
        process.die()
        for asking in (waiting, forwarder.tell(Ping())):
            with pytest.raises(KernelRefused, match="4711 is gone") as refused:
                await asking
            assert refused.value.errno == errno.EPIPE
        assert rig.deaths == [forwarder]
        assert forwarder.is_silent


@pytest.mark.parametrize(
    ("state", "what"),
    [("T", "is stopped"), ("Z", "is stopped"), ("S", "does not answer")],
)
@instantly
async def test_the_stuck_are_killed(
    rig: ProcessRig, caplog: pytest.LogCaptureFixture, state: str, what: str
) -> None:
    """One that will not go on by itself is found and ended within 1.5 s, and told of before."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = False
        process.used = procfs.Usage(state, 1.0)
        began = asyncio.get_running_loop().time()
        await until(lambda: forwarder.is_silent)
        assert not process.signals
        await until(lambda: rig.deaths)
        assert asyncio.get_running_loop().time() - began < 1.5
        assert process.signals == [signal.SIGKILL]
        assert caplog.text.count(what) == 1


@instantly
async def test_one_that_loops_is_killed_and_one_that_starves_is_not(rig: ProcessRig) -> None:
    """Both are runnable and silent: the one that has used the processor is stuck."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = False
        process.used = procfs.Usage("R", 1.0)
        await asyncio.sleep(5)
        assert forwarder.is_silent
        assert not process.signals
        process.used = procfs.Usage("R", 1.6)
        await until(lambda: process.signals)


@instantly
async def test_a_pulse_is_a_sign_of_life_but_not_for_ever(rig: ProcessRig) -> None:
    """One that runs paths is busy, and not stuck; one that never answers is of no use."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = False
        process.used = procfs.Usage("R", 1.0)  # it waits for the processor
        for beat in range(20):
            rig.board.row(1)[0] = beat
            await asyncio.sleep(0.4)
            assert not forwarder.is_silent
        assert not process.signals
        for beat in range(20, 40):
            rig.board.row(1)[0] = beat
            await asyncio.sleep(0.4)
        assert process.signals == [signal.SIGKILL]


@instantly
async def test_a_slow_start_is_waited_for(rig: ProcessRig) -> None:
    """On an overloaded machine a process may take long to begin: half a minute is no failure."""
    forwarder = rig.make()
    rig.processes[-1].is_obedient = False
    rig.processes[-1].used = procfs.Usage("R", 9.0)
    starting = asyncio.create_task(forwarder.start())
    await asyncio.sleep(30)
    assert not starting.done()
    (begin,) = rig.processes[-1].heard
    rig.processes[-1].answer(begin.serial)
    await starting
    rig.processes[-1].is_obedient = True
    await forwarder.stop()


@pytest.mark.parametrize(
    "payload",
    [b"garbage", b'{"report": "Done", "serial": 99, "failed": null}', b"\xff" * 5000],
)
@instantly
async def test_nonsense_ends_it(
    rig: ProcessRig, caplog: pytest.LogCaptureFixture, payload: bytes
) -> None:
    """The first message that cannot be is the last one, and one line tells of it."""
    async with rig.running() as (_, process):
        for _ in range(10):
            process.end.send(payload)
        await until(lambda: rig.deaths)
        assert process.signals == [signal.SIGKILL]
        assert len(caplog.records) == 1
        assert "sent what cannot be" in caplog.text


@instantly
async def test_events_are_passed_on_and_senseless_ones_end_it(rig: ProcessRig) -> None:
    """A notice of a shaper that is not its own is nonsense too."""
    async with rig.running() as (_, process):
        messages.send_report(process.end, ReadFailed(0, errno.EIO))
        await until(lambda: rig.notices)
        assert rig.notices == [ReadFailed(0, errno.EIO)]
        assert not rig.deaths
        rig.accepts_notices = False
        messages.send_report(process.end, ReadFailed(9, errno.EIO))
        await until(lambda: rig.deaths)


@pytest.mark.parametrize(("is_obedient", "signals"), [(True, []), (False, [signal.SIGKILL])])
@instantly
async def test_stopping_is_no_death(
    rig: ProcessRig, is_obedient: bool, signals: list[int]
) -> None:
    """It is given time to end by itself, made to end otherwise, and no successor is called for."""
    async with rig.running() as (forwarder, process):
        process.is_obedient = is_obedient
        await forwarder.stop()
        assert process.signals == signals
        assert rig.deaths == []


@instantly
async def test_one_that_cannot_be_killed_is_left_behind(
    rig: ProcessRig, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that the kernel does not let go of (state D) keeps nothing from stopping."""
    async with rig.running() as (forwarder, process):
        process.is_obedient, process.is_immortal = False, True
        await forwarder.stop()
        assert "4711 cannot be killed" in caplog.text
        process.returncode = 0


@instantly
async def test_one_that_stands_by_is_looked_at_rarely(
    rig: ProcessRig, caplog: pytest.LogCaptureFixture
) -> None:
    """And like any other from when it serves; that it is lost is no event while it does not."""
    async with rig.running(is_standby=True) as (forwarder, process):
        await asyncio.sleep(60)
        assert len(process.heard) < 15
        forwarder.serve(1)
        await asyncio.sleep(4)
        assert Serve(1) in process.orders()
        assert len(process.heard) > 20
    assert rig.standbys == [True]
    async with rig.running(is_standby=True) as (_, process):
        process.die()
        await until(lambda: "which stood by, died" in caplog.text)
        assert not [each for each in caplog.records if each.name == "shaper.events"]
