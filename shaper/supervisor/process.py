"""The forwarder processes: started, fed, watched, and replaced when they die.

The supervisor keeps every TAP open itself, so a forwarder that dies takes nothing with it but the
frames in its hands: carrier, addresses and routes stay, new frames wait in the TAP's ring, and the
successor is handed the same descriptors.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from shaper.channel import messages
from shaper.channel.board import Board
from shaper.errors import KernelRefused

# Chosen.
_ANSWER_SECONDS = 5.0  # a forwarder answers within a round; one that does not is stuck
_STOP_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Forwarder:
    """One forwarder process and our end of its channel.

    Args:
        board: the memory of the counters.
        on_death: called once the process is gone without having been asked to go.
    """

    def __init__(self, board: Board, on_death: Callable[[Forwarder], None]) -> None:
        self._board = board
        self._on_death = on_death
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._serial = 0
        self._end, theirs = messages.pair()
        self._end.setblocking(False)
        with theirs:
            self._process = _spawn(theirs.fileno())
        asyncio.get_running_loop().add_reader(self._end, self._on_readable)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def start(self) -> None:
        """Hand the board over and wait until the process is up."""
        await self.tell("board", descriptor=self._board.descriptor)

    async def tell(self, verb: str, *, descriptor: int | None = None, **fields: Any) -> None:
        """Send a message and wait until it has been carried out.

        Raises KernelRefused when the forwarder refused, is gone (EPIPE) or is stuck (ETIMEDOUT);
        a stuck one is killed, and then replaced like any other that died.
        """
        self._serial += 1
        serial = self._serial
        answer = self._answers[serial] = asyncio.get_running_loop().create_future()
        try:
            messages.send(self._end, {"verb": verb, "serial": serial, **fields}, descriptor)
            await asyncio.wait_for(answer, _ANSWER_SECONDS)
        except TimeoutError as error:
            _log.error("forwarder %d does not answer: replacing it", self.pid)
            self._process.send_signal(signal.SIGKILL)
            raise KernelRefused(f"forwarder {self.pid} is stuck", errno.ETIMEDOUT) from error
        except OSError as error:
            raise KernelRefused(f"forwarder {self.pid} is gone", errno.EPIPE) from error
        finally:
            self._answers.pop(serial, None)

    def stop(self) -> None:
        """Let the process end by itself, and make sure of it."""
        self._release()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _on_readable(self) -> None:
        try:
            received = messages.receive(self._end)
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:
            self._died()
            return
        message, _ = received
        answer = self._answers.get(message["serial"])
        if answer is None or answer.done():
            return
        if "failed" in message:
            answer.set_exception(KernelRefused(message["failed"], errno.EIO))
        else:
            answer.set_result(None)

    def _died(self) -> None:
        self._release()
        status = self._process.wait()
        _log.error("forwarder %d died (%s): starting another", self.pid, _how(status))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
        self._on_death(self)

    def _release(self) -> None:
        if self._end.fileno() < 0:  # it died before it was stopped
            return
        asyncio.get_running_loop().remove_reader(self._end)
        self._end.close()


def _spawn(channel_descriptor: int) -> subprocess.Popen[bytes]:
    """Start a process that inherits its end of the channel, and no other descriptor of ours."""
    # -P: nothing is imported from the directory the daemon happens to have been started in.
    command = [sys.executable, "-P", "-m", "shaper.forwarder", str(channel_descriptor)]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[channel_descriptor],
            start_new_session=True,
        )
    except OSError as error:
        raise KernelRefused(
            f"cannot start a forwarder: {error.strerror}", error.errno or errno.EIO
        ) from error


def _how(status: int) -> str:
    if status == -signal.SIGSYS:
        return "signal SIGSYS: a system call that its filter does not allow, see the kernel's log"
    if status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"exit status {status}"
