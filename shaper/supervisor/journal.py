"""The log as syslog has it: with priorities and fields where standard error is the journal.

Records go to the journal's own socket, with the device, master and kind of an event as fields. If
it cannot be reached, they are lines on standard error with a priority in front, which systemd
reads (sd-daemon(3), SyslogLevelPrefix=). A line that says the same of the same thing again and
again is left out after a few, and counted.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID, uuid5

from shaper.events import Event, Kind, event_of
from shaper.names import printable

# Specified: sd-daemon(3), of syslog(3).
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
_SOCKET = Path("/run/systemd/journal/socket")

# Specified: docs/administration.md. Each kind of event has its MESSAGE_ID from this one.
_MESSAGES = UUID("7d0f1d5e-3c3f-4c52-9a54-6f0f5a0c1996")

# Chosen.
_LINES = 5  # of the same thing
_INTERVAL_SECONDS = 60.0
_MOST_THINGS = 4096

FORMAT = "shaperd: %(levelname)s: %(message)s"


class PrintableFormatter(logging.Formatter):
    """Lets nothing that is said of a device, a file or a forwarder move a terminal's cursor."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        return printable(super().format(record))


class PriorityFormatter(PrintableFormatter):
    """Puts the priority in front of each line of a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        prefix = f"<{priority(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


class JournalHandler(logging.StreamHandler):  # type: ignore[type-arg] # standard error
    """Sends records to the journal; those that it does not take become lines.

    Args:
        path: the journal's socket.
    """

    def __init__(self, path: Path = _SOCKET) -> None:
        super().__init__()
        self.setFormatter(PriorityFormatter(FORMAT))
        self._message = PrintableFormatter("%(message)s")
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, without waiting."""
        try:
            self._socket.sendto(self._entry(record), str(self._path))
        except OSError:
            super().emit(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _entry(self, record: logging.LogRecord) -> bytes:
        fields = {
            "MESSAGE": self._message.format(record),
            "PRIORITY": str(priority(record.levelno)),
            "SYSLOG_IDENTIFIER": "shaperd",
        }
        event = event_of(record)
        if event is not None:
            fields |= _fields(event)
        return b"".join(
            # A device's name may be no UTF-8: it goes as the kernel has it.
            _field(name, value.encode(errors="surrogateescape"))
            for name, value in fields.items()
        )


def _fields(event: Event) -> dict[str, str]:
    uid = "" if event.uid is None else str(event.uid)
    fields = {
        "MESSAGE_ID": message_id(event.kind),
        "SHAPER_EVENT": event.kind,
        "SHAPER_DEVICE": event.ifname,
        "SHAPER_MASTER": event.master,
        "SHAPER_UID": uid,
    }
    return {name: value for name, value in fields.items() if value}


def _field(name: str, value: bytes) -> bytes:
    """Return a field as the journal reads it (systemd: Native Journal Protocol)."""
    if b"\n" not in value:
        return b"%s=%s\n" % (name.encode(), value)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(value)), value)


def message_id(kind: Kind) -> str:
    """Return the MESSAGE_ID of a kind of event."""
    return uuid5(_MESSAGES, kind).hex


class Repetition(logging.Filter):
    """Leaves out what is said of the same thing more than five times a minute, and counts it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}  # since when, and how often

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is written; the first of a new minute tells what was not."""
        args = record.args if isinstance(record.args, tuple) else ()
        about = next((each for each in args if isinstance(each, str)), "")
        key, now = (str(record.msg), about), self._clock()
        since, count = self._said.get(key, (now, 0))
        if now - since >= _INTERVAL_SECONDS:
            left_out, since, count = max(0, count - _LINES), now, 0
            if left_out:
                text = f"{record.getMessage()} ({left_out} more such lines were left out)"
                record.msg, record.args = text, ()
        if len(self._said) >= _MOST_THINGS:
            self._said.clear()
        self._said[key] = since, count + 1
        return count < _LINES


def priority(level: int) -> int:
    """Return the priority that syslog has for a level of logging."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


def handler(environ: Mapping[str, str], descriptor: int = 2) -> logging.Handler:
    """Return what writes the log: to the journal if that is where the descriptor leads."""
    made: logging.Handler
    if environ.get("JOURNAL_STREAM", "") == _stream(descriptor):
        made = JournalHandler()
    else:
        made = logging.StreamHandler()
        made.setFormatter(PrintableFormatter(FORMAT))
    made.addFilter(Repetition())
    return made


def _stream(descriptor: int) -> str | None:
    """Return a descriptor as $JOURNAL_STREAM names it: device and inode."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return f"{status.st_dev}:{status.st_ino}"
