"""Netlink messages as the kernel in memory sends them."""

from __future__ import annotations

import socket
import struct
from typing import Any

from shaper.kernel.tap import MARK
from shaper.model import Link

# Specified: include/uapi/linux/if.h, if_arp.h, if_link.h.
_IFF_UP = 0x1
_ARPHRD_ETHER = 1
_IFF_NOARP = 0x80
_IFF_LOWER_UP = 0x10000
_MACVLAN_MODE_PASSTHRU = 8

_ATTRIBUTE_HEADER = struct.Struct("=HH")
_U32 = struct.Struct("=I")

# Chosen: what a new TAP has.
_TAP_MTU = 1500
_TAP_RING_FRAMES = 1000


class MemoryMessage(dict[str, Any]):
    """A decoded netlink message: its fields, and its attributes beside them."""

    def __init__(self, event: str, attributes: dict[str, object], **fields: object) -> None:
        super().__init__(event=event, **fields)
        self._attributes = attributes

    def get_attr(self, name: str) -> Any:
        """Return an attribute, or None."""
        return self._attributes.get(name)


def tap_attribute(group: int | None = MARK, owner: int | None = 0) -> bytes:
    """Return what the kernel tells of a TAP with a virtio-net header."""
    numbers = {1: owner, 2: group}
    data = b"".join(_attribute(n, _U32.pack(v)) for n, v in numbers.items() if v is not None)
    data += _attribute(3, b"\2") + _attribute(4, b"\0") + _attribute(5, b"\1")
    return _attribute(1, b"tun\0") + _attribute(2, data)


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return _ATTRIBUTE_HEADER.pack(_ATTRIBUTE_HEADER.size + len(value), kind) + value + padding


def link_message(
    link: Link, alias: str = "", event: str = "RTM_NEWLINK", tap: bytes | None = None
) -> MemoryMessage:
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
        "IFLA_LINKINFO": tap,
        "IFLA_PROP_LIST": link.altnames,
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


def new_tap(ifindex: int, ifname: str) -> Link:
    """Return a TAP as the kernel makes it."""
    return Link(
        ifindex=ifindex,
        ifname=ifname,
        mtu=_TAP_MTU,
        address=bytes([2, 0, 0, 0, 0, ifindex]),
        arphrd=_ARPHRD_ETHER,
        is_up=False,
        is_running=True,
        operstate="DOWN",
        txqueuelen=_TAP_RING_FRAMES,
    )
