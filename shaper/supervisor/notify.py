"""Tell the service manager how the daemon is: sd_notify(3) in a few lines.

A message is one datagram of `KEY=value` lines to the socket named by $NOTIFY_SOCKET. Without
that variable nothing listens, and every call does nothing. Telling is never allowed to fail or to
wait: a service manager that is restarting must not take the shapers with it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

from shaper.names import printable

# Chosen: sd_watchdog_enabled(3) recommends two; with four a report that had to be left out, and a
# stuck forwarder that is replaced meanwhile, are made good before the manager acts.
REPORTS_PER_WATCHDOG = 4
_STORE_SECONDS = 1.0


class Notifier:
    """The line to the service manager; silent where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._status = ""  # the line that was told last

    def ready(self, status: str) -> None:
        """Say that start-up, or a reload, is complete."""
        line = _line(status)
        self._status = line if self._send(f"READY=1\nSTATUS={line}") else ""

    def stopping(self) -> None:
        """Say that the daemon is on its way out."""
        self._send("STOPPING=1")

    def extend(self, microseconds: int) -> None:
        """Ask for so much more time for a start or a stop that is under way, from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={microseconds}")

    def watchdog(self) -> None:
        """Say that the daemon is alive; to be called every `watchdog_interval_ns`."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows; nothing is sent while it stays the same."""
        if (line := _line(text)) != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def reloading(self, monotonic_usec: int) -> None:
        """Say that the configuration is being re-read; `ready` ends it.

        `monotonic_usec` is CLOCK_MONOTONIC in microseconds, as Type=notify-reload wants it.
        """
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_usec}")

    def store(self, name: str, descriptor: int) -> bool:
        """Have the manager keep a descriptor over a restart; return whether it was sent."""
        return self._send(f"FDSTORE=1\nFDPOLL=0\nFDNAME={name}", descriptor)

    def unstore(self, name: str) -> None:
        """Have it keep those of this name no more."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def _send(self, message: str, descriptor: int | None = None) -> bool:
        if not self._address:
            return False
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel,
        ):
            # A descriptor that was not sent would be missed; the manager takes it within moments.
            channel.settimeout(_STORE_SECONDS if descriptor is not None else 0.0)
            if descriptor is None:
                channel.sendto(message.encode(), self._address)
            else:
                channel.connect(self._address)
                socket.send_fds(channel, [message.encode()], [descriptor])
            return True
        return False


def watchdog_interval_ns(environ: Mapping[str, str]) -> int | None:
    """Return how often to call `Notifier.watchdog`, in nanoseconds; None: nothing waits for it.

    A fraction of $WATCHDOG_USEC, and only if $WATCHDOG_PID is unset or this process: a child that
    inherited the variables is not the one that is watched.
    """
    period = environ.get("WATCHDOG_USEC", "")
    watched = environ.get("WATCHDOG_PID", str(os.getpid()))
    if not _is_number(period) or int(period) == 0 or watched != str(os.getpid()):
        return None
    return int(period) * 1000 // REPORTS_PER_WATCHDOG


def _address(name: str) -> bytes:
    """Return the socket's address; a leading @ means the abstract namespace."""
    return b"\0" + os.fsencode(name[1:]) if name.startswith("@") else os.fsencode(name)


def _line(text: str) -> str:
    """Return `text` on one line, as a second one would be another variable, and in UTF-8."""
    return printable(" ".join(text.split()))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
