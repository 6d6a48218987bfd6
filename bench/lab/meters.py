"""What the machine spent on a measurement, what was taken from it, and what machine it is."""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.lab.law import NS_PER_SECOND

# proc(5), /proc/stat: after `cpu` come user, nice, system, idle, iowait, irq, softirq, steal.
IDLE, IOWAIT, STEAL = 3, 4, 7
DEFAULT_KERNEL_HZ = 250  # of Debian's and most others' kernels, where none can be read


@dataclass(frozen=True)
class Spent:
    """What a stretch of time cost."""

    seconds: float
    machine_s: float  # of all processors, everything that was not idle
    # Of all processors, what a hypervisor gave to others. A virtual machine that does not run
    # sends nothing, and no bucket of a few milliseconds makes up for that.
    stolen_s: float
    processes_s: dict[str, float]  # of each process watched

    @property
    def steal_percent(self) -> float:
        """The part of all processors' time that was stolen."""
        return 100 * self.stolen_s / (self.seconds * processors())


class Meter:
    """What is spent from now on, by the machine and by each process given by name."""

    def __init__(self, processes: Mapping[str, int] | None = None) -> None:
        self._processes = processes or {}
        self._before = self._read()

    def _read(self) -> list[float]:
        """Read the clock, time idle and stolen of all processors, and that of each process."""
        with Path("/proc/stat").open(encoding="ascii") as lines:
            ticks = [int(number) for number in lines.readline().split()[1:]]
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        used_s = [process_s(pid) for pid in self._processes.values()]
        idle_s = (ticks[IDLE] + ticks[IOWAIT]) * tick_s
        return [time.monotonic(), idle_s, ticks[STEAL] * tick_s, *used_s]

    def spent(self) -> Spent:
        """Return what was spent so far.

        The kernel measures how long a processor is idle, but samples what it does otherwise. So
        busy is what is left of the time, less what was stolen.
        """
        risen = [after - before for before, after in zip(self._before, self._read(), strict=True)]
        seconds, idle_s, stolen_s, *used_s = risen
        busy_s = max(0.0, seconds * processors() - idle_s - stolen_s)
        return Spent(seconds, busy_s, stolen_s, dict(zip(self._processes, used_s, strict=True)))


def process_s(pid: int) -> float:
    """Return the processor time a process has used; 0 if it is gone."""
    # /proc/PID/schedstat counts nanoseconds, where the kernel has it.
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii")
        return int(text.split()[0]) / NS_PER_SECOND
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def memory_bytes(pid: int) -> int:
    """Return the proportional set size of a process: shared pages count in parts."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def processors() -> int:
    """Return how many processors there are."""
    return os.cpu_count() or 1


@functools.cache
def kernel_hz() -> int | None:
    """Return the kernel's HZ as it was configured, or None if that cannot be read."""
    for path, unpack in (
        (Path("/proc/config.gz"), gzip.decompress),
        (Path(f"/boot/config-{platform.release()}"), bytes),
    ):
        with contextlib.suppress(OSError):
            if found := re.search(rb"^CONFIG_HZ=(\d+)$", unpack(path.read_bytes()), re.MULTILINE):
                return int(found[1])
    return None


def describe() -> dict[str, str | int | None]:
    """Return what this machine is, as far as figures depend on it."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"))
    return {
        "processor": model[1] if model else platform.machine(),
        "processors": processors(),
        "is_virtual": int("hypervisor" in cpuinfo),
        "memory_mib": int(memory[1]) // 1024 if memory else None,
        "kernel": platform.release(),
        "kernel_hz": kernel_hz(),
        "python": platform.python_version(),
    }
