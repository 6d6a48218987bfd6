"""A socket that hears what rtnetlink tells of its own accord, and is told when it lost something.

It is a plain socket because its overflow must be survivable: ENOBUFS says that events were lost,
after which the owner asks for everything anew and carries on. (pyroute2's own receiving socket
has to be thrown away then.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

from shaper.kernel.wire import DATAGRAM_BYTES

_SO_RCVBUFFORCE = 33  # specified: asm-generic/socket.h


class EventSocket:
    """Listens to groups of events in this network namespace.

    Args:
        groups: which, as bits (RTMGRP_*).
        buffer_bytes: of memory for events that nothing has read yet.
        on_readable: called by the event loop while there are some.
    """

    def __init__(self, groups: int, buffer_bytes: int, on_readable: Callable[[], None]) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        # Without CAP_NET_ADMIN no shaper can be made either, and making one says so in words.
        with contextlib.suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
        self._socket.bind((0, groups))
        asyncio.get_running_loop().add_reader(self._socket, on_readable)

    def receive(self) -> bytes | None:
        """Return a datagram, None where there is none, and nothing where some were lost."""
        try:
            data = self._socket.recv(DATAGRAM_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return b""
        return data if len(data) < DATAGRAM_BYTES else b""  # it may have been cut off

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
