"""Who may change things: root, and members of the group that owns the service.

Taken from the socket's peer credentials (unix(7), SO_PEERCRED and SO_PEERGROUPS), which the kernel
vouches for, and never from a message.
"""

from __future__ import annotations

import grp
import os
import socket
import struct
from dataclasses import dataclass

# Specified: include/uapi/asm-generic/socket.h; struct ucred.
_SO_PEERGROUPS = 59
_UCRED = struct.Struct("3i")

# Specified by the socket module, whose buffer ends at 1024 bytes: a caller in more groups than
# this is judged by its primary group alone.
_MAX_GROUPS = 256


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a socket."""

    uid: int
    gids: frozenset[int]


def peer_of(sock: socket.socket) -> Peer:
    """Return the process that connected a Unix socket. Raises OSError."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, gid = _UCRED.unpack(credentials)
    try:
        packed = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MAX_GROUPS)
    except OSError:
        packed = b""
    return Peer(uid, frozenset({gid, *memoryview(packed).cast("I")}))


def may_change(peer: Peer, group: str) -> bool:
    """Whether a caller may change things, where `group` owns the service.

    Whoever the daemon itself runs as may, too: it could do the same without asking.
    """
    return peer.uid in (0, os.geteuid()) or _gid(group) in peer.gids


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None
