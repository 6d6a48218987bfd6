"""Counters of a process's system calls: the kernel's trace points, counted by perf_event_open(2).

Counting costs some hundred nanoseconds a call, and no call is stopped as strace(1) would. What is
counted is told apart by filters on the number of the call (Documentation/trace/events.rst).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from bench.lab.errors import LabError

# Specified: include/uapi/linux/perf_event.h; the call's numbers are those of asm/unistd.h.
PERF_TYPE_TRACEPOINT = 2
ATTRIBUTES = struct.Struct("=IIQQQQQ80x")  # type, size, config, period, sample, read, flags
DISABLED = 1  # a flag: until it is enabled
ENABLE = 0x2400
SET_FILTER = 0x40082406
NR_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241}.get(os.uname().machine)

TRACING = Path("/sys/kernel/tracing")
POINT = "events/raw_syscalls/sys_enter/id"

_libc = ctypes.CDLL(None, use_errno=True)


class CountedCalls:
    """How often a process makes certain system calls; a context manager that ends the counting.

    Args:
        pid: the process, of one thread.
        numbers: of the calls that are told apart, by name.

    Raises:
        LabError: the kernel has no trace points, or refuses to count.

    """

    def __init__(self, pid: int, numbers: Mapping[str, int]) -> None:
        self._descriptors: dict[str, int] = {}
        try:
            self._all = _open(pid)
            for name, number in numbers.items():
                self._descriptors[name] = _open(pid, f"id == {number}")
        except OSError as error:
            raise LabError(f"system calls cannot be counted: {error}") from error

    def counts(self) -> dict[str, int]:
        """Return the calls so far by name, and those of no name as `other`."""
        found = {name: _read(descriptor) for name, descriptor in self._descriptors.items()}
        return {**found, "other": _read(self._all) - sum(found.values())}

    def close(self) -> None:
        """Stop counting."""
        for descriptor in (self._all, *self._descriptors.values()):
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def wake_ups(pid: int) -> int:
    """Return how often a process has slept so far (proc(5), status)."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _open(pid: int, wanted: str = "") -> int:
    """Return a counter of a process's calls, of those that match a filter."""
    attributes = ATTRIBUTES.pack(
        PERF_TYPE_TRACEPOINT, ATTRIBUTES.size, _point(), 0, 0, 0, DISABLED
    )
    if NR_PERF_EVENT_OPEN is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    descriptor = _checked(_libc.syscall(NR_PERF_EVENT_OPEN, attributes, pid, -1, -1, 0))
    if wanted:
        # fcntl.ioctl takes no pointer to where a text of any length lies.
        _checked(_libc.ioctl(descriptor, ctypes.c_ulong(SET_FILTER), wanted.encode()))
    _checked(_libc.ioctl(descriptor, ctypes.c_ulong(ENABLE), 0))
    return descriptor


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _point() -> int:
    """Return the number of the trace point."""
    with _tracefs():
        return int((TRACING / POINT).read_text(encoding="ascii"))


@contextlib.contextmanager
def _tracefs() -> Iterator[None]:
    """Have the file system of trace points mounted, if need be only for as long."""
    if (TRACING / POINT).exists():
        yield
        return
    mounted = subprocess.run(["mount", "-t", "tracefs", "none", TRACING], check=False)
    try:
        yield
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", TRACING], check=False)


def _read(descriptor: int) -> int:
    return int.from_bytes(os.read(descriptor, 8), "little")
