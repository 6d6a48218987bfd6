"""Descriptors that the service manager keeps over a restart, so that nothing they hold goes away.

systemd's descriptor store (sd_notify(3), FDSTORE; sd_listen_fds(3)): what is sent to it stays open
while the service restarts, also after kill -9, and is closed when the service is stopped. A TAP
that is held like that keeps its carrier, its addresses and its routes, and frames wait in its
ring; a program on a master goes on leading traffic to it. The manager alone knows whether a stop
is a restart, and by closing the descriptors or not it tells the two apart for us.

Each descriptor has a name of ours, by which a successor asks for it. Those that no successor has
asked for by the end of its start are given up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Mapping

from shaper.supervisor.notify import Notifier

# Specified: sd_listen_fds(3).
_FIRST = 3
# Chosen: set by our unit, as systemd says nothing of its store before version 254 (FDSTORE).
_IS_KEPT = ("FDSTORE", "SHAPER_FDSTORE")


class Keepsakes:
    """What the service manager keeps for us.

    Args:
        notifier: the line to it.
        found: what a predecessor left, by name.
        is_kept: whether it keeps anything.

    Attributes:
        is_kept: whether descriptors outlive this process.
    """

    def __init__(self, notifier: Notifier, found: dict[str, int], *, is_kept: bool) -> None:
        self.is_kept = is_kept
        self._notifier = notifier
        self._found = found

    @classmethod
    def open(cls, notifier: Notifier, environ: Mapping[str, str]) -> Keepsakes:
        """Return what this process was started with; nothing without a manager that keeps."""
        is_kept = any(environ.get(name, "0") not in ("", "0") for name in _IS_KEPT)
        return cls(notifier, _passed(environ), is_kept=is_kept and "NOTIFY_SOCKET" in environ)

    def put(self, name: str, descriptor: int) -> bool:
        """Have a descriptor kept under a name; return whether it was handed over."""
        return self.is_kept and self._notifier.store(name, descriptor)

    def drop(self, name: str) -> None:
        """Have it kept no more."""
        if self.is_kept:
            self._notifier.unstore(name)

    def names(self, prefix: str) -> list[str]:
        """Return what a predecessor left under names that begin like this."""
        return [name for name in self._found if name.startswith(prefix)]

    def take(self, name: str) -> int | None:
        """Return a descriptor that a predecessor left, which is the caller's now; or None."""
        return self._found.pop(name, None)

    def give_up_the_rest(self) -> None:
        """Close what no shaper has taken."""
        for name, descriptor in self._found.items():
            self.drop(name)
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._found.clear()


def _passed(environ: Mapping[str, str]) -> dict[str, int]:
    """Return the descriptors this process was started with, by name."""
    count, pid = environ.get("LISTEN_FDS", ""), environ.get("LISTEN_PID", "")
    if pid != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found = {}
    for descriptor, name in zip(range(_FIRST, _FIRST + int(count)), names, strict=False):
        fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        if name in found:  # kept twice: once is enough
            os.close(descriptor)
        else:
            found[name] = descriptor
    return found


NOTHING_KEPT = Keepsakes(Notifier({}), {}, is_kept=False)
