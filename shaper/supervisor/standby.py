"""A forwarder that stands by: started, confined and idle, to take the place of one that dies.

To start a process takes 0.1 s and more, for which the frames of its shapers wait. One that stands
by has that behind it. It holds the board and nothing else: no TAP, no packet socket, no frame.

It is started a while after the others, and after each death, when there is time for it. One that
cannot be started, or does not answer, is missed by nothing: a death is then followed by a start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shaper.errors import ShaperError
from shaper.supervisor.process import Forwarder

# Chosen.
_DELAY_SECONDS = 1.0
_MAX_PAUSE_SECONDS = 60.0  # between attempts to start one

_log = logging.getLogger(__name__)


class Standby:
    """Keeps one forwarder more than is needed.

    Args:
        spawn: starts one.
    """

    def __init__(self, spawn: Callable[[], Awaitable[Forwarder]]) -> None:
        self._spawn = spawn
        self._forwarder: Forwarder | None = None
        self._starting: asyncio.Task[None] | None = None
        self._attempt: asyncio.Task[Forwarder] | None = None  # under way

    def arrange(self) -> None:
        """Have one soon, unless there is one."""
        if self._forwarder is None and self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())

    async def take(self) -> Forwarder | None:
        """Return the one that stands by, if it does; another is to be arranged for.

        One that is being started is waited for: it is there before another would be.
        """
        if self._attempt is not None:
            await asyncio.wait([self._attempt])
        forwarder = self._forwarder
        if forwarder is None or forwarder.is_silent:
            return None
        self._forwarder = None
        return forwarder

    def forget(self, forwarder: Forwarder) -> bool:
        """Replace it after its death; return False if it was another that died."""
        if forwarder is not self._forwarder:
            return False
        self._forwarder = None
        self.arrange()
        return True

    async def stop(self) -> None:
        """End it."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        forwarder, self._forwarder = self._forwarder, None
        if forwarder is not None:
            await forwarder.stop()

    def pids(self) -> set[int]:
        """Return its process, if there is one."""
        return {self._forwarder.pid} if self._forwarder is not None else set()

    async def _start(self) -> None:
        pause = _DELAY_SECONDS
        while self._forwarder is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)
            try:
                self._attempt = asyncio.get_running_loop().create_task(self._started())
                self._forwarder = await self._attempt
            except (ShaperError, OSError) as error:
                _log.warning("no forwarder stands by: %s; trying again", error)
            except Exception:
                _log.exception("no forwarder stands by; trying again")
            finally:
                self._attempt = None
        self._starting = None

    async def _started(self) -> Forwarder:
        return await self._spawn()
