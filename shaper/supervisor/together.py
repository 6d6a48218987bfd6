"""Many pieces of work at the same time, but not all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

# Chosen: so many orders fit into a channel, and fill the time until the first is answered.
MANY_AT_ONCE = 64
# Chosen: enough to keep both processes busy, and few enough for the first to be done soon.
FEW_AT_ONCE = 8


async def together(work: Iterable[Coroutine[Any, Any, None]], at_once: int = MANY_AT_ONCE) -> None:
    """Do all of it, begun in this order; then raise the first error, if there was one.

    The fewer pieces at once, the sooner the first is done.
    """
    places = asyncio.Semaphore(at_once)

    async def do(piece: Coroutine[Any, Any, None]) -> None:
        async with places:
            await piece

    results = await asyncio.gather(*map(do, work), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
