"""Who may change things: root, and members of the group that owns the service.

Taken from the socket's peer credentials (unix(7), SO_PEERCRED and SO_PEERGROUPS), which the kernel
vouches for, and never from a message.
"""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

# Specified: include/uapi/asm-generic/socket.h; struct ucred.
SO_PEERGROUPS = 59
SO_PASSRIGHTS = 83
_UCRED = struct.Struct("3i")

# Specified by the socket module, whose buffer ends at 1024 bytes: a caller in more groups than
# this is judged by its primary group alone.
_MAX_GROUPS = 256

ROOT = 0


@dataclass(frozen=True)
class Peer:
    """The process that connected: its user, its groups, and itself (0 if it cannot be seen)."""

    uid: int
    gids: frozenset[int]
    pid: int = 0

    @property
    def is_root(self) -> bool:
        """Whether it is served first and may always connect."""
        return self.uid == ROOT


def uid_of(sock: socket.socket) -> int:
    """Return the user that connected a Unix socket. Raises OSError."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(credentials)[1]
    return uid


def peer_of(sock: socket.socket) -> Peer:
    """Return the process that connected a Unix socket. Raises OSError."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(credentials)
    try:
        packed = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * _MAX_GROUPS)
    except OSError:
        packed = b""
    return Peer(uid, frozenset({gid, *memoryview(packed).cast("I")}), pid)


def may_change(peer: Peer, group: str, is_forwarder: Callable[[int], bool]) -> bool:
    """Whether a caller may change things, where `group` owns the service.

    A forwarder may not. In the service it bears the daemon's own user and group, so both are
    refused there: no person logs in as that user. A daemon of root's has forwarders of another
    user; where root could not change it, the process tells.

    Args:
        peer: the caller.
        group: whose members may.
        is_forwarder: whether a process is a forwarder of ours, or was started by one.
    """
    own = os.geteuid()
    if own != ROOT and peer.uid == own:
        return False
    if not (peer.uid == ROOT or gid_of(group) in peer.gids):
        return False
    return not is_forwarder(peer.pid)


def refuse_descriptors(listener: socket.socket) -> None:
    """Let nobody send descriptors to who is accepted here, where the kernel can (Linux 6.16).

    They are never taken (`recv` has no room for them), but closing them is work of the reader's,
    and takes 16 ms for each packet socket.
    """
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)


def gid_of(group: str) -> int | None:
    """Return a group's number; None if there is no such group."""
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None
