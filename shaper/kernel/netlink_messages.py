"""Netlink messages as they are read: cheaply, an attribute when it is asked for.

pyroute2 decodes what is rare. Devices, neighbours and addresses are told of in several messages
for each change, with up to sixty attributes, most of which are not needed here: reading a device
takes pyroute2 0.28 ms, and `LinkMessage` a tenth of it (measured). All are used in the same way.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
)
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

# Specified: include/uapi/linux/netlink.h, rtnetlink.h, if_link.h, neighbour.h, if_addr.h, ipv6.h.
NLMSG_HEADER = struct.Struct("=IHHII")  # length, type, flags, serial number, port
IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
ATTRIBUTE_HEADER = struct.Struct("=HH")  # length, type
_NLA_TYPE_MASK = 0x3FFF
NLA_ALIGNMENT = 4
_IFLA_ALT_IFNAME = 53
_OPERSTATES = ("UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP")
_CACHEINFO = struct.Struct("=IIII")  # confirmed, used, updated, references; in 1/100 s ago
_DEVCONF_MTU6 = 2
_SENT_PACKETS = struct.Struct("=8xQ")  # of struct rtnl_link_stats64: behind those received

Message = Any  # a decoded pyroute2 nlmsg, or the like: a mapping with get_attr
Attribute = tuple[tuple[int, ...], Callable[[bytes], Any]]  # where it lies, and how it is read

_MARSHAL = MarshalRtnl()


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="surrogateescape")


def _link_address(value: bytes) -> str:
    return value.hex(":")


def _ip_address(value: bytes) -> str | None:
    if len(value) not in (4, 16):
        return None
    return socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)


def _operstate(value: bytes) -> str:
    number = _number(value)
    return _OPERSTATES[number] if number < len(_OPERSTATES) else "UNKNOWN"


def _ipv6_mtu(value: bytes) -> int:
    return _number(value[4 * _DEVCONF_MTU6 : 4 * _DEVCONF_MTU6 + 4])


def _centiseconds_unused(value: bytes) -> int:
    return int(_CACHEINFO.unpack_from(value)[1])


def _sent_packets(value: bytes) -> int:
    return int(_SENT_PACKETS.unpack_from(value)[0])


def _altnames(value: bytes) -> tuple[str, ...]:
    properties = attributes(value, 0, len(value))
    return tuple(_text(each) for number, each in properties if number == _IFLA_ALT_IFNAME)


_LINK_ATTRIBUTES: dict[str, Attribute] = {
    "IFLA_ADDRESS": ((1,), _link_address),
    "IFLA_IFNAME": ((3,), _text),
    "IFLA_MTU": ((4,), _number),
    "IFLA_LINK": ((5,), _number),
    "IFLA_MASTER": ((10,), _number),
    "IFLA_TXQLEN": ((13,), _number),
    "IFLA_OPERSTATE": ((16,), _operstate),
    "IFLA_LINKINFO": ((18,), bytes),
    "IFLA_INFO_KIND": ((18, 1), _text),
    "IFLA_INFO_DATA": ((18, 2), bytes),
    "IFLA_MACVLAN_MODE": ((18, 2, 1), _number),  # of these kinds only: see `links`
    "IFLA_INFO_SLAVE_KIND": ((18, 4), _text),
    "IFLA_IFALIAS": ((20,), _text),
    "IFLA_INET6_CONF": ((26, socket.AF_INET6, 2), _ipv6_mtu),
    "IFLA_INET6_ADDR_GEN_MODE": ((26, socket.AF_INET6, 8), _number),
    "IFLA_STATS64": ((23,), _sent_packets),
    "IFLA_LINK_NETNSID": ((37,), _number),
    "IFLA_PROP_LIST": ((52,), _altnames),
}
_NEIGHBOUR_ATTRIBUTES: dict[str, Attribute] = {
    "NDA_DST": ((1,), _ip_address),
    "NDA_LLADDR": ((2,), _link_address),
    "NDA_CACHEINFO": ((3,), _centiseconds_unused),
    "NDA_PROTOCOL": ((12,), _number),
}
_ADDRESS_ATTRIBUTES: dict[str, Attribute] = {
    "IFA_ADDRESS": ((1,), _ip_address),
    "IFA_LOCAL": ((2,), _ip_address),
    "IFA_FLAGS": ((8,), _number),
    "IFA_PROTO": ((11,), _number),  # unknown to pyroute2 before 0.9
}


class _LazyMessage(dict[str, Any]):
    """A message that reads an attribute when it is asked for."""

    known: ClassVar[dict[str, Attribute]]

    def __init__(self, data: bytes, start: int, end: int, **fields: object) -> None:
        super().__init__(fields)
        self._data = data
        self._span = (start, end)
        self._tables: dict[tuple[int, ...], dict[int, bytes]] = {}

    def get_attr(self, name: str) -> Any:
        """Return an attribute, or None if the message has none of it."""
        path, read = self.known[name]
        value = self._table(path[:-1]).get(path[-1])
        return None if value is None else read(value)

    def _table(self, path: tuple[int, ...]) -> dict[int, bytes]:
        """Return the attributes inside the one at a path, or those of the message itself."""
        table = self._tables.get(path)
        if table is None:
            if path:
                value = self._table(path[:-1]).get(path[-1], b"")
                table = dict(attributes(value, 0, len(value)))
            else:
                table = dict(attributes(self._data, *self._span))
            self._tables[path] = table
        return table


class LinkMessage(_LazyMessage):
    """What RTM_NEWLINK or RTM_DELLINK tells of a device."""

    known = _LINK_ATTRIBUTES

    def __init__(self, kind: int, data: bytes, start: int, end: int) -> None:
        family, ifi_type, index, flags, _ = IFINFOMSG.unpack_from(data, start)
        fields = {"family": family, "ifi_type": ifi_type, "index": index, "flags": flags}
        super().__init__(data, start + IFINFOMSG.size, end, event=_EVENTS[kind], **fields)


class NeighbourMessage(_LazyMessage):
    """What RTM_NEWNEIGH, RTM_DELNEIGH or RTM_GETNEIGH tells of a neighbour entry."""

    known = _NEIGHBOUR_ATTRIBUTES

    def __init__(self, kind: int, data: bytes, start: int, end: int) -> None:
        family, ifindex, state, flags, _ = NDMSG.unpack_from(data, start)
        fields = {"family": family, "ifindex": ifindex, "state": state, "flags": flags}
        super().__init__(data, start + NDMSG.size, end, event=_EVENTS[kind], **fields)


class AddressMessage(_LazyMessage):
    """What RTM_NEWADDR or RTM_DELADDR tells of an address."""

    known = _ADDRESS_ATTRIBUTES

    def __init__(self, kind: int, data: bytes, start: int, end: int) -> None:
        family, prefixlen, flags, scope, index = IFADDRMSG.unpack_from(data, start)
        fields = {"family": family, "prefixlen": prefixlen, "scope": scope, "index": index}
        super().__init__(
            data, start + IFADDRMSG.size, end, event=_EVENTS[kind], flags=flags, **fields
        )


_EVENTS = {
    RTM_NEWLINK: "RTM_NEWLINK",
    RTM_DELLINK: "RTM_DELLINK",
    RTM_NEWNEIGH: "RTM_NEWNEIGH",
    RTM_DELNEIGH: "RTM_DELNEIGH",
    RTM_GETNEIGH: "RTM_GETNEIGH",
    RTM_NEWADDR: "RTM_NEWADDR",
    RTM_DELADDR: "RTM_DELADDR",
}
_READERS: dict[int, Callable[[int, bytes, int, int], Message]] = {
    RTM_NEWLINK: LinkMessage,
    RTM_DELLINK: LinkMessage,
    RTM_NEWNEIGH: NeighbourMessage,
    RTM_DELNEIGH: NeighbourMessage,
    RTM_GETNEIGH: NeighbourMessage,
    RTM_NEWADDR: AddressMessage,
    RTM_DELADDR: AddressMessage,
}


def decode_events(data: bytes) -> Iterator[Message]:
    """Return the messages of a datagram that was not asked for: events."""
    for kind, _, start, end in split_datagram(data):
        yield from decode_one(kind, data, start, end)


def decode_one(kind: int, data: bytes, start: int, end: int) -> list[Message]:
    """Return the message that begins and ends there, behind its header."""
    if kind in _READERS:
        return [_READERS[kind](kind, data, start, end)]
    return list(_MARSHAL.parse(data[start - NLMSG_HEADER.size : end]))


def split_datagram(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Return type, serial number, and where it begins and ends behind its header, of each."""
    for kind, _, serial, start, end in split_with_flags(data):
        yield kind, serial, start, end


def split_with_flags(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Return the same with the flags behind the type."""
    start = 0
    while start + NLMSG_HEADER.size <= len(data):
        length, kind, flags, serial, _ = NLMSG_HEADER.unpack_from(data, start)
        yield kind, flags, serial, start + NLMSG_HEADER.size, start + length
        start += _aligned(max(length, NLMSG_HEADER.size))


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Return type and value of each attribute between two places."""
    header, unpack = ATTRIBUTE_HEADER.size, ATTRIBUTE_HEADER.unpack_from
    while start + header <= end:  # fifty times for each event of a device
        length, kind = unpack(data, start)
        yield kind & _NLA_TYPE_MASK, data[start + header : start + length]
        start += (length + NLA_ALIGNMENT - 1) & -NLA_ALIGNMENT if length > header else header


def _aligned(length: int) -> int:
    return (length + NLA_ALIGNMENT - 1) & -NLA_ALIGNMENT
