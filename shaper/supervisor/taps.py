"""TAPs that a forwarder of an earlier daemon may still hold: opened once it has let go of them."""

from __future__ import annotations

import asyncio
import logging

from shaper.errors import Busy
from shaper.kernel.tap import Tap

_LOOK_SECONDS = 0.05  # chosen: between two tries

_log = logging.getLogger(__name__)


async def open_tap(ifname: str, release: float) -> Tap:
    """Make or adopt a TAP; one that is held is tried again until `release`."""
    loop = asyncio.get_running_loop()
    is_told = False
    while True:
        try:
            return Tap(ifname)
        except Busy:
            if loop.time() >= release:
                raise
        if not is_told:
            _log.info("%s is still held by the forwarder before: waiting for it", ifname)
            is_told = True
        await asyncio.sleep(_LOOK_SECONDS)
