"""Asynchronous tests that never wait: their event loop jumps to the next timer at once."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

MAX_SECONDS = 10.0
_LOOK_SECONDS = 0.01


class _JumpingSelector(selectors.SelectSelector):
    """Never waits; counts the seconds it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now."""
        ready = super().select(0)
        assert ready or timeout is not None, "everybody waits, and nothing can happen any more"
        if not ready and timeout is not None:
            self.skipped_seconds += timeout
        return ready


class _JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock shows the seconds that were skipped."""

    def __init__(self) -> None:
        self._skipping = _JumpingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        """Return the seconds skipped."""
        return self._skipping.skipped_seconds

    def stand_still(self, seconds: float) -> None:
        """Let time pass in which nothing else happens."""
        self._skipping.skipped_seconds += seconds


def instantly(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an asynchronous test; fixtures are given to it as to any other."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(test(**arguments), MAX_SECONDS * 10)

        with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
            runner.run(bounded())

    return run


async def until(is_so: Callable[[], object]) -> None:
    """Let time pass until something holds; fail when it never does."""
    deadline = asyncio.get_running_loop().time() + MAX_SECONDS
    while not is_so():
        assert asyncio.get_running_loop().time() < deadline, "it never came to that"
        await asyncio.sleep(_LOOK_SECONDS)


async def settle() -> None:
    """Let everything happen that is under way, retries included."""
    await asyncio.sleep(1)
