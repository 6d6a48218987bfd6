"""What the machine underneath does to a measurement."""

from __future__ import annotations

import os
import time
from pathlib import Path

# proc(5), /proc/stat: after `cpu` come user, nice, system, idle, iowait, irq, softirq, steal.
STEAL = 8


class Theft:
    """How much of the processors a hypervisor has given to someone else since this was made.

    A virtual machine that does not run sends nothing, and no bucket of a few milliseconds can
    make up for that; a rate measured in such a time says nothing about the shaper.
    """

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._start_ticks = self._ticks()

    @staticmethod
    def _ticks() -> int:
        """Return the time stolen since boot, of all processors, in clock ticks."""
        with Path("/proc/stat").open(encoding="ascii") as lines:
            return int(lines.readline().split()[STEAL])

    def percent(self) -> float:
        """Return the stolen share of all processors' time."""
        stolen_s = (self._ticks() - self._start_ticks) / os.sysconf("SC_CLK_TCK")
        available_s = (time.monotonic() - self._start_s) * (os.cpu_count() or 1)
        return 100 * stolen_s / available_s if available_s > 0 else 0.0
