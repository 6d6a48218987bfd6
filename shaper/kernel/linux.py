"""What a daemon needs of a kernel, beside the requests of `netlink`, and Linux as one that has it.

`LINUX` is the kernel that runs; the one for tests is in `shaper.testing.memory_kernel`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from shaper.kernel import counters, ethtool, packet_socket, reverse_path
from shaper.kernel.captor import Captor
from shaper.kernel.holding import DescriptorKeeper
from shaper.kernel.netlink import Monitor, Netlink
from shaper.kernel.netlink_messages import Message
from shaper.kernel.ring_caps import RingCaps
from shaper.kernel.sysctl import Sysctls
from shaper.kernel.tap import Tap, check_device
from shaper.model import Framing


class Kernel(Protocol):
    """A kernel. Every method may raise errors.ShaperError."""

    def netlink(self) -> Netlink:
        """Open a connection for requests; it is an asynchronous context manager."""
        ...

    def monitor(
        self, on_message: Callable[[Message], None], on_overflow: Callable[[], None]
    ) -> Monitor:
        """Listen to events of links, neighbours and addresses."""
        ...

    def check_taps(self) -> None:
        """Refuse where no TAP at all can be made."""
        ...

    def tap(self, ifname: str, descriptor: int | None = None) -> Tap:
        """Make a TAP or adopt it; with a descriptor it is the one that this leads to."""
        ...

    def packet_socket(self, ifname: str, framing: Framing, ifindex: int) -> socket.socket:
        """Open a socket that sends through a master."""
        ...

    def is_bound_to(self, sock: socket.socket, ifindex: int) -> bool:
        """Whether a socket leads to the device of an index."""
        ...

    def captor(self, keeper: DescriptorKeeper | None) -> Captor:
        """Return what takes traffic by device; `keeper` holds its programs over a restart."""
        ...

    def ring_caps(self, places: int, rows: int) -> RingCaps:
        """Return what keeps flows from filling rings, for so many forwarders and TAPs."""
        ...

    def set_speed(self, ifname: str, speed_mbit: int | None) -> None:
        """Have `ethtool` show a speed. Raises OSError."""
        ...

    def sysctls(self) -> Sysctls:
        """Return the sysctls of devices as they are from now on."""
        ...

    def reverse_path_rules(self) -> tuple[str, ...]:
        """Return where firewall rules look up the way back."""
        ...

    def tx_dropped(self) -> dict[str, int]:
        """Return how many frames each device has dropped when sending, by name."""
        ...


class Linux(Kernel):
    """The kernel that runs this process, in its network namespace."""

    def netlink(self) -> Netlink:
        """Open a connection for requests."""
        return Netlink()

    def monitor(
        self, on_message: Callable[[Message], None], on_overflow: Callable[[], None]
    ) -> Monitor:
        """Listen to events of links, neighbours and addresses."""
        return Monitor(on_message, on_overflow)

    def check_taps(self) -> None:
        """Refuse where no TAP at all can be made."""
        check_device()

    def tap(self, ifname: str, descriptor: int | None = None) -> Tap:
        """Make a TAP or adopt it."""
        return Tap(ifname, descriptor)

    def packet_socket(self, ifname: str, framing: Framing, ifindex: int) -> socket.socket:
        """Open a packet socket."""
        return packet_socket.open_packet_socket(ifname, framing, ifindex)

    def is_bound_to(self, sock: socket.socket, ifindex: int) -> bool:
        """Whether a packet socket leads to the device of an index."""
        return packet_socket.is_bound_to(sock, ifindex)

    def captor(self, keeper: DescriptorKeeper | None) -> Captor:
        """Return what takes traffic by device."""
        return Captor(keeper)

    def ring_caps(self, places: int, rows: int) -> RingCaps:
        """Return what keeps flows from filling rings."""
        return RingCaps(places, rows)

    def set_speed(self, ifname: str, speed_mbit: int | None) -> None:
        """Have `ethtool` show a speed."""
        ethtool.set_speed(ifname, speed_mbit)

    def sysctls(self) -> Sysctls:
        """Return the sysctls of devices."""
        return Sysctls()

    def reverse_path_rules(self) -> tuple[str, ...]:
        """Return where firewall rules look up the way back."""
        return reverse_path.reverse_path_rules()

    def tx_dropped(self) -> dict[str, int]:
        """Return how many frames each device has dropped when sending."""
        return counters.tx_dropped()


LINUX = Linux()
