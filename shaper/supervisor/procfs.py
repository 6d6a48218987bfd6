"""What the kernel tells of a process of ours, by /proc/PID/stat (see proc(5))."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
# Fields 3, 14 and 15, counted from the one after the command in parentheses.
_STATE, _UTIME, _STIME = 0, 11, 12


class Usage(NamedTuple):
    """A process at one moment."""

    state: str  # R, S, D, T, t, Z, ...
    seconds: float  # of the processor, used so far

    @property
    def is_stopped(self) -> bool:
        """Whether a signal, a tracer or its end keeps it from ever going on by itself."""
        return self.state in "TtZX"

    @property
    def is_asleep(self) -> bool:
        """Whether it waits for an event, and not for the processor or a disk."""
        return self.state == "S"


def usage(pid: int) -> Usage | None:
    """Return what a process does and has used; None if the kernel does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        ticks = int(fields[_UTIME]) + int(fields[_STIME])
        return Usage(fields[_STATE], ticks / _TICKS_A_SECOND)
    except (OSError, ValueError, IndexError):
        return None
