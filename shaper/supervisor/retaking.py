"""Programs of ours that others have taken off a device: they are put back, and it is told.

A link can be detached and a filter deleted; the traffic then leaves unshaped, and no event says
so. So each is looked at once a second, as many of them as a share of the time allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from shaper.events import Event, Kind, tell
from shaper.supervisor.device import Device

# Chosen: a link takes 4 us, a filter 80.
_LOOK_NS = 1_000_000


class Retaking:
    """Looks at the programs of shapers in turn.

    Args:
        devices: all shapers, by name.
        mark: has a shaper made true anew, by its index.
        look_ns: how long a look may take before the rest waits for the next one.
    """

    def __init__(
        self,
        devices: Callable[[], Mapping[str, Device]],
        mark: Callable[[int], None],
        look_ns: int = _LOOK_NS,
    ) -> None:
        self._look_ns = look_ns
        self._devices = devices
        self._mark = mark
        self._last = -1  # the index that was looked at last

    def look(self) -> None:
        """Look at those that have waited for longest, and put back what is gone."""
        until_ns = time.monotonic_ns() + self._look_ns
        taking = [each for each in self._devices().values() if each.captured.is_in_force]
        for device in sorted(taking, key=lambda each: (each.ifindex <= self._last, each.ifindex)):
            if not device.captured.is_in_place:
                self._put_back(device)
            self._last = device.ifindex
            if time.monotonic_ns() > until_ns:
                return

    def _put_back(self, device: Device) -> None:
        ifname, master = device.spec.ifname, device.master_name or ""
        device.captured.release()
        tell(
            Event(Kind.RETAKEN, ifname, master),
            "%s: what took traffic of %s was removed by somebody else: it is put back",
            ifname,
            master,
        )
        self._mark(device.ifindex)
