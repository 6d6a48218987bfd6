"""What the lab needs of the machine and the user, found out before anything is built.

As root, network namespaces are made as they are. Anyone else becomes root of a user namespace
(user_namespaces(7)), in which the same is allowed. What is missing is said in one sentence.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from pathlib import Path

from bench.lab.errors import MissingError
from bench.lab.namespaces import CLONE_NEWNET, Namespace

CLONE_NEWUSER = 0x10000000  # include/uapi/linux/sched.h
TUN = Path("/dev/net/tun")
SYSTEM_PATH = "/usr/sbin:/sbin"  # where ip and ifconfig are, and an ordinary user's PATH is not


def prepare() -> None:
    """Make this process able to build namespaces, or say why it cannot.

    Raises:
        MissingError: the message names what is missing and what to do.

    """
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + os.pathsep + SYSTEM_PATH
    if shutil.which("ip") is None:
        raise MissingError("the ip command is missing: install iproute2")
    _check_tun()
    if not _can_build():
        _enter_user_namespace()


def _can_build() -> bool:
    """Whether network namespaces can be made as things are."""
    try:
        Namespace().close()
    except PermissionError:
        return False
    except OSError as error:
        raise MissingError(f"this kernel makes no network namespaces: {error}") from None
    return True


def _check_tun() -> None:
    """Raise unless TAP devices can be asked for."""
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        mode = stat.S_IMODE(TUN.stat().st_mode)
        raise MissingError(
            f"{TUN} may not be opened by user {os.geteuid()} (its mode is {mode:04o}): "
            f"run as root, or allow it with `chmod 0666 {TUN}`"
        ) from None
    except OSError as error:
        raise MissingError(
            f"{TUN} cannot be opened ({error.strerror}): load the module with `modprobe tun`, "
            "or hand the device to this container"
        ) from None


def _enter_user_namespace() -> None:
    """Become root of a new user namespace, in which nobody else exists."""
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    reason = "the kernel grants no capabilities in them"
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
    else:
        own = Path("/proc/self")
        (own / "setgroups").write_text("deny", encoding="ascii")
        (own / "uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        (own / "gid_map").write_text(f"0 {gid} 1", encoding="ascii")
        if _can_build():
            return
    raise MissingError(
        f"user {uid} may not make network namespaces, nor user namespaces to make them in "
        f"({reason}): run as root, or allow them (sysctl user.max_user_namespaces, "
        "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
    )
