"""What the forwarder asks for and gives up before it touches its first frame.

It holds no capability, cannot regain one by executing anything, and if it was started by root it
is not root any more. Descriptors that the supervisor opened keep working: the kernel checks
rights when a TAP or a packet socket is opened, not when it is used.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from pathlib import Path

# Specified: include/uapi/linux/prctl.h, capability.h.
_PR_SET_TIMERSLACK = 29
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

_NR_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}.get(os.uname().machine)
_SCHED_ATTR = struct.Struct("=IIQiIQQQII")  # include/uapi/linux/sched/types.h

# Chosen.
_NICE = -10
_SLICE_NS = 100_000  # the shortest the scheduler takes
_NOBODY = 65534  # the kernel's overflow id: owns nothing
_TIMER_SLACK_NS = 1  # the default of 50 us would round every departure up

_libc = ctypes.CDLL(None, use_errno=True)


def drop_privileges() -> None:
    """Give up identity and capabilities. Raises OSError when a capability would remain."""
    if os.geteuid() == 0:
        # In a user namespace without a mapping for it, root of the namespace is as little.
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if _libc.capset(header, nothing) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot drop capabilities: {os.strerror(number)}")
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def ask_for_the_processor() -> None:
    """Ask to run as soon as there is work; to be called while there is privilege left to ask with.

    A late wake-up costs accuracy (see `discipline.bucket`). A short slice lets the scheduler pick
    a task that wakes briefly ahead of those that run long (EEVDF, from Linux 6.12 on; it needs no
    privilege); a higher weight keeps that up for a busy forwarder. Where autogroups are on, it is
    the group's weight that counts, see sched(7). What is refused is done without.
    """
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, 0, 0, _keep_nice(), 0, _SLICE_NS, 0, 0, 0, 0)
    if _NR_SCHED_SETATTR is not None:
        _libc.syscall(_NR_SCHED_SETATTR, 0, attributes, 0)


def _keep_nice() -> int:
    """Raise the weight of this process and its autogroup; return the nice value that results."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(f"{_NICE}\n")
    return os.getpriority(os.PRIO_PROCESS, 0)


def sharpen_timers() -> None:
    """Ask for wake-ups on time: no slack is added to this thread's timers."""
    _libc.prctl(_PR_SET_TIMERSLACK, _TIMER_SLACK_NS, 0, 0, 0)
