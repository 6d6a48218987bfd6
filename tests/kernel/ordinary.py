"""Becomes an ordinary user who may open /dev/net/tun, in a mount namespace of its own.

    python -m tests.kernel.ordinary UID RESOLV_CONF COMMAND...

RESOLV_CONF takes the place of /etc/resolv.conf; "-" leaves that. With UID 0 only that is done, and
with UID "barred" the user may not open the device. The interpreter and this checkout are made
reachable where they lie in somebody's home.
"""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
from pathlib import Path

from bench.lab.namespaces import ROOT

CLONE_NEWNS = 0x00020000  # include/uapi/linux/sched.h
UID = 12345  # chosen: of no account, so nothing can depend on one
TUN = Path("/dev/net/tun")


def main() -> None:
    """Do it, and execute the command."""
    who, resolver, *command = sys.argv[1:]
    if ctypes.CDLL(None).unshare(CLONE_NEWNS):
        sys.exit("needs mount namespaces")
    mount("--make-rprivate", "/")
    if resolver != "-":
        mount("--bind", resolver, os.path.realpath("/etc/resolv.conf"))
    if who != "0":
        for path in map(Path, {sys.prefix, sys.base_prefix, str(ROOT)}):
            reveal(path)
        show_tun(0o600 if who == "barred" else 0o666)
        os.setgroups([])
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)
    os.execvp(command[0], command)


def mount(*arguments: str) -> None:
    """Run the command of the same name."""
    subprocess.run(["mount", *arguments], check=True)


def reveal(path: Path) -> None:
    """Let everybody reach a directory: cover what bars the way, and show it there."""
    for above in reversed(path.resolve().parents):
        if not above.stat().st_mode & stat.S_IXOTH:
            held = os.open(path, os.O_PATH)
            mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(above))
            path.mkdir(parents=True)
            mount("--no-canonicalize", "--bind", f"/proc/{os.getpid()}/fd/{held}", str(path))
            return


def show_tun(mode: int) -> None:
    """Show a device of another mode in the place of /dev/net/tun."""
    device = TUN.stat().st_rdev
    mount("-t", "tmpfs", "-o", "mode=755,dev", "tmpfs", "/mnt")
    own = Path("/mnt/tun")
    os.mknod(own, stat.S_IFCHR, device)
    own.chmod(mode)
    mount("--bind", str(own), str(TUN))
    subprocess.run(["umount", "--lazy", "/mnt"], check=True)


if __name__ == "__main__":
    main()
