"""What bpf(2) refuses, as a sentence that says which of its conditions is missing."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from shaper.errors import KernelRefused, NotPermitted, ShaperError

# Specified: linux/capability.h.
_CAP_BPF = 39
_CAP_SYS_ADMIN = 21

_TAKING = "take traffic by device"
_ROUTES = "(shapers that are used by route still work)"


@contextlib.contextmanager
def bpf_refusals(doing: str = _TAKING, remark: str = _ROUTES) -> Iterator[None]:
    """Turn what bpf(2) answers into a sentence that says which of its conditions is missing.

    Args:
        doing: what it was asked for.
        remark: what goes on without it.
    """
    try:
        yield
    except ShaperError:
        raise
    except PermissionError as error:
        raise NotPermitted(f"cannot {doing}: {_missing()} {remark}") from error
    except OSError as error:
        number = error.errno or errno.EIO
        if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            reason = f"this kernel ({os.uname().release}) is too old for it"
        else:
            reason = error.strerror or os.strerror(number)
        raise KernelRefused(f"cannot {doing}: {reason} {remark}", number) from error


def _missing() -> str:
    if Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]:
        return "bpf(2) is refused in a user namespace"
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("CapEff:")]
    held = int(line.split()[1], 16)
    if not held & (1 << _CAP_BPF | 1 << _CAP_SYS_ADMIN):
        return "CAP_BPF is needed"
    return "bpf(2) is refused (by a filter of system calls, or lockdown)"
