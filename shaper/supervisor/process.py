"""A forwarder process: started, given orders, watched, and ended when it is of no use any more.

The supervisor keeps every TAP and every packet socket open itself, so a forwarder that dies takes
nothing with it but the frames in its hands: carrier, addresses and routes stay, new frames wait in
the TAP's ring, and the successor is handed the same descriptors. What a forwarder closes is never
the last reference, so neither its work nor its death waits for the kernel to take something down.

Trust. A forwarder may have been taken over. What it sends is checked, and the first message that
cannot be ends it. The supervisor waits for nothing that depends on its good will.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping

from shaper.channel import messages
from shaper.channel.board import Board
from shaper.errors import KernelRefused
from shaper.events import Event, Kind, tell
from shaper.supervisor.launcher import Launch, cannot_start, launch
from shaper.supervisor.liveness import Judge

# Chosen.
_LOOK_SECONDS = 0.4
_STANDBY_LOOK_SECONDS = 5.0
_LEAVE_SECONDS = 0.2  # between the end of the channel and of the process
_STOP_SECONDS = 2.0
_POLL_SECONDS = 0.01
_REPORTS_A_ROUND = 64
_NOTICES_A_LOOK = 10_000  # more than twice the shapers there can be

_log = logging.getLogger(__name__)


class Forwarder:
    """One forwarder process and our end of its channel.

    Args:
        board: the memory of the counters.
        pulse: the row of its pulse there.
        on_death: called once the process is gone without having been asked to go.
        on_notice: called with each notice; False if it makes no sense.
        is_standby: it is to wait until it is needed.
        rings: the descriptors of the rows of rings (`ring_rows`), of each place it may have.
        launch: starts the process.

    Attributes:
        is_silent: it has not answered for a while.
    """

    def __init__(
        self,
        board: Board,
        pulse: int,
        on_death: Callable[[Forwarder], None],
        on_notice: Callable[[messages.Notice], bool],
        *,
        is_standby: bool = False,
        rings: Mapping[int, int] | None = None,
        bells: Mapping[int, int] | None = None,
        launch: Launch = launch,
    ) -> None:
        self.is_silent = False
        self._rings = dict(rings or {})
        self._bells = dict(bells or {})
        self._is_standby = is_standby
        self._board = board
        self._pulse = pulse
        self._on_death = on_death
        self._on_notice = on_notice
        self._unanswered: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._serial = 0
        self._sending = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None
        self._judge = Judge()
        self._notices = 0  # since the last look
        self._asked = 0  # the last order that was sent before the last look
        self._end, theirs = _pair()
        try:
            with theirs:
                self._process = launch(theirs.fileno(), is_standby=is_standby)
        except BaseException:
            self._end.close()
            raise
        loop = asyncio.get_running_loop()
        loop.add_reader(self._end, self._on_readable)
        self._watching = loop.create_task(self._watch())
        self._reaping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def fileno(self) -> int:
        """Return our end of the channel."""
        return self._end.fileno()

    async def start(self) -> None:
        """Hand the board over and wait until the process is up, however long that takes."""
        for place, descriptor in self._rings.items():
            with contextlib.suppress(KernelRefused):  # no memory to map it: no flow is capped
                await self.tell(messages.Rings(place), descriptor)
        for place, descriptor in self._bells.items():
            with contextlib.suppress(KernelRefused):
                await self.tell(messages.Bells(place), descriptor)
        await self.tell(messages.Begin(self._pulse), self._board.descriptor)
        self._judge.has_begun = True

    def serve(self, place: int) -> None:
        """Let it stand by no longer: it is looked at more often from now on."""
        self._is_standby = False
        with contextlib.suppress(OSError):  # it is gone, which is told otherwise
            self._post(messages.Serve(place))
        self._watching.cancel()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def tell(self, order: messages.Order, descriptor: int | None = None) -> None:
        """Send an order and wait until it has been carried out.

        Raises KernelRefused when the forwarder refused (EIO) or is gone (EPIPE). One that is
        stuck is ended, and is gone then.
        """
        try:
            async with self._sending:
                answer = await self._send(order, descriptor)
            await answer
        except OSError as error:
            raise KernelRefused(f"forwarder {self.pid} is gone", errno.EPIPE) from error

    async def stop(self) -> None:
        """Let the process end by itself, and make sure of it."""
        self._release()
        if await self._has_ended(_STOP_SECONDS):
            return
        self._process.kill()
        if not await self._has_ended(_STOP_SECONDS):
            _log.error("forwarder %d cannot be killed: leaving it behind", self.pid)

    def leave(self) -> None:
        """Let go of the process without ending it, if the service manager holds the channel."""
        self._release()

    async def _send(self, order: messages.Order, descriptor: int | None) -> asyncio.Future[None]:
        while True:
            try:
                return self._post(order, descriptor)
            except BlockingIOError:
                await self._wait_for_room()

    def _post(self, order: messages.Order, descriptor: int | None = None) -> asyncio.Future[None]:
        messages.send_order(self._end, self._serial + 1, order, descriptor)
        self._serial += 1
        answer = asyncio.get_running_loop().create_future()
        self._unanswered.append((self._serial, answer))
        return answer

    async def _wait_for_room(self) -> None:
        loop = asyncio.get_running_loop()
        self._room = loop.create_future()
        loop.add_writer(self._end, _resolve, self._room)
        try:
            await self._room
        finally:
            self._room = None
            if self._end.fileno() >= 0:
                loop.remove_writer(self._end)

    def _on_readable(self) -> None:
        """Take a bounded number of reports, so that a flood of them leaves time for the rest."""
        try:
            for _ in range(_REPORTS_A_ROUND):
                report = messages.receive_report(self._end)
                if report is None:
                    self._lose()
                    return
                self._take(report)
        except BlockingIOError:
            return
        except messages.Malformed as error:
            self._lose(f"sent what cannot be ({error})")
        except OSError:
            self._lose()

    def _take(self, report: messages.Report) -> None:
        match report:
            case messages.Done(serial, failed):
                self._answered(serial, failed)
            case messages.ReadFailed() | messages.LoopFound():
                self._notices += 1
                if self._notices > _NOTICES_A_LOOK or not self._on_notice(report):
                    raise messages.Malformed(f"{report}")

    def _answered(self, serial: int, failed: str | None) -> None:
        if not self._unanswered or self._unanswered[0][0] != serial:
            raise messages.Malformed(f"an answer to order {serial}")
        _, answer = self._unanswered.popleft()
        self._judge.progressed()
        self.is_silent = False
        if answer.done():  # given up by what waited for it
            return
        if failed is not None:
            answer.set_exception(KernelRefused(failed, errno.EIO))
            answer.exception()  # a ping's is looked at by nothing else
        else:
            answer.set_result(None)

    async def _watch(self) -> None:
        while True:
            may_wait = self._is_standby and self._judge.has_begun
            await asyncio.sleep(_STANDBY_LOOK_SECONDS if may_wait else _LOOK_SECONDS)
            try:
                self._look()
            except Exception:  # a look that fails must not be the last one
                _log.exception("looking at forwarder %d", self.pid)

    def _look(self) -> None:
        self._notices = 0
        is_overdue = bool(self._unanswered) and self._unanswered[0][0] <= self._asked
        if not self._unanswered:
            self._post(messages.Ping())
        self._asked = self._serial
        pulse, usage = self._board.pulse(self._pulse), self._process.usage()
        finding = self._judge.look(pulse, usage, is_overdue=is_overdue)
        self.is_silent = self._judge.is_silent
        if finding is not None:
            self._lose(finding)

    def _lose(self, finding: str = "") -> None:
        """Give the process up: it ended, or it is ended for the reason given."""
        if self._end.fileno() < 0:
            return
        if finding:
            self._tell_loss(finding)
            self._process.kill()
        self._release()
        self._reaping = asyncio.get_running_loop().create_task(self._reap(is_told=bool(finding)))
        self._on_death(self)

    async def _reap(self, *, is_told: bool) -> None:
        if not await self._has_ended(_LEAVE_SECONDS):
            self._process.kill()
            while not await self._has_ended(_STOP_SECONDS):
                pass
        if not is_told:
            self._tell_loss(f"died ({how_it_ended(self._process.returncode)})")

    def _tell_loss(self, finding: str) -> None:
        if self._is_standby:  # no shaper misses it
            _log.warning("forwarder %d, which stood by, %s: replacing it", self.pid, finding)
        else:
            tell(Event(Kind.FORWARDER_LOST), "forwarder %d %s: replacing it", self.pid, finding)

    async def _has_ended(self, seconds: float) -> bool:
        """Wait for the process; return whether it ended in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._process.poll() is None:
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def _release(self) -> None:
        """Close our end, and refuse whatever waits for an answer."""
        self.is_silent = True
        self._watching.cancel()
        if self._end.fileno() >= 0:  # it may have died before it was stopped
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._end)
            loop.remove_writer(self._end)
            self._end.close()
        waiting = [answer for _, answer in self._unanswered]
        self._unanswered.clear()
        for future in (*waiting, self._room):
            if future is not None and not future.done():
                future.set_exception(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
                future.exception()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _pair() -> tuple[socket.socket, socket.socket]:
    try:
        ours, theirs = messages.pair()
    except OSError as error:
        raise cannot_start(error) from error
    ours.setblocking(False)
    return ours, theirs


def how_it_ended(status: int | None) -> str:
    """Return how a process ended, in words, from its exit status or the signal (negative)."""
    if status == -signal.SIGSYS:
        return "signal SIGSYS: a system call that its filter does not allow, see the kernel's log"
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):  # a real-time signal has no name
            return f"signal {signal.Signals(-status).name}"
        return f"signal {-status}"
    return f"exit status {status}"
