"""The master of each shaper: which device it is now, and whether frames may go to it.

Two things are kept of a master: what `attach` called it, and which device that is now, by index
and by name. The law:

- The device is followed by its index for as long as it exists, whatever it is renamed to.
- When there is none, the device that bears the name asked for, or has it as an altname, becomes
  the master; and if none does, the one that bears the name which the master had last.
- A device that came by the name and loses it within seconds was in transit (udev renames what the
  kernel has just named) and is let go. One that was attached to by command is not.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from shaper.desired.master_kinds import is_tunnel, unusable_reason
from shaper.desired.topology import leads_to, reached, would_loop
from shaper.events import Event, Kind, tell
from shaper.kernel.links import Links
from shaper.model import Link
from shaper.network import IpAddress
from shaper.supervisor.device import Device
from shaper.supervisor.tunnel_ways import TunnelWays, Ways

# Chosen.
_TRANSIT_SECONDS = 2.0


class Masters:
    """Finds masters among the devices there are.

    Args:
        links: all network devices.
        devices: every shaper's device, by index.
        ways: where tunnels lead.
    """

    def __init__(self, links: Links, devices: Mapping[int, Device], ways: TunnelWays) -> None:
        self._links = links
        self._devices = devices
        self._ways = ways

    def find(self, device: Device) -> Link | None:
        """Return the master of a shaper, of use or not."""
        spec, links = device.spec, self._links
        if spec.master is None:
            return None
        link = links.index(device.master_index) if device.master_index is not None else None
        if link is not None:
            return link
        link = links.name(spec.master) or links.name(spec.master_now or spec.master)
        if link is not None:
            device.master_since = asyncio.get_running_loop().time()
        return link

    def concerned(self, indices: set[int]) -> list[Device]:
        """Return the shapers that changed, or whose masters did, or that wait for one."""
        return [
            device
            for device in self._devices.values()
            if device.ifindex in indices
            or device.master_index in indices
            or (device.master_index is None and self.find(device) is not None)
        ]

    def obstacle(
        self, device: Device, master: Link, masters: Mapping[int, int | None] | None = None
    ) -> str | None:
        """Return why no frame may go to a master although it is there; None if one may.

        Args:
            device: the shaper.
            master: a device.
            masters: those that other shapers would have then, by index; None: as now.
        """
        below = partial(self._below, masters=masters or {})
        if master.ifindex == device.ifindex:
            return f"{device.spec.ifname} cannot be its own master"
        if would_loop(device.ifindex, master.ifindex, below):
            return f"{master.ifname} leads back to {device.spec.ifname}: that would create a loop"
        return unusable_reason(master)

    def find_usable(self, device: Device) -> tuple[Link | None, str | None]:
        """Return the master, or None and why there is none of use; an obstacle is told once."""
        master = self.find(device)
        obstacle = self.obstacle(device, master) if master is not None else None
        if obstacle is not None and obstacle != device.last_obstacle:
            _tell(device, master, obstacle)
        device.last_obstacle = obstacle
        return (None if obstacle is not None else master), obstacle

    def follow(self, device: Device) -> None:
        """Keep what a renamed master is called now, beside what it was called when asked for."""
        asked, master = device.spec.master, self._links.index(device.master_index or 0)
        if asked is None or master is None:
            return
        now = None if asked in (master.ifname, *master.altnames) else master.ifname
        if now == device.spec.master_now:
            return
        age = asyncio.get_running_loop().time() - device.master_since
        if now is not None and device.spec.master_now is None and age < _TRANSIT_SECONDS:
            device.master_index = None
        else:
            device.spec = replace(device.spec, master_now=now)
            _tell(device, master, f"its master {asked} is called {master.ifname} now")

    def keep(self, device: Device) -> None:
        """Stay with the device that was asked for just now, however soon it is renamed."""
        device.master_since = -math.inf

    def leads_to_tunnel(self, master: Link | None) -> bool:
        """Whether a master, or a device that its frames leave by, encapsulates them."""
        return master is not None and leads_to(
            master.ifindex,
            lambda each: (link := self._links.index(each)) is not None and is_tunnel(link),
            self._below,
        )

    def far_end_behind(self, device: Device, master: Link | None) -> IpAddress | None:
        """Return the far end of a tunnel, the master or below it, that the shaper leads to."""
        if master is None or not self.leads_to_tunnel(master):
            return None
        for ifindex in reached(master.ifindex, self._below_or_routed):
            for far_end, way in self._ways_from(ifindex):
                if would_loop(device.ifindex, way, self._below_or_routed):
                    return far_end
        return None

    def _below_or_routed(self, ifindex: int) -> list[int]:
        """Return where the frames of a device go, inside a tunnel's packets too."""
        return self._below(ifindex) + [way for _, way in self._ways_from(ifindex)]

    def _ways_from(self, ifindex: int) -> Ways:
        link = self._links.index(ifindex)
        return self._ways.of(link) if link is not None and is_tunnel(link) else []

    def _below(
        self, ifindex: int, masters: Mapping[int, int | None] = MappingProxyType({})
    ) -> list[int]:
        """Return where the frames of a device go."""
        link, device = self._links.index(ifindex), self._devices.get(ifindex)
        below: list[int | None] = [*self._links.ports(ifindex)]
        if link is not None:
            below.append(link.lower)
        if device is not None and device.spec.master is not None:
            below.append(masters.get(ifindex, device.master_index))
        return [each for each in below if each is not None]


def _tell(device: Device, master: Link | None, sentence: str) -> None:
    name = master.ifname if master is not None else ""
    tell(Event(Kind.MASTER, device.spec.ifname, name), "%s: %s", device.spec.ifname, sentence)
