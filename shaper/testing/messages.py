"""Netlink messages as the kernel in memory sends them."""

from __future__ import annotations

import socket
from typing import Any

from shaper.model import Link

# Specified: include/uapi/linux/if.h, if_link.h.
_IFF_UP = 0x1
_IFF_NOARP = 0x80
_IFF_LOWER_UP = 0x10000
_MACVLAN_MODE_PASSTHRU = 8


class MemoryMessage(dict[str, Any]):
    """A decoded netlink message: its fields, and its attributes beside them."""

    def __init__(self, event: str, attributes: dict[str, object], **fields: object) -> None:
        super().__init__(event=event, **fields)
        self._attributes = attributes

    def get_attr(self, name: str) -> Any:
        """Return an attribute, or None."""
        return self._attributes.get(name)


def link_message(link: Link, alias: str = "", event: str = "RTM_NEWLINK") -> MemoryMessage:
    """Return the message that tells of a device: the reverse of `links.parse_link`."""
    attributes: dict[str, object] = {
        "IFLA_IFNAME": link.ifname,
        "IFLA_MTU": link.mtu,
        "IFLA_ADDRESS": link.address.hex(":"),
        "IFLA_OPERSTATE": link.operstate,
        "IFLA_TXQLEN": link.txqueuelen,
        "IFLA_LINK": link.lower,
        "IFLA_MASTER": link.upper,
        "IFLA_IFALIAS": alias,
        "IFLA_INFO_KIND": link.kind,
        "IFLA_INFO_SLAVE_KIND": link.port_kind,
        "IFLA_MACVLAN_MODE": _MACVLAN_MODE_PASSTHRU if link.takes_all else None,
        "IFLA_INET6_CONF": link.ipv6_mtu,
        "IFLA_INET6_ADDR_GEN_MODE": 0 if link.makes_link_local else None,
    }
    flags = _IFF_UP * link.is_up | _IFF_LOWER_UP * link.is_running | _IFF_NOARP * link.is_noarp
    fields = {"index": link.ifindex, "ifi_type": link.arphrd, "flags": flags}
    return MemoryMessage(event, attributes, family=socket.AF_UNSPEC, **fields)


def address_message(ifindex: int, address: str, event: str = "RTM_NEWADDR") -> MemoryMessage:
    """Return the message that tells of an address, given as `10.0.0.1/24`."""
    local, _, length = address.partition("/")
    fields = {
        "index": ifindex,
        "family": socket.AF_INET6 if ":" in local else socket.AF_INET,
        "prefixlen": int(length),
        "scope": 0,
    }
    return MemoryMessage(event, {"IFA_ADDRESS": local}, **fields)
