"""The packet sockets of all masters: one for each master, which its shapers share.

Opening and binding a packet socket takes the kernel 13 ms and closing it another 16, because it
waits for an RCU grace period each time. With a socket of its own for each of 1000 shapers that was
half a minute, most of it in the process that moves frames. A socket for sending has no state that
belongs to one shaper but the room for frames under way, for which the shapers of a master compete
in its queue anyhow.

The supervisor keeps each socket open as long as a shaper uses it. What a forwarder closes is then
never the last reference, and costs nothing there. The last one is closed by a thread.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from shaper.errors import KernelRefused
from shaper.model import Framing

# Chosen. Threads that wait at the same time share a grace period: 1000 closes take 0.2 s.
_CLOSING_THREADS = 128

Opener = Callable[[str, Framing, int], socket.socket]
IsBound = Callable[[socket.socket, int], bool]


@dataclass
class _Shared:
    socket: socket.socket
    users: set[Hashable] = field(default_factory=set)


class MasterSockets:
    """Lends sockets to users, of which each has one at a time.

    Args:
        opener: opens a socket, by name and index of its master.
        is_bound_to: whether a socket leads to the device of an index.
    """

    def __init__(self, opener: Opener, is_bound_to: IsBound) -> None:
        self._opener = opener
        self._is_bound_to = is_bound_to
        self._shared: dict[Hashable, _Shared] = {}
        self._lent: dict[Hashable, Hashable] = {}  # the key of a user's socket, by user
        self._closers = ThreadPoolExecutor(_CLOSING_THREADS, "closing")

    def lend(
        self,
        user: Hashable,
        master: str,
        master_index: int,
        framing: Framing,
        purpose: Hashable = None,
    ) -> socket.socket:
        """Return the socket of a master, for as long as its user does not give it back.

        Args:
            user: what it is lent to.
            master: the name of the master.
            master_index: its index; a socket that was bound to a device of this index which is
                gone is not lent again.
            framing: how frames reach it.
            purpose: sockets that are set up differently, by a mark say, are not shared.

        Raises KernelRefused or NotPermitted.
        """
        key = (master_index, framing, purpose)
        shared = self._shared.get(key)
        if shared is None or not self._is_bound_to(shared.socket, master_index):
            shared = self._open(key, master, master_index, framing)
        shared.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # of a time when it was down
        if user not in shared.users:
            self.give_back(user)
            shared.users.add(user)
            self._lent[user] = key
        return shared.socket

    def give_back(self, user: Hashable) -> None:
        """End a loan, if there is one. The forwarder must have let go of the socket before."""
        key = self._lent.pop(user, None)
        shared = self._shared.get(key)
        if shared is None:
            return
        shared.users.discard(user)
        if not shared.users:
            del self._shared[key]
            self._close(shared.socket)

    def close(self) -> None:
        """Close every socket, and return when that is done."""
        for shared in self._shared.values():
            self._close(shared.socket)
        self._shared.clear()
        self._lent.clear()
        self._closers.shutdown()

    def _open(self, key: Hashable, master: str, master_index: int, framing: Framing) -> _Shared:
        """Replace a socket after its device has gone, for all its users."""
        opened = _Shared(self._opener(master, framing, master_index))
        if not self._is_bound_to(opened.socket, master_index):
            self._close(opened.socket)
            raise KernelRefused(f"{master} is another device now", errno.ENODEV)
        stale = self._shared.get(key)
        if stale is not None:
            opened.users = stale.users
            self._close(stale.socket)
        self._shared[key] = opened
        return opened

    def _close(self, stale: socket.socket) -> None:
        self._closers.submit(stale.close)
