"""What the kernel or a forwarder refused is tried again, and told once for each reason."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shaper.errors import ShaperError
from shaper.supervisor.device import Device

_RETRY_SECONDS = 0.2  # chosen: after a part of a plan was refused; traffic is owed within a second

_log = logging.getLogger(__name__)


class Retries:
    """Tries to make devices what they should be, and tries again later.

    Args:
        reconcile: makes a device what it should be.
        mark: has a device looked at, by its index.
    """

    def __init__(
        self, reconcile: Callable[[Device], Awaitable[None]], mark: Callable[[int], None]
    ) -> None:
        self._reconcile = reconcile
        self._mark = mark

    async def attempt(self, device: Device) -> None:
        """Reconcile a device, now or later."""
        try:
            await self._reconcile(device)
        except ShaperError as error:
            self.try_again(device, str(error), is_expected=True)
        except Exception as error:  # a defect: the others still have their turn
            self.try_again(device, repr(error), is_expected=False)

    def try_again(self, device: Device, refusal: str, *, is_expected: bool) -> None:
        """Look at a device again soon, after what it should be was refused."""
        if refusal != device.last_refusal:
            _log.warning(
                "%s: %s; trying again", device.spec.ifname, refusal, exc_info=not is_expected
            )
        device.last_refusal = refusal
        self.look_again(device.ifindex)

    def look_again(self, ifindex: int) -> None:
        """Have a device looked at again soon."""
        asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._mark, ifindex)
