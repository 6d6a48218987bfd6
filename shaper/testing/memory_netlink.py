"""Netlink in memory: the devices and neighbours of a kernel that a test makes.

`MemoryNetlink` behaves as the kernel does where the daemon depends on it: what is set is kept and
told of by an event that comes later than the answer; a dump is as old as its request; below 1280
bytes a device has no IPv6, and what was set of it is forgotten; a neighbour that is used has an
entry. The fakes derive from what they stand in for, so mypy holds them to the same signatures.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from shaper.errors import KernelRefused, ShaperError
from shaper.kernel.netlink import Monitor, Netlink
from shaper.kernel.netlink_messages import Message
from shaper.model import Framing, Link
from shaper.testing.memory_messages import (
    MemoryMessage,
    address_message,
    link_message,
)

# Specified: include/uapi/linux/if.h, if_arp.h, neighbour.h; RFC 8200, section 5.
_IFF_UP = 0x1
_IFF_NOARP = 0x80
_NTF_USE = 0x01
_NUD_INCOMPLETE = 0x01
_IPV6_MIN_MTU = 1280


class MemoryMonitor(Monitor):
    """Hears of what happens in a `MemoryNetlink`."""

    def __init__(
        self, on_message: Callable[[Message], None], on_overflow: Callable[[], None]
    ) -> None:
        self.on_message = on_message
        self.on_overflow = on_overflow
        self.unheard: deque[Message] = deque()
        self.is_closed = False

    def hear(self) -> None:
        """Call back for what has happened."""
        while self.unheard:
            self.on_message(self.unheard.popleft())

    def drain(self) -> None:
        """Forget what has happened."""
        self.unheard.clear()

    def close(self) -> None:
        """Hear of nothing more."""
        self.is_closed = True


class MemoryNetlink(Netlink):
    """A kernel in memory.

    Attributes:
        devices: every device, by index; a change made here directly is no event.
        aliases: of devices, by index.
        tap_marks: what is told of TAPs as such, by index.
        elsewhere: devices that were moved to another namespace, by index.
        entries: neighbour entries by device, family and address.
        addresses_of: addresses by device; a change made here directly is no event.
        probes: what was set of neighbour solicitation, by device and family.
        quiet: devices that give themselves no IPv6 address.
        link_local: shapers that have given themselves one.
        without_link_local: masters that have none to ask from.
        routed: devices that a route leads through.
        speeds: what devices show as their speed in Mbit/s, by name.
        requests: every request, as the method's name and its arguments.
        refusals: what the next requests of a method are refused with.
        gates: a request of a method in here waits for it before it is answered.
    """

    def __init__(self) -> None:
        self.devices: dict[int, Link] = {}
        self.aliases: dict[int, str] = {}
        self.tap_marks: dict[int, bytes] = {}
        self.elsewhere: dict[int, Link] = {}
        self.entries: dict[tuple[int, int, str], MemoryMessage] = {}
        self.addresses_of: dict[int, set[str]] = {}
        self.probes: dict[tuple[int, int], dict[str, int]] = {}
        self.quiet: set[int] = set()
        self.link_local: set[int] = set()
        self.without_link_local: set[int] = set()
        self.routed: set[int] = set()
        self.speeds: dict[str, int | None] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.bound: dict[socket.socket, Link] = {}  # what packet sockets lead to
        self.refusals: defaultdict[str, list[ShaperError]] = defaultdict(list)
        self.meanwhile: dict[str, Callable[[], None]] = {}
        self._monitors: list[MemoryMonitor] = []

    def asked(self, method: str) -> list[dict[str, Any]]:
        """Return the arguments of every request of a method so far."""
        return [arguments for name, arguments in self.requests if name == method]

    def monitor(
        self, on_message: Callable[[Message], None], on_overflow: Callable[[], None]
    ) -> MemoryMonitor:
        """Stand in for the class Monitor."""
        self._monitors.append(MemoryMonitor(on_message, on_overflow))
        return self._monitors[-1]

    def tell(self, message: MemoryMessage) -> None:
        """Send an event to every subscriber, later."""
        for monitor in self._monitors:
            if not monitor.is_closed:
                monitor.unheard.append(message)
                asyncio.get_running_loop().call_soon(monitor.hear)

    def overflow(self) -> None:
        """Tell every subscriber that events were lost."""
        for monitor in self._monitors:
            monitor.on_overflow()

    def put(self, link: Link) -> None:
        """Add or change a device."""
        before = self.devices.get(link.ifindex)
        self.devices[link.ifindex] = link
        self._follow_mtu(link, before.mtu if before is not None else link.mtu)
        self.tell(link_message(link, self.aliases.get(link.ifindex, "")))

    def take_away(self, ifindex: int) -> None:
        """Remove a device and its neighbours."""
        link = self.devices.pop(ifindex)
        self.entries = {key: entry for key, entry in self.entries.items() if key[0] != ifindex}
        self.tell(link_message(link, event="RTM_DELLINK"))

    def move_away(self, ifindex: int) -> None:
        """Move a device to another namespace."""
        self.elsewhere[ifindex] = self.devices[ifindex]
        self.take_away(ifindex)

    def move_back(self, ifindex: int, **changes: Any) -> None:
        """Move it back, with these changes."""
        self.put(replace(self.elsewhere.pop(ifindex), **changes))

    def index_of(self, ifname: str) -> int:
        """Stand in for socket.if_nametoindex."""
        return next(link.ifindex for link in self.devices.values() if link.ifname == ifname)

    def set_entry(
        self,
        ifindex: int,
        destination: str,
        state: int,
        link_address: str | None = None,
        *,
        flags: int = 0,
        protocol: int | None = None,
        unused_centiseconds: int = 0,
    ) -> None:
        """Add or change a neighbour entry."""
        attributes: dict[str, object] = {
            "NDA_DST": destination,
            "NDA_LLADDR": link_address,
            "NDA_PROTOCOL": protocol,
            "NDA_CACHEINFO": unused_centiseconds,
        }
        fields = {
            "ifindex": ifindex,
            "family": _family(destination),
            "state": state,
            "flags": flags,
        }
        entry = MemoryMessage("RTM_NEWNEIGH", attributes, **fields)
        self.entries[ifindex, _family(destination), destination] = entry
        self.tell(entry)

    def neighbour_event(self, event: str, ifindex: int, destination: str) -> None:
        """Solicit an address (RTM_GETNEIGH), or forget its entry (RTM_DELNEIGH)."""
        attributes: dict[str, object] = {"NDA_DST": destination}
        state = 0
        if event == "RTM_DELNEIGH":
            entry = self.entries.pop((ifindex, _family(destination), destination))
            attributes["NDA_LLADDR"], state = entry.get_attr("NDA_LLADDR"), entry["state"]
        fields = {"ifindex": ifindex, "family": _family(destination), "state": state}
        self.tell(MemoryMessage(event, attributes, **fields))

    def packet_socket(
        self, ifname: str, framing: Framing = Framing.ETHERNET, ifindex: int | None = None
    ) -> socket.socket:
        """Stand in for open_packet_socket."""
        self.requests.append(("packet_socket", {"ifname": ifname, "framing": framing}))
        if ifname not in {link.ifname for link in self.devices.values()}:
            raise KernelRefused(f"cannot send through {ifname}: No such device", errno.ENODEV)
        link = self.devices.get(ifindex or 0)
        if link is not None and link.ifname != ifname:
            raise KernelRefused(f"cannot send through {ifname}: renamed", errno.ESTALE)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.bound[sock] = self.devices[self.index_of(ifname)]
        return sock

    def is_bound_to(self, sock: socket.socket, ifindex: int) -> bool:
        """Stand in for packet_socket.is_bound_to."""
        return self.bound[sock].ifindex == ifindex and ifindex in self.devices

    def set_speed(self, ifname: str, speed_mbit: int | None) -> None:
        """Stand in for ethtool.set_speed."""
        self.speeds[ifname] = speed_mbit

    def close(self) -> None:
        """Be there for the next connection."""

    def links(self) -> list[Message]:
        """Return every device as it was when this was asked."""
        messages = [
            link_message(link, self.aliases.get(link.ifindex, ""))
            for link in self.devices.values()
        ]
        self._serve("links")
        return messages

    def link(self, ifindex: int) -> list[Message]:
        """Return a device. Raises KernelRefused, ENODEV."""
        self._serve("link", ifindex=ifindex)
        alias, tap = self.aliases.get(ifindex, ""), self.tap_marks.get(ifindex)
        return [link_message(self._device(ifindex), alias, tap=tap)]

    def neighbours(self, ifindex: int | None) -> list[Message]:
        """Return the entries of a device, or of all, as they were when this was asked."""
        found: list[Message] = [
            entry for key, entry in self.entries.items() if ifindex in (None, key[0])
        ]
        self._serve("neighbours", ifindex=ifindex)
        return found

    def neighbour_entry(self, ifindex: int, family: int, destination: str) -> Message | None:
        """Return an entry, or None."""
        self._serve("neighbour_entry", ifindex=ifindex, destination=destination)
        return self.entries.get((ifindex, family, destination))

    def addresses(self) -> list[Message]:
        """Return every address as it was when this was asked."""
        found: list[Message] = [
            address_message(ifindex, address)
            for ifindex, addresses in self.addresses_of.items()
            for address in addresses
        ]
        self._serve("addresses")
        return found

    def solicitation_source(self, ifindex: int, target: str) -> str | None:
        """Return an address for a device in `without_link_local`; nearly every device is not."""
        self._serve("solicitation_source", ifindex=ifindex, target=target)
        return "fd00::1" if ifindex in self.without_link_local else None

    def has_route_through(self, ifindex: int) -> bool:
        """Whether a device is in `routed`."""
        self.requests.append(("has_route_through", {"ifindex": ifindex}))
        return ifindex in self.routed

    def set_link(self, ifindex: int, **attributes: Any) -> None:
        """Change a device, and tell of it."""
        self._serve("set_link", ifindex=ifindex, **attributes)
        link = self._device(ifindex)
        if "addr_gen_mode" in attributes:
            self._refuse_ipv6(link)
            self.quiet.add(ifindex)
        self.aliases[ifindex] = attributes.get("ifalias", self.aliases.get(ifindex, ""))
        if attributes.get("change") == _IFF_NOARP:
            link = replace(link, is_noarp=bool(attributes["flags"] & _IFF_NOARP))
        if attributes.get("change") == _IFF_UP:
            link = replace(link, is_up=bool(attributes["flags"] & _IFF_UP))
        if "address" in attributes:
            link = replace(link, address=attributes["address"])
        ring_frames = attributes.get("txqlen", link.txqueuelen)
        self.put(replace(link, mtu=attributes.get("mtu", link.mtu), txqueuelen=ring_frames))

    def replace_neighbour(self, **attributes: Any) -> None:
        """Change an entry, or use it, which makes one where there is none."""
        self._serve("replace_neighbour", **attributes)
        self._device(attributes["ifindex"])
        ifindex, destination = attributes["ifindex"], attributes["dst"]
        if not attributes.get("flags", 0) & _NTF_USE:
            self.set_entry(
                ifindex,
                destination,
                attributes["state"],
                attributes.get("lladdr"),
                flags=attributes.get("flags", 0),
                protocol=attributes.get("protocol"),
            )
        elif (ifindex, _family(destination), destination) not in self.entries:
            self.set_entry(ifindex, destination, _NUD_INCOMPLETE)

    def remove_links(self, indices: Iterable[int]) -> None:
        """Remove devices, but for those that are gone already."""
        self._serve("remove_links", indices=(indices := list(indices)))
        for ifindex in indices:
            if ifindex in self.devices:
                self.take_away(ifindex)

    def remove_kernel_link_local(self, ifindex: int) -> None:
        """Take away what a device gave itself."""
        self._serve("remove_kernel_link_local", ifindex=ifindex)
        self.link_local.discard(ifindex)

    def set_neighbour_table(self, family: int, ifindex: int, **probes: int) -> None:
        """Keep how a device solicits."""
        self._serve("set_neighbour_table", family=family, ifindex=ifindex, **probes)
        if family == socket.AF_INET6:
            self._refuse_ipv6(self._device(ifindex))
        self.probes[ifindex, family] = probes

    def _serve(self, method: str, **arguments: Any) -> None:
        self.requests.append((method, arguments))
        self.meanwhile.pop(method, lambda: None)()
        if self.refusals[method]:
            raise self.refusals[method].pop(0)

    def _device(self, ifindex: int) -> Link:
        if ifindex not in self.devices:
            raise KernelRefused(f"there is no device {ifindex}", errno.ENODEV)
        return self.devices[ifindex]

    def _refuse_ipv6(self, link: Link) -> None:
        if link.mtu < _IPV6_MIN_MTU:
            raise KernelRefused(f"{link.ifname} has no IPv6", errno.ENOENT)

    def _follow_mtu(self, link: Link, mtu_before: int) -> None:
        """Take IPv6 and all that was set of it from a device, or give it IPv6 as to a new one."""
        if link.mtu < _IPV6_MIN_MTU:
            self.quiet.discard(link.ifindex)
            self.link_local.discard(link.ifindex)
            self.probes.pop((link.ifindex, socket.AF_INET6), None)
        elif mtu_before < _IPV6_MIN_MTU:
            self.link_local.add(link.ifindex)


def _family(destination: str) -> int:
    return socket.AF_INET6 if ":" in destination else socket.AF_INET
