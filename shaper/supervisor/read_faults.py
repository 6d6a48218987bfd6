"""Tells of TAPs that cannot be read, once a minute each; the forwarder tries again by itself."""

from __future__ import annotations

import logging
import os

from shaper.channel.messages import ReadFailed
from shaper.supervisor.device import Device

_TELL_SECONDS = 60.0  # chosen: between two lines on the same TAP

_log = logging.getLogger(__name__)


class ReadFaults:
    """When the log last told of each TAP, by its slot."""

    def __init__(self) -> None:
        self._told_at: dict[int, float] = {}

    def tell(self, device: Device, notice: ReadFailed, now: float) -> None:
        """Tell of a fault, unless the same TAP had one in the last minute."""
        if now - self._told_at.get(notice.slot, -_TELL_SECONDS) >= _TELL_SECONDS:
            self._told_at[notice.slot] = now
            reason = os.strerror(notice.number)
            _log.error("%s: cannot read its TAP: %s; trying again", device.spec.ifname, reason)

    def forget(self, device: Device) -> None:
        """Forget a device that is gone."""
        self._told_at.pop(device.slot, None)
