"""What the machine spent on a measurement, what was taken from it, and what machine it is."""

from __future__ import annotations

import contextlib
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
class Reading:
    """The meters at one moment; the difference of two is what went by in between.

    Attributes:
        time_s: monotonic.
        idle_s, steal_s: summed over the processors.
        processes_s: processor time of each process watched.

    """

    time_s: float
    idle_s: float
    steal_s: float
    processes_s: Mapping[str, float]


@dataclass(frozen=True)
class Spent:
    """What a stretch of time cost."""

    seconds: float
    machine_s: float  # of all processors, everything that was not idle
    steal_percent: float  # of all processors' time, what a hypervisor gave to others
    processes_s: dict[str, float]


def read(processes: Mapping[str, int] | None = None) -> Reading:
    """Read the meters, and the time of each process given by name."""
    with Path("/proc/stat").open(encoding="ascii") as lines:
        ticks = [int(number) for number in lines.readline().split()[1:]]
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    used_s = {name: process_s(pid) for name, pid in (processes or {}).items()}
    idle_s = (ticks[IDLE] + ticks[IOWAIT]) * tick_s
    return Reading(time.monotonic(), idle_s, ticks[STEAL] * tick_s, used_s)


def between(before: Reading, after: Reading) -> Spent:
    """Return what was spent between two readings.

    The kernel measures how long a processor is idle, but samples what it does otherwise. So busy
    is what is left of the time, less what was stolen.
    """
    seconds = after.time_s - before.time_s
    capacity_s = seconds * processors()
    stolen_s = after.steal_s - before.steal_s
    busy_s = capacity_s - (after.idle_s - before.idle_s) - stolen_s
    processes_s = {
        name: used_s - before.processes_s.get(name, 0.0)
        for name, used_s in after.processes_s.items()
    }
    return Spent(seconds, max(0.0, busy_s), 100 * stolen_s / capacity_s, processes_s)


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


def kernel_hz() -> int | None:
    """Return the kernel's HZ as it was configured, or None if that cannot be read."""
    pattern = re.compile(r"^CONFIG_HZ=(\d+)$", re.MULTILINE)
    with contextlib.suppress(OSError):
        text = gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
        if found := pattern.search(text):
            return int(found[1])
    with contextlib.suppress(OSError):
        text = Path(f"/boot/config-{platform.release()}").read_text(encoding="utf-8")
        if found := pattern.search(text):
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
