"""The listening socket: bound, and emptied fast enough that root is never kept waiting in it.

The kernel hands connections over in the order in which they came, so a client that floods the
backlog stands in front of root. Taking one costs some 20 us, so many are taken at a time, and
those that have no place are closed at once. That is not enough where several processes do nothing
but connect (root then waited 0.3 s), so those who may change things have a socket of their own
beside it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from shaper.control.access import refuse_descriptors
from shaper.control.system import LINUX_SYSTEM, System
from shaper.control.turns import Share
from shaper.errors import Busy, KernelRefused

# Chosen.
_BACKLOG = 128  # what stands in front of root; connect(2) blocks behind it
_ACCEPTING_SHARE = 0.25  # of a processor, for letting clients in and turning them away
_SAVED_NS = 4_000_000
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


class ControlListener:
    """Where clients connect.

    Args:
        path: where it is bound.
        group: who may connect beside root and ourselves, by its number; None: everybody.
        system: where the socket is from.

    Attributes:
        share: of a processor, what may be spent on those who connect here.
        is_privileged: whether only those who may change things can connect.

    Raises Busy when another daemon answers there, and KernelRefused.
    """

    def __init__(
        self, path: Path, group: int | None = None, system: System = LINUX_SYSTEM
    ) -> None:
        self.path = path
        self.is_privileged = group is not None
        self.share = Share(_ACCEPTING_SHARE, _SAVED_NS)
        self._reserve: int | None = None
        self._socket = _bound(system, path, group)
        self.restore_reserve()

    def let_in(self, group: int) -> None:
        """Let members of another group connect. Raises KernelRefused."""
        try:
            _let_in(self.path, group)
        except OSError as error:
            raise KernelRefused(
                f"cannot give {self.path} to group {group}: {error.strerror}",
                error.errno or errno.EIO,
            ) from error

    def fileno(self) -> int:
        """Return the descriptor, for the event loop."""
        return self._socket.fileno()

    def take(self) -> socket.socket | None:
        """Return the next client; None if there is none. Raises OSError."""
        try:
            sock, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return None
        return sock

    def take_with_reserve(self) -> socket.socket | None:
        """Return the next client though there is no descriptor left but the one kept for it.

        Raises OSError. `restore_reserve` is to be called once a descriptor is free again.
        """
        self._close_reserve()
        return self.take()

    def restore_reserve(self) -> bool:
        """Keep a descriptor for when there is no other; return whether one is kept."""
        if self._reserve is None:
            with contextlib.suppress(OSError):
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return self._reserve is not None

    def close(self) -> None:
        """Stop listening, and remove the socket."""
        self._socket.close()
        self._close_reserve()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _close_reserve(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None


def is_short_of_descriptors(error: OSError) -> bool:
    """Whether the process, or the machine, has no descriptor left."""
    return error.errno in _NO_DESCRIPTOR


def _bound(system: System, path: Path, group: int | None) -> socket.socket:
    _refuse_if_answered(path)
    listener = system.unix_socket()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        listener.bind(str(path))
        if group is None:
            # Reading is open to everyone, as `ip link show` is; changing is checked by call.
            path.chmod(0o666)
        else:
            _let_in(path, group)
    except OSError as error:
        listener.close()
        raise KernelRefused(
            f"cannot listen on {path}: {error.strerror or error}", error.errno or errno.EIO
        ) from error
    refuse_descriptors(listener)
    listener.setblocking(False)
    listener.listen(_BACKLOG)
    return listener


def _let_in(path: Path, group: int) -> None:
    os.chown(path, -1, group)
    path.chmod(0o660)


def _refuse_if_answered(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            pass  # a daemon listens there, with a full backlog
        except OSError:
            return
    raise Busy(f"another shaperd answers on {path} (stop it, or choose another --socket)")


def _remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that died; anything else that lies there is left."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
