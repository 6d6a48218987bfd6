"""TAPs: created, adopted once their last holder has closed them, and kept over a restart."""

from __future__ import annotations

import asyncio
import errno
import logging
import os

from shaper.errors import Busy, KernelRefused, ShaperError
from shaper.kernel.linux import Kernel
from shaper.kernel.netlink import Netlink
from shaper.kernel.tap import Tap, name_of
from shaper.supervisor.keepsakes import Keepsakes
from shaper.supervisor.ownership import is_ours

_LOOK_SECONDS = 0.05  # chosen: between two tries
_KEPT = "tap-"  # chosen: how the names of kept TAPs begin; the index follows

_log = logging.getLogger(__name__)


class Taps:
    """Opens TAPs, and has the service manager keep them over a restart if it keeps anything.

    Args:
        keepsakes: what it keeps.
        kernel: where TAPs are made.
    """

    def __init__(self, keepsakes: Keepsakes, kernel: Kernel) -> None:
        self._kernel = kernel
        self._keepsakes = keepsakes
        self._kept: dict[str, int] = {}

    @property
    def are_kept(self) -> bool:
        """Whether some outlived an earlier daemon, and are not opened yet."""
        return bool(self._kept)

    def is_kept(self, ifname: str) -> bool:
        """Whether one of this name outlived an earlier daemon, and is not opened yet."""
        return ifname in self._kept

    def find_kept(self, *, is_needed: bool) -> None:
        """Take what outlived an earlier daemon, by what the devices are called now.

        Raises as `Kernel.check_taps` does, when nothing did and some are needed.
        """
        for kept in self._keepsakes.names(_KEPT):
            descriptor = self._keepsakes.take(kept)
            if descriptor is None:
                continue
            name = _name_or_none(descriptor)
            if name is None:  # it was deleted meanwhile
                self._keepsakes.drop(kept)
                os.close(descriptor)
            else:
                self._kept[name] = descriptor
        if is_needed and not self._kept:
            self._kernel.check_taps()

    def give_up_the_rest(self) -> None:
        """Remove what outlived an earlier daemon and is no shaper any more."""
        for name, descriptor in self._kept.items():
            _log.warning("%s outlived a restart and is no shaper any more", name)
            os.close(descriptor)
        self._kept.clear()
        self._keepsakes.give_up_the_rest()

    async def open(self, ifname: str, release: float) -> tuple[Tap, bool]:
        """Return a TAP, made or adopted, and whether it outlived a restart as it was.

        Args:
            ifname: the device.
            release: until when, in the event loop's time, another process may still hold it.
        """
        kept = self._kept.pop(ifname, None)
        if kept is not None:
            tap = self._kernel.tap(ifname, kept)
            tap.persist(is_on=False)
            return tap, True
        return await open_tap(self._kernel, ifname, release), False

    def index_of(self, tap: Tap, netlink: Netlink) -> int:
        """Return the index of a TAP just opened, of which the kernel says that it is ours.

        Raises KernelRefused, after the TAP is closed.
        """
        try:
            ifindex = tap.index()
            if not any(is_ours(each, is_expected=True) for each in netlink.link(ifindex)):
                raise KernelRefused(f"device {ifindex} is another's now", errno.ESTALE)
        except ShaperError:
            tap.close()
            raise
        return ifindex

    def keep(self, tap: Tap, ifindex: int) -> None:
        """Have a new TAP kept; it is persistent only where it could not be."""
        if self._keepsakes.put(f"{_KEPT}{ifindex}", tap.fileno()):
            tap.persist(is_on=False)

    def forget(self, ifindex: int) -> None:
        """Stop keeping the TAP of a device that is gone or is to go."""
        self._keepsakes.drop(f"{_KEPT}{ifindex}")


def _name_or_none(descriptor: int) -> str | None:
    try:
        return name_of(descriptor)
    except ShaperError:
        return None


async def open_tap(kernel: Kernel, ifname: str, release: float) -> Tap:
    """Make or adopt a TAP; one that is held is tried again until `release`."""
    loop = asyncio.get_running_loop()
    is_told = False
    while True:
        try:
            return kernel.tap(ifname)
        except Busy:
            if loop.time() >= release:
                raise
        if not is_told:
            _log.info("%s is still held by the forwarder before: waiting for it", ifname)
            is_told = True
        await asyncio.sleep(_LOOK_SECONDS)
