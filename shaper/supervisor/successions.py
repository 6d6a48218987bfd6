"""Forwarders that follow one another, and what each reports of the devices it serves."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Protocol

from shaper.channel import messages
from shaper.channel.board import FIELDS
from shaper.errors import ShaperError
from shaper.supervisor.device import Device
from shaper.supervisor.inspector import Inspector
from shaper.supervisor.pool import Pool
from shaper.supervisor.process import Forwarder
from shaper.supervisor.read_faults import ReadFaults
from shaper.supervisor.together import FEW_AT_ONCE, together

_HEED_SECONDS = 1.0  # chosen: between two events of a kind and a shaper; there may be any number
_SENT_PACKETS = FIELDS.index("sent_packets")


class DeviceOwner(Protocol):
    """What a succession asks of the supervisor."""

    devices: dict[str, Device]
    inspector: Inspector
    lock: asyncio.Lock

    def try_again(self, device: Device, refusal: str, *, is_expected: bool) -> None:
        """Look at a device again soon, after what it should be was refused."""
        ...


class Successions:
    """Hands devices to the next forwarder, and acts on what forwarders report.

    Args:
        owner: has the devices.
        pool: the forwarders.
        mark: has a device looked at soon.
    """

    def __init__(self, owner: DeviceOwner, pool: Pool, mark: Callable[[int], None]) -> None:
        self._owner = owner
        self._pool = pool
        self._mark = mark
        self._faults = ReadFaults()
        self._heeded_until: dict[tuple[type[messages.Notice], int], float] = {}

    async def replaced(self, position: int, forwarder: Forwarder) -> None:
        """Hand the devices of a forwarder that died to its successor, those in need first."""
        async with self._owner.lock:
            bereaved = [
                device
                for device in self._owner.devices.values()
                if self._pool.position_of(device.slot) == position
            ]
            bereaved.sort(key=self._patience)
            work = (self._hand_over(device, forwarder) for device in bereaved)
            await together(work, FEW_AT_ONCE)

    def _patience(self, device: Device) -> tuple[bool, bool]:
        """Return what is less where frames wait by now, and next where any have ever left."""
        is_unused = not self._pool.board.row(device.slot)[_SENT_PACKETS]
        return not device.holds_frames(), is_unused

    async def _hand_over(self, device: Device, forwarder: Forwarder) -> None:
        try:
            await device.hand_over(forwarder)
        except ShaperError as error:
            if error.errno != errno.EPIPE:  # it died as well: another is on its way
                self._owner.try_again(device, str(error), is_expected=True)
        except Exception as error:
            self._owner.try_again(device, repr(error), is_expected=False)
        # A change that the death, or this refusal, interrupted is still to be finished.
        self._mark(device.ifindex)

    def reported(self, notice: messages.Notice) -> None:
        """Look at a device whose TAP cannot be read, as it may be gone, or whose frames return."""
        now = asyncio.get_running_loop().time()
        kind = type(notice), notice.slot
        if now < self._heeded_until.get(kind, now):
            return
        self._heeded_until[kind] = now + _HEED_SECONDS
        devices = self._owner.devices.values()
        device = next((each for each in devices if each.slot == notice.slot), None)
        if device is None:
            return
        if isinstance(notice, messages.LoopFound):
            self._owner.inspector.note_loop(device)
            return
        self._mark(device.ifindex)
        self._faults.tell(device, notice, now)

    def forget(self, device: Device) -> None:
        """Forget a device that is gone."""
        self._faults.forget(device)
        for kind in (messages.ReadFailed, messages.LoopFound):
            self._heeded_until.pop((kind, device.slot), None)
