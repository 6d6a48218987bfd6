"""What the forwarder asks for and gives up before it touches its first frame.

It holds no capability and cannot regain one by executing anything. If it was started by root it
is not root any more. It opens no file, and any system call but the few that move frames ends it
(`seccomp`). Descriptors that the supervisor opened keep working: the kernel checks rights when a
TAP or a packet socket is opened, not when it is used.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import stat
import struct
from pathlib import Path

from shaper.forwarder import landlock, seccomp

# Specified: include/uapi/linux/prctl.h, capability.h, seccomp.h.
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_SET_TIMERSLACK = 29
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1

_MACHINE = os.uname().machine
_NR_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}.get(_MACHINE)
_NR_SECCOMP = {"x86_64": 317, "aarch64": 277, "riscv64": 277}.get(_MACHINE)
_SCHED_ATTR = struct.Struct("=IIQiIQQQII")  # include/uapi/linux/sched/types.h

# Chosen.
# Root without privilege, ids that change nothing, no ambient capabilities, and all of it locked:
# the bits of linux/securebits.h.
_SECUREBITS = 0b1110_1111
_NICE = -10
_SLICE_NS = 100_000  # the shortest the scheduler takes
# A user id of its own: this and the process id. In the range that systemd's table of ids (its
# UIDS-GIDS document) calls unused; the next one is for a namespace that has no ids that large.
_FIRST_ID = 0x7000_0000
_NOBODY = 65534  # the kernel's overflow id: owns nothing, but others may bear it
_TIMER_SLACK_NS = 1  # the default of 50 us would round every departure up
_LAST_WORDS_BYTES = 1 << 16  # of a log that is a file
_NOTHING_OF = (
    resource.RLIMIT_CORE,
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_MSGQUEUE,
    resource.RLIMIT_NICE,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_RTPRIO,
    resource.RLIMIT_SIGPENDING,
)

_libc = ctypes.CDLL(None, use_errno=True)


def drop_privileges() -> str | None:
    """Give up identity and capabilities for ever.

    Returns a sentence when this was root and had to remain it, for want of CAP_SETUID: root
    without capabilities still owns root's files. Raises OSError when a capability would remain, or
    executing something could bring one.
    """
    _drop_bounding_set()
    complaint = _drop_root() if os.geteuid() == 0 else None
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(_capability_header(), nothing), "drop capabilities")
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "renounce new privileges")
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "become undumpable")
    _verify()
    return complaint


def _drop_bounding_set() -> None:
    """Make capabilities unreachable; without CAP_SETPCAP, no_new_privs alone has to do that."""
    with contextlib.suppress(OSError):
        capability = 0
        while _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
            _checked(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "drop a capability")
            capability += 1
        _checked(_libc.prctl(_PR_SET_SECUREBITS, _SECUREBITS, 0, 0, 0), "lock root out")


def _drop_root() -> str | None:
    with contextlib.suppress(PermissionError):
        os.setgroups([])
    for own in (_FIRST_ID + os.getpid(), _NOBODY):
        try:
            os.setresgid(own, own, own)
            os.setresuid(own, own, own)
        except PermissionError:
            if not any(_capabilities()):
                return None  # such a daemon is refused every device, and says so itself
            return "it is still root, without capabilities: CAP_SETUID and CAP_SETGID are missing"
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            return None
    # No such ids in this user namespace: its root is an ordinary user outside.
    return None


def _verify() -> None:
    if any(_capabilities()) or _libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        raise OSError(errno.EPERM, "cannot drop capabilities: some would remain")


def _capabilities() -> list[int]:
    """Return the words of all sets that capget(2) tells of."""
    held = (ctypes.c_uint32 * 6)()
    _checked(_libc.capget(_capability_header(), held), "read capabilities")
    return list(held)


def _capability_header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)


def renounce_resources() -> None:
    """Start no process, leave no core, lock no memory, and write no file but a log's last words.

    Raises OSError.
    """
    for kind in _NOTHING_OF:
        resource.setrlimit(kind, (0, 0))
    log = os.fstat(2)
    room = log.st_size + _LAST_WORDS_BYTES if stat.S_ISREG(log.st_mode) else 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))


def confine(channel: int, ring: int | None = None) -> str | None:
    """Allow what forwarding needs from now on and nothing else.

    Returns a sentence where system calls cannot be filtered. Where they are, Landlock would add
    nothing, so that it is missing is told of only then.

    Args:
        channel: the descriptor of the forwarder's end of the channel.
        ring: that of its io_uring, where there is one.
    """
    other_lock = "files are closed to it by Landlock"
    try:
        landlock.refuse_everything()
    except OSError as error:
        other_lock = f"nor is there Landlock ({error.strerror})"
    try:
        _filter_system_calls(channel, ring)
    except (KeyError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no numbers for {_MACHINE}"
        return f"its system calls are not filtered ({reason}); {other_lock}"
    return None


def _filter_system_calls(channel: int, ring: int | None) -> None:
    """Let the kernel end the process at a call that is not in the table of `seccomp`."""
    instructions = seccomp.program(_MACHINE, channel, ring)
    code = ctypes.create_string_buffer(seccomp.pack(instructions))
    program = struct.pack("@HP", len(instructions), ctypes.addressof(code))
    result = _libc.syscall(
        _NR_SECCOMP, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, program
    )
    _checked(result, "filter system calls")


def ask_for_the_processor() -> None:
    """Ask to run as soon as there is work; to be called while there is privilege left to ask with.

    A late wake-up costs accuracy (see `discipline.bucket`). A short slice lets the scheduler pick
    a task that wakes briefly ahead of those that run long (EEVDF, from Linux 6.12 on; it needs no
    privilege); a higher weight keeps that up for a busy forwarder. Where autogroups are on, it is
    the group's weight that counts, see sched(7). Failures here are ignored.
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


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno() if result < 0 else errno.EBUSY
        raise OSError(number, f"cannot {what}: {os.strerror(number)}")
