"""The IP addresses of this network namespace's devices, kept current by netlink events."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from shaper.kernel.netlink_messages import Message

# Specified: include/uapi/linux/rtnetlink.h.
_RT_SCOPE_LINK = 253

Entry = tuple[int, str]  # the device, and the address with its prefix length


class Addresses:
    """A table of addresses by device. IPv6 addresses of the link alone are not in it."""

    def __init__(self) -> None:
        self._by_index: dict[int, set[str]] = {}

    def of(self, ifindex: int | None) -> frozenset[str]:
        """Return the addresses of a device, as `10.0.0.1/24`."""
        return frozenset(self._by_index.get(ifindex, ())) if ifindex is not None else frozenset()

    def entries(self) -> set[Entry]:
        """Return all of them."""
        return {(ifindex, each) for ifindex, found in self._by_index.items() for each in found}

    def replace(self, messages: Iterable[Message]) -> set[int]:
        """Take a full dump; return the indices of the devices whose addresses have changed."""
        before = self._by_index
        self._by_index = {}
        for message in messages:
            self.update(message)
        indices = before.keys() | self._by_index.keys()
        return {each for each in indices if before.get(each) != self._by_index.get(each)}

    def update(self, message: Message) -> int | None:
        """Take one event; return the device's index if its addresses have changed."""
        entry = entry_of(message)
        if entry is None:
            return None
        ifindex, address = entry
        known = self._by_index.setdefault(ifindex, set())
        is_gone = message["event"] == "RTM_DELADDR"
        has_changed = (address in known) is is_gone
        (known.discard if is_gone else known.add)(address)
        if not known:
            del self._by_index[ifindex]
        return ifindex if has_changed else None


def entry_of(message: Message) -> Entry | None:
    """Return what a message tells of, or None for an address that is not kept."""
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if address is None or is_link_local(message):
        return None
    return message["index"], f"{address}/{message['prefixlen']}"


def is_link_local(message: Message) -> bool:
    """Whether an address is one of IPv6 that is good on its link alone."""
    return bool(message["family"] == socket.AF_INET6 and message["scope"] == _RT_SCOPE_LINK)
