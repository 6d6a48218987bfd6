"""TAPs in memory, for tests."""

from __future__ import annotations

from dataclasses import replace

from shaper.kernel.tap import Tap
from shaper.testing.memory_messages import new_tap, tap_attribute
from shaper.testing.memory_netlink import MemoryNetlink


class MemoryTap(Tap):
    """A TAP of a `MemoryNetlink`.

    Args:
        ifname: the device to make, or to adopt.
        kernel: where it is.
    """

    def __init__(self, ifname: str, kernel: MemoryNetlink) -> None:
        self.ifname = ifname
        self.has_carrier = True
        self.has_offload = self.has_frames = False
        self.leaves_checksums = self._is_persistent = True
        self.is_closed = False
        self._kernel = kernel
        known = {link.ifname: link.ifindex for link in kernel.devices.values()}
        self.ifindex = known.get(ifname) or max(kernel.devices, default=0) + 1
        if ifname not in known:
            kernel.put(new_tap(self.ifindex, ifname))
        kernel.tap_marks[self.ifindex] = tap_attribute()

    def fileno(self) -> int:
        """Return a number that is never to be read from."""
        return -1

    def lend(self) -> int:
        """Return a number that is never to be read from."""
        return -1

    def holds_frames(self) -> bool:
        """Whether the test says that a frame waits."""
        return self.has_frames

    def name(self) -> str | None:
        """Return what the device is called, here or elsewhere."""
        link = {**self._kernel.elsewhere, **self._kernel.devices}.get(self.ifindex)
        return None if link is None else link.ifname

    def index(self) -> int:
        """Return the index of the device."""
        return self.ifindex

    def is_here(self) -> bool:
        """Whether the device has not been moved."""
        return self.ifindex in self._kernel.devices

    def set_carrier(self, *, is_on: bool) -> None:
        """Change the device, and tell of it."""
        self.has_carrier = is_on
        if self.ifindex not in self._kernel.devices:
            return
        self._kernel.put(replace(self._kernel.devices[self.ifindex], is_running=is_on))

    def set_offload(self, *, is_on: bool, leaves_checksums: bool = True) -> None:
        """Note it."""
        self.has_offload, self.leaves_checksums = is_on, leaves_checksums

    def set_filter(self, program: int | None) -> None:
        """Do without."""

    def remove(self) -> None:
        """Remove the device, unless it is removed already."""
        self.close()
        self._kernel.elsewhere.pop(self.ifindex, None)
        if self.ifindex in self._kernel.devices:
            self._kernel.take_away(self.ifindex)

    def close(self) -> None:
        """Note it; the device stays."""
        self.is_closed = True
