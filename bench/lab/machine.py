"""What the machine underneath does to a measurement."""

from __future__ import annotations

import os
from pathlib import Path

# proc(5), /proc/stat: after `cpu` come user, nice, system, idle, iowait, irq, softirq, steal.
STEAL = 8


class Theft:
    """How long a hypervisor has run someone else on these processors since this was made.

    A virtual machine that does not run sends nothing, and no bucket of a few milliseconds makes
    up for that; a rate measured in such a time says nothing about the shaper.
    """

    def __init__(self) -> None:
        self._start_ticks = self._ticks()

    @staticmethod
    def _ticks() -> int:
        """Return the time stolen since boot, summed over the processors, in clock ticks."""
        with Path("/proc/stat").open(encoding="ascii") as lines:
            return int(lines.readline().split()[STEAL])

    def seconds(self) -> float:
        """Return the time stolen so far, summed over the processors."""
        return (self._ticks() - self._start_ticks) / os.sysconf("SC_CLK_TCK")
