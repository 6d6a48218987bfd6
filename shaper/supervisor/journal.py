"""The log as syslog has it: each line with its priority where standard error is the journal.

systemd reads a priority in front of a line (sd-daemon(3), SyslogLevelPrefix=). A line that says
the same of the same thing again and again is left out after a few, and counted.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping

# Specified: sd-daemon(3), of syslog(3).
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7

# Chosen.
_LINES = 5  # of the same thing
_INTERVAL_SECONDS = 60.0
_MOST_THINGS = 4096

FORMAT = "shaperd: %(levelname)s: %(message)s"


class PriorityFormatter(logging.Formatter):
    """Puts the priority in front of each line of a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        prefix = f"<{priority(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


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
    """Return what writes the log: with priorities if the descriptor leads to the journal."""
    made = logging.StreamHandler()
    is_journal = environ.get("JOURNAL_STREAM", "") == _stream(descriptor)
    made.setFormatter((PriorityFormatter if is_journal else logging.Formatter)(FORMAT))
    made.addFilter(Repetition())
    return made


def _stream(descriptor: int) -> str | None:
    """Return a descriptor as $JOURNAL_STREAM names it: device and inode."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return f"{status.st_dev}:{status.st_ino}"
