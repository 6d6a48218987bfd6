"""What a forwarder is called, and the word of one that stands by, which goes when it serves.

The kernel shows the command line from the memory of the process (proc_pid_cmdline(5)), so `ps` and
the like tell the two apart, and no system call is needed for the change.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

STANDBY = "standby"  # the last argument of one that stands by

# systemd warns of processes that outlive their service, as a forwarder does in each restart, but
# not of those with names that begin with a parenthesis, as its own helpers' do: "(sd-pam)".
NAME = b"(forwarder)"

# Specified: field 49 of proc_pid_stat(5), counted from the one after the command in parentheses.
_ARGUMENTS_END = 46

# Specified: include/uapi/linux/prctl.h.
_PR_SET_NAME = 15


def set_name() -> None:
    """Take the name that `ps` and the service manager see."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, NAME, 0, 0, 0)


def serving() -> Callable[[], None]:
    """Return what takes the word away; to be called while files can be read."""
    word = STANDBY.encode() + b"\0"
    if sys.argv[-1] == STANDBY:
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = Path("/proc/self/stat").read_text()
            at = int(text.rpartition(")")[2].split()[_ARGUMENTS_END]) - len(word)
            if at > 0 and ctypes.string_at(at, len(word)) == word:
                return partial(_wipe, at, len(word))
    return lambda: None


def _wipe(at: int, length: int) -> None:
    ctypes.memset(at, 0, length)
