"""What /proc and the control groups tell of the daemon's processes. Nothing here needs a right."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from shaper.kernel.mounts import lines, mounts

# Specified: proc(5); Documentation/admin-guide/cgroup-v1/, cgroup-v2.rst.
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PARENT, _START = 1, 19  # counted from the field behind the command
_STEAL, _FIELDS = 7, 8  # of the line of all processors in /proc/stat


# Chosen: users may have any number of processes and descriptors.
_SEARCH_SECONDS = 0.3


class Process(NamedTuple):
    """A process.

    Attributes:
        age_seconds: how long ago it was started.
    """

    pid: int
    parent: int
    age_seconds: float


class Ticks(NamedTuple):
    """Time of all processors since the machine started."""

    steal: int
    total: int


class Throttling(NamedTuple):
    """How often a control group was held back by its quota."""

    group: str
    quota_file: str
    periods: int


def process(pid: int) -> Process | None:
    """Return a process; None where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        age = uptime - int(fields[_START]) / _TICKS_A_SECOND
        return Process(pid, int(fields[_PARENT]), age)
    return None


def children(pid: int) -> list[Process]:
    """Return the processes that a process has started."""
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [each for each in map(process, numbers) if each is not None and each.parent == pid]


def programs_of(inodes: Collection[int]) -> dict[int, str]:
    """Return name and number of a process for each of some sockets, where one is seen in time."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, str] = {}
    until = time.monotonic() + _SEARCH_SECONDS
    for name in os.listdir("/proc") if wanted else ():
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError), os.scandir(f"/proc/{name}/fd") as opened:
            for each in opened:
                inode = wanted.get(_target(each.path))
                if inode is not None:
                    found.setdefault(inode, f"{_command(name)} ({name})")
                if len(found) == len(wanted) or time.monotonic() > until:
                    return found
    return found


def _command(name: str) -> str:
    """Return what a process is called, which is any bytes it likes, as a terminal may show it."""
    command = Path(f"/proc/{name}/comm").read_bytes().removesuffix(b"\n").decode(errors="replace")
    return "".join(each if each.isprintable() else "?" for each in command)


def ticks() -> Ticks | None:
    """Return how much time the processors had, and how much of it a hypervisor took."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=_FIELDS + 1)
        numbers = [int(each) for each in fields[1 : _FIELDS + 1]]
        return Ticks(numbers[_STEAL], sum(numbers))
    return None


def throttling(pid: int) -> list[Throttling]:
    """Return what the control groups of a process, and those around them, have counted."""
    return list(_throttling(pid))


def _throttling(pid: int) -> Iterator[Throttling]:
    with contextlib.suppress(OSError, ValueError):
        for mount, group in _groups(pid):
            directory = Path(mount) / group.lstrip("/")
            while directory != Path(mount):
                periods = _throttled(directory)
                if periods is not None:
                    name = f"/{directory.relative_to(mount)}"
                    yield Throttling(name, str(_quota(directory)), periods)
                directory = directory.parent


def _groups(pid: int) -> Iterator[tuple[str, str]]:
    """Return the mounts with a processor controller, and the group of a process in each."""
    mounted = list(mounts())
    for line in filter(None, lines(Path(f"/proc/{pid}/cgroup"))):
        _, controllers, group = line.split(":", 2)
        for kind, options, place in mounted:
            is_first = kind == "cgroup" and "cpu" in controllers.split(",")
            if (is_first and "cpu" in options) or (kind == "cgroup2" and not controllers):
                yield place, group


def _throttled(directory: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in (directory / "cpu.stat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "nr_throttled":
                return int(value)
    return None


def _quota(directory: Path) -> Path:
    newer = directory / "cpu.max"
    return newer if newer.exists() else directory / "cpu.cfs_quota_us"


def _target(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""
