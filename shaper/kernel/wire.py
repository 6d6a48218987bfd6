"""Netlink messages on their way: a request and its answer, and what messages tell, read cheaply.

A request is carried out while it is sent (net/netlink/af_netlink.c, netlink_unicast_kernel): when
`send` returns, the answer waits to be received, and there is nothing that an event loop could do
better meanwhile. One that passes through asyncio takes five times as long.

pyroute2 encodes and decodes, but for what tells of devices. There are several such messages for
each change, of some sixty attributes, most of which nobody here asks for: reading a message takes
pyroute2 0.28 ms, and `LinkMessage` a tenth of it (measured). It is used in the same way.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_NEWLINK
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

# Specified: include/uapi/linux/netlink.h, rtnetlink.h, if_link.h; bits/socket.h.
_SOL_NETLINK = 270
_NETLINK_GET_STRICT_CHK = 12
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP = 0x300
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSG_HEADER = struct.Struct("=IHHII")  # length, type, flags, serial number, port
_ERROR_NUMBER = struct.Struct("=i")  # negative; 0 acknowledges
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ATTRIBUTE_HEADER = struct.Struct("=HH")  # length, type
_NLA_TYPE_MASK = 0x3FFF
_NLA_ALIGNMENT = 4
_OPERSTATES = ("UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP")

# The flags of every request, and of one for everything there is.
REQUEST = _NLM_F_REQUEST | _NLM_F_ACK
DUMP = _NLM_F_REQUEST | _NLM_F_DUMP

# Chosen.
DATAGRAM_BYTES = 1 << 16
_ANSWER_SECONDS = 5  # it is there at once, or something is wrong

Message = Any  # a decoded pyroute2 nlmsg, or the like: a mapping with get_attr

_MARSHAL = MarshalRtnl()


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="surrogateescape")


def _address(value: bytes) -> str:
    return value.hex(":")


def _operstate(value: bytes) -> str:
    return _OPERSTATES[_number(value)]


_LINK_ATTRIBUTES: dict[str, tuple[int, Callable[[bytes], Any]]] = {
    "IFLA_ADDRESS": (1, _address),
    "IFLA_IFNAME": (3, _text),
    "IFLA_MTU": (4, _number),
    "IFLA_LINK": (5, _number),
    "IFLA_MASTER": (10, _number),
    "IFLA_TXQLEN": (13, _number),
    "IFLA_OPERSTATE": (16, _operstate),
    "IFLA_IFALIAS": (20, _text),
    "IFLA_LINK_NETNSID": (37, _number),
}


class Wire:
    """A rtnetlink socket for requests."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        # Strict checking lets the kernel filter a dump, so that a large routing table is not read.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._serial = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, kind: int, flags: int, request: Message) -> list[Message]:
        """Return the messages of the answer. Raises OSError, with the kernel's errno."""
        self._serial += 1
        request["header"] |= {"type": kind, "flags": flags, "sequence_number": self._serial}
        request.encode()
        self._socket.send(request.data)
        found: list[Message] = []
        while True:
            data = self._socket.recv(DATAGRAM_BYTES)
            for kind, serial, start, end in split(data):
                if serial != self._serial:  # of a request whose answer was not waited for
                    continue
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    _raise_error(data, start)
                    return found
                found += _decode(kind, data, start, end)


def decode(data: bytes) -> Iterator[Message]:
    """Return the messages of a datagram that nobody asked for: events."""
    for kind, _, start, end in split(data):
        yield from _decode(kind, data, start, end)


class LinkMessage(dict[str, Any]):
    """What RTM_NEWLINK or RTM_DELLINK tells of a device; an attribute is read when asked for."""

    def __init__(self, kind: int, data: bytes, start: int, end: int) -> None:
        family, ifi_type, index, flags, _ = _IFINFOMSG.unpack_from(data, start)
        event = "RTM_NEWLINK" if kind == RTM_NEWLINK else "RTM_DELLINK"
        super().__init__(event=event, family=family, ifi_type=ifi_type, index=index, flags=flags)
        self._attributes = dict(attributes(data, start + _IFINFOMSG.size, end))

    def get_attr(self, name: str) -> Any:
        """Return an attribute, or None if the message has none of it."""
        number, read = _LINK_ATTRIBUTES[name]
        value = self._attributes.get(number)
        return None if value is None else read(value)


def split(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Return type, serial number, and where it begins and ends behind its header, of each."""
    start = 0
    while start + _NLMSG_HEADER.size <= len(data):
        length, kind, _, serial, _ = _NLMSG_HEADER.unpack_from(data, start)
        yield kind, serial, start + _NLMSG_HEADER.size, start + length
        start += _aligned(max(length, _NLMSG_HEADER.size))


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Return type and value of each attribute between two places of a datagram."""
    while start + _ATTRIBUTE_HEADER.size <= end:
        length, kind = _ATTRIBUTE_HEADER.unpack_from(data, start)
        yield kind & _NLA_TYPE_MASK, data[start + _ATTRIBUTE_HEADER.size : start + length]
        start += _aligned(max(length, _ATTRIBUTE_HEADER.size))


def _aligned(length: int) -> int:
    return (length + _NLA_ALIGNMENT - 1) & -_NLA_ALIGNMENT


def _raise_error(data: bytes, start: int) -> None:
    (number,) = _ERROR_NUMBER.unpack_from(data, start)
    if number:
        raise OSError(-number, os.strerror(-number))


def _decode(kind: int, data: bytes, start: int, end: int) -> list[Message]:
    if kind in (RTM_NEWLINK, RTM_DELLINK):
        return [LinkMessage(kind, data, start, end)]
    return list(_MARSHAL.parse(data[start - _NLMSG_HEADER.size : end]))
