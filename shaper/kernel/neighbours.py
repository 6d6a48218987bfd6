"""Neighbours of a shaper are resolved by its master.

Answers to ARP and neighbour solicitation arrive on the master and never on the shaper, so the
shaper does not ask. Its entries are set to be solicited by user space alone (`app_solicit`): the
kernel then multicasts RTM_GETNEIGH for an address it wants on the shaper. The answer is to use the
same address on the master (NTF_USE), which resolves it there, over the real wire and unshaped; and
to write what the master learns (RTM_NEWNEIGH) for the shaper, at once and whenever it changes.

A failure on the master is written too, so that senders hear of it as quickly as they would there.
The kernel side is net/core/neighbour.c; the states are those of RFC 4861, section 7.3.2.
"""

from __future__ import annotations

import errno
import logging
import socket
from dataclasses import dataclass, field

from shaper.errors import KernelRefused, ShaperError
from shaper.kernel.links import parse_link
from shaper.kernel.netlink import Netlink
from shaper.kernel.solicit import solicit
from shaper.kernel.wire import Message

# Specified: include/uapi/linux/neighbour.h.
_NUD_INCOMPLETE = 0x01
_NUD_REACHABLE = 0x02
_NUD_STALE = 0x04
_NUD_DELAY = 0x08
_NUD_PROBE = 0x10
_NUD_FAILED = 0x20
_NUD_NOARP = 0x40
_NUD_PERMANENT = 0x80
_NUD_VALID = _NUD_REACHABLE | _NUD_STALE | _NUD_DELAY | _NUD_PROBE | _NUD_NOARP | _NUD_PERMANENT
_NUD_RESOLVABLE = _NUD_INCOMPLETE | _NUD_REACHABLE | _NUD_STALE | _NUD_DELAY | _NUD_PROBE
_NTF_USE = 0x01

# What the kernel answers where a device has no IPv6.
NO_IPV6 = (errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)

# Chosen: as many askings as the kernel makes on its own (mcast_solicit), a second apart.
_APP_PROBES = 3

_log = logging.getLogger(__name__)

Address = tuple[int, str]  # address family and address


@dataclass
class _Delegation:
    master_index: int
    wanted: set[Address] = field(default_factory=set)


class Neighbours:
    """Delegates the neighbour entries of shapers to their masters.

    Args:
        netlink: where requests go.
    """

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._delegations: dict[int, _Delegation] = {}  # by the shaper's index

    async def prepare(self, shaper_index: int) -> None:
        """Let user space alone solicit on this device, for IPv4 and IPv6.

        A device that has no IPv6, because the kernel or a small MTU leaves it out, needs none of
        it; `prepare` is to be called again when that may have changed.
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                await self._netlink.set_neighbour_table(
                    family, shaper_index, app_probes=_APP_PROBES, ucast_probes=0, mcast_probes=0
                )
            except KernelRefused as error:
                if family == socket.AF_INET or error.errno not in NO_IPV6:
                    raise

    def delegate(self, shaper_index: int, master_index: int) -> None:
        """Resolve the neighbours of a shaper on this master from now on; then `resolve_all`."""
        known = self._delegations.get(shaper_index)
        if known is None or known.master_index != master_index:
            self._delegations[shaper_index] = _Delegation(master_index)

    def release(self, shaper_index: int) -> None:
        """Stop resolving for a shaper."""
        self._delegations.pop(shaper_index, None)

    async def handle(self, message: Message) -> None:
        """Take a neighbour event: the kernel asks for a shaper, or a master's entry changed."""
        try:
            if message["event"] == "RTM_GETNEIGH":
                await self._solicited(message)
            elif message["event"] == "RTM_NEWNEIGH":
                await self._learned(message)
            else:
                self._forget(message)
        except ShaperError as error:
            _log.warning("neighbour of device %d: %s", message["ifindex"], error)

    async def refresh(self) -> None:
        """Catch up with both sides of every delegation, after events were lost."""
        for master_index in {each.master_index for each in self._delegations.values()}:
            for message in await self._netlink.neighbours(master_index):
                await self._learned(message)
        for shaper_index in tuple(self._delegations):
            await self.resolve_all(shaper_index)

    async def resolve_all(self, shaper_index: int) -> None:
        """Resolve what a shaper has entries for already, on the master it has now.

        Those it asked for in vain without one (the kernel would ask again only after a second),
        and those that another master resolved.
        """
        if shaper_index not in self._delegations:
            return
        for entry in await self._netlink.neighbours(shaper_index):
            if entry["state"] & _NUD_RESOLVABLE:
                await self._solicited(entry)

    async def _solicited(self, message: Message) -> None:
        delegation = self._delegations.get(message["ifindex"])
        address = _address(message)
        if delegation is None or address is None:
            return
        delegation.wanted.add(address)
        await self._use(delegation.master_index, address)
        # A valid entry of the master may not change by being used, so no event would follow.
        entry = await self._netlink.neighbour_entry(delegation.master_index, *address)
        if entry is not None and entry["state"] & _NUD_VALID:
            await self._learned(entry)

    def _forget(self, message: Message) -> None:
        """Forget an address whose entry the kernel removed from a shaper."""
        delegation = self._delegations.get(message["ifindex"])
        address = _address(message)
        if delegation is not None and address is not None:
            delegation.wanted.discard(address)

    async def _use(self, master_index: int, address: Address) -> None:
        """Let the master resolve an address, as if a packet had been sent to it."""
        family, destination = address
        await self._netlink.replace_neighbour(
            ifindex=master_index,
            family=family,
            dst=destination,
            flags=_NTF_USE,
            state=0,
        )
        if family == socket.AF_INET6:
            source = await self._netlink.solicitation_source(master_index, destination)
            if source is not None:
                await self._solicit(master_index, source, destination)

    async def _solicit(self, master_index: int, source: str, destination: str) -> None:
        """Ask in the kernel's place, which asks from a link-local address or not at all."""
        for link in map(parse_link, await self._netlink.link(master_index)):
            try:
                solicit(link.ifname, link.address, source, destination)
            except OSError as error:
                _log.debug("cannot solicit %s on %s: %s", destination, link.ifname, error)

    async def _learned(self, message: Message) -> None:
        """Write what a master knows of an address to every shaper that asked for it."""
        address = _address(message)
        if address is None:
            return
        for shaper_index, delegation in tuple(self._delegations.items()):
            is_asked_for = address in delegation.wanted
            if delegation.master_index == message["ifindex"] and is_asked_for:
                await self._write(shaper_index, delegation, address, message)

    async def _write(
        self, shaper_index: int, delegation: _Delegation, address: Address, message: Message
    ) -> None:
        family, destination = address
        entry: dict[str, object] = {"ifindex": shaper_index, "family": family, "dst": destination}
        link_address = message.get_attr("NDA_LLADDR")
        if message["state"] & _NUD_VALID and link_address:
            entry |= {"lladdr": link_address, "state": _NUD_REACHABLE}
        elif message["state"] & _NUD_FAILED:
            delegation.wanted.discard(address)
            entry["state"] = _NUD_FAILED
        else:
            return
        try:
            await self._netlink.replace_neighbour(**entry)
        except KernelRefused as error:
            _log.debug("device %d: %s", shaper_index, error)


def _address(message: Message) -> Address | None:
    destination = message.get_attr("NDA_DST")
    if destination is None or message["family"] not in (socket.AF_INET, socket.AF_INET6):
        return None
    return message["family"], destination
