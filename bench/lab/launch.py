"""Run a program that ends when the one who started it does: `launch.py PARENT ARGV...`.

A lab killed outright cannot clean up, and a process left in a namespace would keep the whole
namespace alive. The kernel is asked to end the program instead (prctl(2), PR_SET_PDEATHSIG; the
setting survives the exec).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def main(parent: int, argv: list[str]) -> None:
    """Become `argv`, to be asked to terminate when process `parent` is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the lab ended before its process began")
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
