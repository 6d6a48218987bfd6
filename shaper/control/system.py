"""What the service asks of the operating system: a socket, who is behind it, and time it used."""

from __future__ import annotations

import socket
import time
from typing import Protocol

from shaper.control.access import Peer, peer_of, uid_of


class System(Protocol):
    """An operating system, as far as clients are concerned."""

    def unix_socket(self) -> socket.socket:
        """Return a stream socket to listen on. Raises OSError."""
        ...

    def uid_of(self, sock: socket.socket) -> int:
        """Return the user that connected. Raises OSError."""
        ...

    def peer_of(self, sock: socket.socket) -> Peer:
        """Return the process that connected. Raises OSError."""
        ...

    def used_ns(self) -> int:
        """Return what this thread has used of the processor."""
        ...


class LinuxSystem(System):
    """The one that runs this process."""

    def unix_socket(self) -> socket.socket:
        """Return a stream socket to listen on."""
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)

    def uid_of(self, sock: socket.socket) -> int:
        """Return the user that connected."""
        return uid_of(sock)

    def peer_of(self, sock: socket.socket) -> Peer:
        """Return the process that connected."""
        return peer_of(sock)

    def used_ns(self) -> int:
        """Return what this thread has used of the processor."""
        return time.thread_time_ns()


LINUX_SYSTEM = LinuxSystem()
