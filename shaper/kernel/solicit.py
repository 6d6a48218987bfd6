"""One neighbour solicitation of our own, where the kernel cannot send it. RFC 4861, section 4.3.

The kernel takes the source of a solicitation from the packet that waits for the answer. Nothing
waits on a master that is merely asked to resolve (NTF_USE): it then uses its link-local address,
and while that is tentative, or if there is none, it sends nothing. So the packet is made here,
from another address of the master, and the answer goes into the entry that NTF_USE has made. It
leaves by a packet socket: the service is not allowed any that speaks IP.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

# Specified: RFC 8200, 3; RFC 4861, 4.3 and 4.6.1; RFC 4291, 2.7.1; RFC 2464, 7.
_IPV6_HEADER = struct.Struct("!IHBB16s16s")  # version 6, length, next header, hop limit, addresses
_NEIGHBOUR_SOLICITATION = struct.Struct("!BBHI16s")  # type, code, checksum, reserved, target
_TYPE = 135
_SOURCE_LINK_ADDRESS = struct.Struct("!BB6s")  # type, length in units of 8 bytes, address
_SOLICITED_NODE_PREFIX = bytes.fromhex("ff0200000000000000000001ff")
_ETHERNET_GROUP_PREFIX = bytes.fromhex("3333")
_HOP_LIMIT = 255
_ETHERTYPE_IPV6 = 0x86DD
_ETHERNET_BYTES = 6  # of an address
_SOCKADDR_LL = struct.Struct("=HHiHBB8s")  # include/uapi/linux/if_packet.h; the protocol is htons

_libc = ctypes.CDLL(None, use_errno=True)


def solicit(master: int, link_address: bytes, source: str, target: str) -> None:
    """Multicast a solicitation for an IPv6 address on a device. Raises OSError.

    Args:
        master: the device's index.
        link_address: its six bytes, for the answer.
        source: an IPv6 address of the device.
        target: the address that is looked for.
    """
    group = _SOLICITED_NODE_PREFIX + socket.inet_pton(socket.AF_INET6, target)[-3:]
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_PACKET, kind, 0) as sock:
        packet = solicitation(link_address, source, target)
        address = _SOCKADDR_LL.pack(
            socket.AF_PACKET,
            socket.htons(_ETHERTYPE_IPV6),
            master,
            0,
            0,
            _ETHERNET_BYTES,
            _ETHERNET_GROUP_PREFIX + group[-4:],
        )
        # The socket module takes names alone, and they pass from one device to another.
        if _libc.sendto(sock.fileno(), packet, len(packet), 0, address, len(address)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def solicitation(link_address: bytes, source: str, target: str) -> bytes:
    """Return the IPv6 packet that asks for `target`; the arguments are those of `solicit`."""
    packed = socket.inet_pton(socket.AF_INET6, target)
    addresses = (
        socket.inet_pton(socket.AF_INET6, source),
        _SOLICITED_NODE_PREFIX + packed[-3:],
    )
    option = _SOURCE_LINK_ADDRESS.pack(1, 1, link_address)
    length = _NEIGHBOUR_SOLICITATION.size + len(option)
    pseudo_header = b"".join(addresses) + struct.pack("!II", length, socket.IPPROTO_ICMPV6)
    unsummed = _NEIGHBOUR_SOLICITATION.pack(_TYPE, 0, 0, 0, packed) + option
    checksum = _checksum(pseudo_header + unsummed)
    header = _IPV6_HEADER.pack(6 << 28, length, socket.IPPROTO_ICMPV6, _HOP_LIMIT, *addresses)
    return header + _NEIGHBOUR_SOLICITATION.pack(_TYPE, 0, checksum, 0, packed) + option


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
