"""What the keeper of declarations is told of each shaper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from shaper.kernel.links import Links
from shaper.network import Network
from shaper.supervisor.absent import Absentees
from shaper.supervisor.device import Device


class Devices(Protocol):
    """What the keeper asks of the supervisor."""

    devices: dict[str, Device]
    absent: Absentees
    links: Links
    on_reconciled: Callable[[], None]


@dataclass(frozen=True)
class Subject:
    """A shaper as far as its declaration is concerned.

    Attributes:
        ifindex: None while it has no device.
        is_up: as an administrator sets it; without that the kernel takes no route through it.
        master_index: None while it has no master.
    """

    ifname: str
    network: Network
    ifindex: int | None
    is_up: bool
    master_index: int | None


def subjects(supervisor: Devices) -> list[Subject]:
    """Return every shaper there is, as far as its declaration is concerned."""
    found = []
    for device in supervisor.devices.values():
        own = supervisor.links.index(device.ifindex)
        found.append(
            Subject(
                device.spec.ifname,
                device.spec.network,
                None if own is None else own.ifindex,
                is_up=own is not None and own.is_up,
                master_index=device.master_index,
            )
        )
    for absent in supervisor.absent.values():  # its guards stand, so that nothing leaves unshaped
        spec = absent.spec
        found.append(Subject(spec.ifname, spec.network, None, is_up=False, master_index=None))
    return found


def device_name(supervisor: Devices, ifindex: int) -> str:
    """Return what a device is called."""
    link = supervisor.links.index(ifindex)
    return f"device {ifindex}" if link is None else link.ifname
