"""One neighbour solicitation of our own, where the kernel cannot send it. RFC 4861, section 4.3.

The kernel takes the source of a solicitation from the packet that waits for the answer. Nothing
waits on a master that is merely asked to resolve (NTF_USE): it then uses its link-local address,
and while that is tentative, or if there is none, it sends nothing. A raw socket has the kernel
choose among the master's other addresses. The answer goes into the entry that NTF_USE has made.
"""

from __future__ import annotations

import socket
import struct

# Specified: RFC 4861, 4.3 and 4.6.1; RFC 4291, 2.7.1.
_NEIGHBOUR_SOLICITATION = struct.Struct("!BBHI16s")  # type, code, checksum, reserved, target
_TYPE = 135
_SOURCE_LINK_ADDRESS = struct.Struct("!BB6s")  # type, length in units of 8 bytes, address
_SOLICITED_NODE_PREFIX = bytes.fromhex("ff0200000000000000000001ff")
_HOP_LIMIT = 255


def solicit(master: str, link_address: bytes, target: str) -> None:
    """Multicast a solicitation for an IPv6 address on a device.

    The kernel fills in source and checksum. Raises OSError: EADDRNOTAVAIL where the device has no
    address to ask from.

    Args:
        master: the device's name.
        link_address: its six bytes, for the answer.
        target: the address that is looked for.
    """
    packed = socket.inet_pton(socket.AF_INET6, target)
    question = _NEIGHBOUR_SOLICITATION.pack(_TYPE, 0, 0, 0, packed)
    question += _SOURCE_LINK_ADDRESS.pack(1, 1, link_address)
    group = socket.inet_ntop(socket.AF_INET6, _SOLICITED_NODE_PREFIX + packed[-3:])
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, master.encode() + b"\0")
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
        sock.sendto(question, (group, 0, 0, socket.if_nametoindex(master)))
