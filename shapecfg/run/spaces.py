"""Namespaces, mounts and capabilities of the calling process, by ctypes.

`os.unshare` exists from Python 3.12 on; mount(2) and capset(2) have no binding at all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

# Specified: include/uapi/linux/sched.h, prctl.h, mount.h, capability.h.
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND = 4096
_MS_REC = 16384
_MS_SLAVE = 1 << 19

_LINUX_CAPABILITY_VERSION_3 = 0x20080522
# Specified by umount2(2).
_MNT_DETACH = 2
# Chosen.
_CAPABILITY_BITS = 64

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave the namespaces that the flags name for new ones. Raises OSError."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "make namespaces")


def enter_network(descriptor: int) -> None:
    """Enter the network namespace of an open descriptor. Raises OSError."""
    _checked(_libc.setns(descriptor, ctypes.c_int(CLONE_NEWNET)), "enter a network namespace")


def own_user_namespace(uid: int, gid: int) -> None:
    """Enter new user and process namespaces, in which the user is the same. Raises OSError."""
    unshare(CLONE_NEWUSER | CLONE_NEWPID)
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny", encoding="ascii")
    (own / "uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
    (own / "gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")


def die_with_parent() -> None:
    """Let the kernel end this process when the one that forked it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)


def keep_capabilities() -> None:
    """Let programs that are executed keep what this process may. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, and again
    _checked(_libc.capget(header, held), "read capabilities")
    held[2], held[5] = held[1], held[4]
    _checked(_libc.capset(header, held), "make capabilities inheritable")
    for capability in range(_CAPABILITY_BITS):
        if held[1 if capability < 32 else 4] >> capability % 32 & 1:
            _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def forget_capabilities() -> None:
    """Let a program that is executed next have what its user has, and no more."""
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()
    _checked(_libc.capget(header, held), "read capabilities")
    held[2] = held[5] = 0
    _checked(_libc.capset(header, held), "keep capabilities from programs")


def own_mounts() -> None:
    """Enter a new mount namespace; what is mounted in it is seen by it alone. Raises OSError."""
    unshare(CLONE_NEWNS)
    _mount(None, "/", None, _MS_REC | _MS_SLAVE)


def mount_proc() -> bool:
    """Show the processes of this process namespace; False where the kernel does not allow it.

    It does not where parts of /proc are hidden, as in many containers.
    """
    try:
        _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    except OSError:
        return False
    return True


def mount_tmpfs(path: str) -> None:
    """Cover a directory with an empty one that is in memory. Raises OSError."""
    _mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV)


def mount_over(source: str, target: str) -> None:
    """Show one file in the place of another. Raises OSError."""
    _mount(source, target, None, _MS_BIND)


def unmount(path: str) -> None:
    """Take the topmost mount off a path. Raises OSError."""
    _checked(_libc.umount2(os.fsencode(path), _MNT_DETACH), f"unmount {path}")


def set_sysctl(name: str, value: int | str) -> None:
    """Set a kernel parameter of this network namespace. Raises OSError."""
    Path("/proc/sys", name).write_text(f"{value}\n", encoding="ascii")


def try_sysctl(name: str, value: int | str) -> None:
    """Set a kernel parameter, where that is possible."""
    with contextlib.suppress(OSError):
        set_sysctl(name, value)


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    names = [None if each is None else os.fsencode(each) for each in (source, target, kind)]
    _checked(_libc.mount(*names, ctypes.c_ulong(flags), None), f"mount on {target}")


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot {what}: {os.strerror(number)}")
