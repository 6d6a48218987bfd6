"""Sockets of clients, let go of without letting go, on the event loop, of what they sent along.

Before Linux 6.16 (SO_PASSRIGHTS) a client can send descriptors to any stream (SCM_RIGHTS). They
are never taken, but the process that reads or closes the stream closes them for good, and a packet
socket takes 16 ms: a hundred of them kept every caller waiting for 1.5 s. So a piece is looked at
before it is read (MSG_PEEK tells of descriptors and closes none), and a socket with unread bytes
is closed by a thread. The place of a client is given back only then, which bounds both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable

from shaper.control.access import SO_PASSRIGHTS

# Chosen: at that many nobody is let in but by those who may change things.
MOST_THREADS = 64


def accepts_descriptors(sock: socket.socket) -> bool:
    """Whether the other end can send descriptors here."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS) != 0
    except OSError:
        return True


def bytes_without_descriptors(sock: socket.socket, most: int) -> int | None:
    """Return how many bytes a read can take; None where descriptors come with them.

    0 is the end of the stream. Raises OSError, BlockingIOError if there is nothing yet.
    """
    data, _, flags, _ = sock.recvmsg(most, 0, socket.MSG_PEEK)
    return None if flags & socket.MSG_CTRUNC else len(data)


class Closer:
    """Closes sockets, those that may hold descriptors in a thread each."""

    def __init__(self) -> None:
        self._threads = 0

    @property
    def is_crowded(self) -> bool:
        """Whether so many are being closed that no more should be let in."""
        return self._threads >= MOST_THREADS

    def close(self, sock: socket.socket, then: Callable[[], None] | None = None) -> None:
        """Close a socket, and call back once it is; at once where that takes no time."""
        if accepts_descriptors(sock) and _has_unread(sock):
            self._threads += 1
            loop, descriptor = asyncio.get_running_loop(), sock.detach()
            argv = (loop, descriptor, then)
            threading.Thread(target=self._close_elsewhere, args=argv, daemon=True).start()
            return
        sock.close()
        if then is not None:
            then()

    def _close_elsewhere(
        self,
        loop: asyncio.AbstractEventLoop,
        descriptor: int,
        then: Callable[[], None] | None,
    ) -> None:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._closed, then)

    def _closed(self, then: Callable[[], None] | None) -> None:
        self._threads -= 1
        if then is not None:
            then()


def _has_unread(sock: socket.socket) -> bool:
    """Whether something waits to be read, after which no more can come."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
