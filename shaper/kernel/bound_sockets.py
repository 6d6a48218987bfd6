"""Which sockets are bound to a device (SO_BINDTODEVICE): one dump of NETLINK_SOCK_DIAG each.

Everybody may ask. Kinds of sockets that the kernel cannot list are left out.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from shaper.kernel.netlink_messages import split_datagram
from shaper.kernel.wire import DATAGRAM_BYTES, DUMP

# Specified: include/uapi/linux/netlink.h, sock_diag.h, inet_diag.h.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")  # family, protocol, extensions, states, socket
# family, state, timer, retransmissions, then ports, two addresses, interface, cookie of the
# socket, then expires, rqueue, wqueue, uid, inode.
_ANSWER = struct.Struct("!BBBBHH16s16s")
_REST = struct.Struct("=I8xIIIII")
_PROTOCOLS = {
    "tcp": socket.IPPROTO_TCP,
    "udp": socket.IPPROTO_UDP,
    "raw": socket.IPPROTO_RAW,
}

# Specified: include/net/tcp_states.h.
_TIME_WAIT_STATE = 6

# Chosen.
_ALL_STATES = 0xFFFFFFFF
_SECONDS = 0.2  # for all of a kind


class Bound(NamedTuple):
    """A socket that is bound to a device."""

    ifindex: int
    protocol: str
    local_port: int
    uid: int
    inode: int


def bound_sockets() -> tuple[list[Bound], bool]:
    """Return the TCP, UDP and raw sockets that are bound to a device, and whether it is all.

    It is not where there are more sockets than can be looked at.
    """
    found: list[Bound] = []
    is_complete = True
    for protocol, number in _PROTOCOLS.items():
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                found += _bound(protocol, number, family)
            except TimeoutError:
                is_complete = False
            except (OSError, struct.error):  # of a kind that cannot be listed
                continue
    return found, is_complete


def _bound(protocol: str, number: int, family: int) -> Iterator[Bound]:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as handle:
        until = time.monotonic() + _SECONDS
        handle.settimeout(_SECONDS)
        size = _HEADER.size + _REQUEST.size
        header = _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, DUMP, 1, 0)
        handle.send(header + _REQUEST.pack(family, number, 0, _ALL_STATES))
        while True:
            if time.monotonic() > until:
                raise TimeoutError
            data = handle.recv(DATAGRAM_BYTES)
            for message, _, start, _ in split_datagram(data):
                if message in (_NLMSG_ERROR, _NLMSG_DONE):
                    return
                _, state, _, _, port, _, _, _ = _ANSWER.unpack_from(data, start)
                rest = _REST.unpack_from(data, start + _ANSWER.size)
                ifindex, _, _, _, uid, inode = rest
                if ifindex and state != _TIME_WAIT_STATE:
                    yield Bound(ifindex, protocol, port, uid, inode)
