"""Neighbours of a shaper are resolved by its master.

Answers to ARP and neighbour solicitation arrive on the master and never on the shaper, so the
shaper does not ask. Its entries are set to be solicited by user space alone (`app_solicit`): the
kernel then multicasts RTM_GETNEIGH for an address it wants on the shaper. The answer is to use the
same address on the master (NTF_USE), which resolves it there, over the real wire and unshaped; and
to write what the master learns (RTM_NEWNEIGH) for the shaper, at once and whenever it changes.
A failure on the master is written too, so that senders hear of it as quickly as they would there.

Where the master is a port of a bridge, bond or team, answers arrive there, and its entries serve.
A master that does not ask (NOARP) has entries of its own address, and those that an administrator
made; they serve as they are.

Entries outlive an absence of the supervisor. The kernel may solicit user space as good as for
ever, and an entry that is being probed (NUD_PROBE) stays valid: so an entry that is in use fails
only when the supervisor says so, and one that it could not answer in time is answered when it is
back. Entries are marked as learned by others (NTF_EXT_LEARNED), which exempts them from the limits
of the neighbour table, so that the table holds as many hosts as without a shaper; when the master
forgets one for want of use, the mark is taken off.

The kernel side is net/core/neighbour.c; the states are those of RFC 4861, section 7.3.2.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from shaper.errors import KernelRefused, ShaperError
from shaper.kernel.links import Links, parse_link
from shaper.kernel.netlink import Netlink
from shaper.kernel.netlink_messages import Message
from shaper.kernel.solicit import solicit
from shaper.network import PROTOCOL

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
_NUD_GOOD = _NUD_VALID & ~_NUD_STALE
_NUD_UNANSWERED = _NUD_INCOMPLETE
_NTF_USE = 0x01
_NTF_EXT_LEARNED = 0x10

# What the kernel answers where a device has no IPv6.
NO_IPV6 = (errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)

# Chosen: years. The kernel gives an entry up after so many askings, a second apart.
_APP_PROBES = 1_000_000_000
_MOST_EXEMPT = 8192  # entries of a shaper that do not count in the kernel's limits
_UNUSED_CENTISECONDS = 60 * 100  # gc_stale_time of the kernel
_QUIET_SECONDS = 60.0  # one refusal of a device is told in so long

_log = logging.getLogger(__name__)

Address = tuple[int, str]  # address family and address


@dataclass
class _Delegation:
    master_index: int
    wanted: set[Address] = field(default_factory=set)


Send = Callable[[int, bytes, str, str], None]


class Neighbours:
    """Delegates the neighbour entries of shapers to their masters.

    Args:
        netlink: where requests go.
        links: the devices, for what a master is a port of.
        send: solicits an address on a device.
    """

    def __init__(self, netlink: Netlink, links: Links, send: Send = solicit) -> None:
        self._netlink = netlink
        self._send = send
        self._links = links
        self._delegations: dict[int, _Delegation] = {}  # by the shaper's index
        self._told_at: dict[int, float] = {}

    def prepare(self, shaper_index: int) -> None:
        """Let user space alone solicit on this device, for IPv4 and IPv6.

        A device that has no IPv6, because the kernel or a small MTU leaves it out, needs none of
        it; `prepare` is to be called again when that may have changed.
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                self._netlink.set_neighbour_table(
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

    def handle(self, message: Message) -> None:
        """Take a neighbour event: the kernel asks for a shaper, or a master's entry changed."""
        try:
            if message["event"] == "RTM_GETNEIGH":
                self._solicited(message)
            elif message["event"] == "RTM_NEWNEIGH":
                self._learned(message)
            else:
                self._removed(message)
        except ShaperError as error:
            self._tell(message["ifindex"], error)

    def refresh(self) -> None:
        """Catch up with both sides of every delegation, after events were lost."""
        masters = {self._resolver(each) for each in self._delegations.values()}
        for master_index in masters:
            for message in self._netlink.neighbours(master_index):
                self._learned(message)
        for shaper_index in tuple(self._delegations):
            self.resolve_all(shaper_index)

    def check(self) -> int:
        """Hold every entry of a shaper to the master's; return how many had to be put right."""
        if not self._delegations:
            return 0
        entries = _by_device(self._netlink.neighbours(None))
        put_right = 0
        for shaper_index, delegation in tuple(self._delegations.items()):
            own = entries.get(shaper_index, {})
            known = entries.get(self._resolver(delegation), {})
            delegation.wanted &= own.keys()
            for address, entry in own.items():
                put_right += self._check_one(
                    shaper_index, delegation, address, entry, known.get(address)
                )
        return put_right

    def resolve_all(self, shaper_index: int) -> None:
        """Resolve what a shaper has entries for already, on the master it has now.

        Those it asked for in vain without one (the kernel would ask again only after a second),
        those that another master resolved, and those that an earlier daemon left behind.
        """
        if shaper_index not in self._delegations:
            return
        for entry in self._netlink.neighbours(shaper_index):
            if entry["state"] & _NUD_RESOLVABLE:
                self._solicited(entry)

    def _resolver(self, delegation: _Delegation) -> int:
        return self._links.resolver(delegation.master_index)

    def _solicited(self, message: Message) -> None:
        delegation = self._delegations.get(message["ifindex"])
        address = _address(message)
        if delegation is None or address is None:
            return
        delegation.wanted.add(address)
        self._resolve(self._resolver(delegation), address)

    def _resolve(self, master_index: int, address: Address) -> None:
        self._use(master_index, address)
        # A valid entry of the master may not change by being used, so no event would follow.
        entry = self._netlink.neighbour_entry(master_index, *address)
        if entry is not None and entry["state"] & _NUD_VALID:
            self._learned(entry)

    def _removed(self, message: Message) -> None:
        """Take up that the kernel removed an entry, of a shaper or of a master.

        A master's entry that aged is no longer vouched for: the shaper's is left to the kernel,
        to be asked for when it is used again. One that was flushed while it was good, as by a
        change of the master itself, is resolved anew.
        """
        address = _address(message)
        if address is None:
            return
        own = self._delegations.get(message["ifindex"])
        if own is not None:
            own.wanted.discard(address)
        wanting = self._wanting(message["ifindex"], address)
        link_address = message.get_attr("NDA_LLADDR")
        if wanting and message["state"] & _NUD_GOOD:
            self._resolve(message["ifindex"], address)
        elif link_address:
            for shaper_index, _ in wanting:
                self._put(shaper_index, address, lladdr=link_address, state=_NUD_STALE)

    def _use(self, master_index: int, address: Address) -> None:
        """Let the master resolve an address, as if a packet had been sent to it."""
        family, destination = address
        self._netlink.replace_neighbour(
            ifindex=master_index,
            family=family,
            dst=destination,
            flags=_NTF_USE,
            state=0,
        )
        if family == socket.AF_INET6:
            source = self._netlink.solicitation_source(master_index, destination)
            if source is not None:
                self._solicit(master_index, source, destination)

    def _solicit(self, master_index: int, source: str, destination: str) -> None:
        """Ask in the kernel's place, which asks from a link-local address or not at all."""
        for link in map(parse_link, self._netlink.link(master_index)):
            try:
                self._send(link.ifindex, link.address, source, destination)
            except OSError as error:
                _log.debug("cannot solicit %s on %s: %s", destination, link.ifname, error)

    def _learned(self, message: Message) -> None:
        """Write what a master knows of an address to every shaper that asked for it."""
        address = _address(message)
        if address is None:
            return
        for shaper_index, delegation in self._wanting(message["ifindex"], address):
            self._write(shaper_index, delegation, address, message)

    def _wanting(self, master_index: int, address: Address) -> list[tuple[int, _Delegation]]:
        """Return the shapers that asked this master for an address."""
        return [
            (shaper_index, delegation)
            for shaper_index, delegation in self._delegations.items()
            if address in delegation.wanted and self._resolver(delegation) == master_index
        ]

    def _write(
        self, shaper_index: int, delegation: _Delegation, address: Address, message: Message
    ) -> None:
        link_address = message.get_attr("NDA_LLADDR")
        if message["state"] & _NUD_VALID and link_address:
            is_exempt = len(delegation.wanted) <= _MOST_EXEMPT
            self._put(
                shaper_index,
                address,
                lladdr=link_address,
                state=_NUD_REACHABLE,
                flags=_NTF_EXT_LEARNED if is_exempt else 0,
            )
        elif message["state"] & _NUD_FAILED:
            delegation.wanted.discard(address)
            self._put(shaper_index, address, state=_NUD_FAILED)

    def _put(self, shaper_index: int, address: Address, **attributes: object) -> None:
        """Write an entry of a shaper; one whose device is gone is passed over."""
        family, destination = address
        try:
            self._netlink.replace_neighbour(
                ifindex=shaper_index,
                family=family,
                dst=destination,
                protocol=PROTOCOL,
                **attributes,
            )
        except KernelRefused as error:
            _log.debug("device %d: %s", shaper_index, error)

    def _check_one(
        self,
        shaper_index: int,
        delegation: _Delegation,
        address: Address,
        own: Message,
        known: Message | None,
    ) -> bool:
        """Put one entry right; return whether it was wrong."""
        is_known = known is not None and bool(known["state"] & _NUD_VALID)
        if own["state"] & _NUD_UNANSWERED:  # its question was lost, or the master's answer
            is_wrong = is_known or address not in delegation.wanted
            if is_wrong:
                self._solicited(own)
            return is_wrong
        if not own["state"] & _NUD_RESOLVABLE or own.get_attr("NDA_PROTOCOL") != PROTOCOL:
            return False
        delegation.wanted.add(address)
        if known is not None and is_known:
            if own.get_attr("NDA_LLADDR") == known.get_attr("NDA_LLADDR"):
                return False
            self._write(shaper_index, delegation, address, known)
            return True
        if own["flags"] & _NTF_EXT_LEARNED and _is_unused(own):
            self._put(shaper_index, address, lladdr=own.get_attr("NDA_LLADDR"), state=_NUD_STALE)
        return False

    def _tell(self, ifindex: int, error: ShaperError) -> None:
        """Log a refusal, once in a while: the kernel asks every second until it is answered."""
        now = time.monotonic()
        if now - self._told_at.get(ifindex, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._told_at[ifindex] = now
            _log.warning("neighbour of device %d: %s", ifindex, error)


def _is_unused(entry: Message) -> bool:
    unused = entry.get_attr("NDA_CACHEINFO")
    return bool(entry["state"] & _NUD_STALE) and (unused or 0) >= _UNUSED_CENTISECONDS


def _by_device(messages: Iterable[Message]) -> dict[int, dict[Address, Message]]:
    found: dict[int, dict[Address, Message]] = {}
    for message in messages:
        address = _address(message)
        if address is not None:
            found.setdefault(message["ifindex"], {})[address] = message
    return found


def _address(message: Message) -> Address | None:
    if message["family"] not in (socket.AF_INET, socket.AF_INET6):
        return None
    destination = message.get_attr("NDA_DST")
    return None if destination is None else (message["family"], destination)
