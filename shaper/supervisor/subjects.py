"""What the keeper of declarations is told of each shaper."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from shaper.kernel.links import Links
from shaper.network import Network
from shaper.supervisor.absent import Absentees
from shaper.supervisor.device import Device


class DeclarationKeeper(Protocol):
    """What is asked of the keeper when declarations change, so that all of it is true or none."""

    def hold(self) -> None:
        """Do nothing until `settle` or `put_back` is called."""

    def settle(self, ifnames: Collection[str]) -> None:
        """Add what these shapers declare anew. Raises ShaperError for what cannot be.

        What is declared no longer goes later.
        """

    def put_back(self) -> None:
        """Make true again what was before `hold`, and is declared again."""


class NoKeeper:
    """Where nothing keeps declarations true."""

    def hold(self) -> None:
        """Do nothing."""

    def settle(self, ifnames: Collection[str]) -> None:
        """Do nothing."""

    def put_back(self) -> None:
        """Do nothing."""


class Devices(Protocol):
    """What the keeper asks of the supervisor."""

    devices: dict[str, Device]
    absent: Absentees
    links: Links
    on_reconciled: Callable[[], None]
    keeper: DeclarationKeeper


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
