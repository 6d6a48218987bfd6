"""Netlink requests as they are written: those that are made several times for each shaper.

The counterpart of `netlink_messages`, for the same reason: pyroute2 takes 0.3 ms to encode one,
which for a thousand shapers is a second of a start, and this a fraction of it. What is rare is
pyroute2's.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from shaper.kernel.netlink_messages import (
    ATTRIBUTE_HEADER,
    IFADDRMSG,
    IFINFOMSG,
    NDMSG,
    NLA_ALIGNMENT,
)

# Specified: include/uapi/linux/if_link.h, neighbour.h, if_addr.h.
_NDTMSG = struct.Struct("=Bxxx")  # family
_NUMBER = struct.Struct("=I")
_NDA_IFINDEX = 8
_NDTA_NAME = 1
_NDTA_PARMS = 6
_NDTPA_IFINDEX = 1
_IFLA_AF_SPEC = 26
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_PROTO = 1, 2, 8, 11
_IFLA_INET6_ADDR_GEN_MODE = 8


def link_request(ifindex: int, *, flags: int = 0, change: int = 0, **attributes: Any) -> bytes:
    """Return the body of RTM_SETLINK for a device, or without attributes of RTM_GETLINK.

    Args:
        ifindex: the device.
        flags: as they should be.
        change: which of them.
        attributes: any of `mtu`, `address` (bytes), `txqlen`, `ifalias`, `group`, `gso_max_size`,
            and `addr_gen_mode` of IPv6.
    """
    body = b"".join(_LINK_ATTRIBUTES[name](value) for name, value in attributes.items())
    return IFINFOMSG.pack(0, 0, ifindex, flags, change) + body


def addresses_request(family: int, ifindex: int) -> bytes:
    """Return the body of RTM_GETADDR for the addresses of one family that a device has."""
    return IFADDRMSG.pack(family, 0, 0, 0, ifindex)


def address_request(
    ifindex: int, address: str, prefixlen: int, *, flags: int | None = None, protocol: int = 0
) -> bytes:
    """Return the body of RTM_NEWADDR or RTM_DELADDR for an address of a device.

    Args:
        ifindex: the device.
        address: without its prefix length.
        prefixlen: that.
        flags: IFA_F_*, of RTM_NEWADDR.
        protocol: of RTM_NEWADDR; 0: none. Kernels before 5.18 know of none.
    """
    own = ip_address(address)
    family = socket.AF_INET if own.version == 4 else socket.AF_INET6
    body = IFADDRMSG.pack(family, prefixlen, 0, 0, ifindex) + _attribute(_IFA_ADDRESS, own.packed)
    if own.version == 4:
        body += _attribute(_IFA_LOCAL, own.packed)
    if flags is not None:
        body += _number(_IFA_FLAGS, flags)
    return body + (_attribute(_IFA_PROTO, bytes([protocol])) if protocol else b"")


def neighbours_request(ifindex: int | None) -> bytes:
    """Return the body of RTM_GETNEIGH for the entries of a device, or of all devices."""
    body = NDMSG.pack(0, 0, 0, 0, 0)
    return body if ifindex is None else body + _number(_NDA_IFINDEX, ifindex)


def neighbour_table_request(family: int, ifindex: int, **probes: int) -> bytes:
    """Return the body of RTM_SETNEIGHTBL for the parameters of a device.

    Args:
        family: AF_INET or AF_INET6.
        ifindex: the device.
        probes: any of `app_probes`, `ucast_probes`, `mcast_probes`.
    """
    table = b"arp_cache\0" if family == socket.AF_INET else b"ndisc_cache\0"
    parameters = _number(_NDTPA_IFINDEX, ifindex)
    parameters += b"".join(_number(_PROBES[name], value) for name, value in probes.items())
    return (
        _NDTMSG.pack(family) + _attribute(_NDTA_NAME, table) + _attribute(_NDTA_PARMS, parameters)
    )


def _attribute(kind: int, value: bytes) -> bytes:
    length = ATTRIBUTE_HEADER.size + len(value)
    return ATTRIBUTE_HEADER.pack(length, kind) + value + bytes(-length % NLA_ALIGNMENT)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, _NUMBER.pack(value))


def _address_generation(mode: int) -> bytes:
    inet6 = _attribute(socket.AF_INET6, _attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([mode])))
    return _attribute(_IFLA_AF_SPEC, inet6)


_PROBES = {"app_probes": 9, "ucast_probes": 10, "mcast_probes": 11}
_LINK_ATTRIBUTES: dict[str, Callable[[Any], bytes]] = {
    "address": lambda value: _attribute(1, value),
    "mtu": lambda value: _number(4, value),
    "txqlen": lambda value: _number(13, value),
    "ifalias": lambda value: _attribute(20, value.encode() + b"\0"),
    "addr_gen_mode": _address_generation,
    "group": lambda value: _number(27, value),
    "gso_max_size": lambda value: _number(41, value),
}
