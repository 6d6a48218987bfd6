"""A kernel in memory: what `kernel.linux` asks of one, around a `MemoryNetlink`."""

from __future__ import annotations

import socket
from collections.abc import Callable

from shaper.errors import ShaperError
from shaper.kernel.holding import DescriptorKeeper
from shaper.kernel.linux import Kernel
from shaper.kernel.netlink_messages import Message
from shaper.kernel.sysctl import Sysctls
from shaper.model import Framing
from shaper.testing.memory_captor import MemoryCaptor
from shaper.testing.memory_netlink import MemoryMonitor, MemoryNetlink
from shaper.testing.memory_ring_caps import MemoryRingCaps
from shaper.testing.memory_tap import MemoryTap


class MemorySysctls(Sysctls):
    """Sysctls as a kernel has them that drops nothing.

    Args:
        ipv4_values: what is otherwise, by name; for all devices.
    """

    def __init__(self, ipv4_values: dict[str, int]) -> None:
        super().__init__()
        self._ipv4_values = ipv4_values

    def ipv4(self, ifname: str, name: str) -> int:
        """Return 0, or what is otherwise."""
        return self._ipv4_values.get(name, 0)

    def ipv6_mtu(self, ifname: str) -> int | None:
        """Return that there is no IPv6."""
        return None


class MemoryKernel(Kernel):
    """A kernel in memory.

    Args:
        devices: its devices.

    Attributes:
        captor_in_use: what takes traffic by device.
        caps: the programs on TAPs.
        ipv4_values: sysctls that are not 0, by name.
        dropped: what each device has dropped when sending.
        taps: those made so far, by name.
        holders: says of a name what the kernel refuses it with; None: nothing.
    """

    def __init__(self, devices: MemoryNetlink) -> None:
        self._devices = devices
        self.captor_in_use = MemoryCaptor()
        self.caps = MemoryRingCaps()
        self.ipv4_values: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.taps: dict[str, MemoryTap] = {}
        self.holders: Callable[[str], ShaperError | None] = lambda _: None

    def netlink(self) -> MemoryNetlink:
        """Return the devices."""
        return self._devices

    def monitor(
        self, on_message: Callable[[Message], None], on_overflow: Callable[[], None]
    ) -> MemoryMonitor:
        """Listen to what happens to the devices."""
        return self._devices.monitor(on_message, on_overflow)

    def check_taps(self) -> None:
        """TAPs can be made."""

    def tap(self, ifname: str, descriptor: int | None = None) -> MemoryTap:
        """Make a TAP, or adopt it, unless something holds it."""
        if (refusal := self.holders(ifname)) is not None:
            raise refusal
        self.taps[ifname] = MemoryTap(ifname, self._devices)
        return self.taps[ifname]

    def index_of(self, ifname: str) -> int:
        """Return the index of a device."""
        return self._devices.index_of(ifname)

    def packet_socket(self, ifname: str, framing: Framing, ifindex: int) -> socket.socket:
        """Open a socket that leads to a device."""
        return self._devices.packet_socket(ifname, framing, ifindex)

    def is_bound_to(self, sock: socket.socket, ifindex: int) -> bool:
        """Whether a socket leads to the device of an index."""
        return self._devices.is_bound_to(sock, ifindex)

    def captor(self, keeper: DescriptorKeeper | None) -> MemoryCaptor:
        """Return what takes traffic by device."""
        return self.captor_in_use

    def ring_caps(self, places: int, rows: int) -> MemoryRingCaps:
        """Return what notes the programs on TAPs."""
        return self.caps

    def set_speed(self, ifname: str, speed_mbit: int | None) -> None:
        """Keep a speed."""
        self._devices.set_speed(ifname, speed_mbit)

    def sysctls(self) -> MemorySysctls:
        """Return the sysctls of devices."""
        return MemorySysctls(self.ipv4_values)

    def reverse_path_rules(self) -> tuple[str, ...]:
        """Return that no rule looks up the way back."""
        return ()

    def tx_dropped(self) -> dict[str, int]:
        """Return what devices have dropped."""
        return self.dropped
