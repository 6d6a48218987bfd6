"""How the process of a forwarder is started, and what the supervisor can do with it then."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import Protocol

from shaper.errors import KernelRefused
from shaper.supervisor import procfs

_STANDBY = "standby"  # shown by ps(1), until it serves (`forwarder.title`)


class LaunchedProcess(Protocol):
    """A process that was started, as subprocess.Popen has it."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    @property
    def returncode(self) -> int | None:
        """Its exit status, or the signal that ended it (negative), once `poll` has found it."""
        ...

    def poll(self) -> int | None:
        """Return `returncode`; None while it runs."""
        ...

    def kill(self) -> None:
        """Send SIGKILL."""
        ...

    def usage(self) -> procfs.Usage | None:
        """Return what it does, and what it has used; None if the kernel does not say."""
        ...


class Launch(Protocol):
    """Starts the process of a forwarder."""

    def __call__(self, channel_descriptor: int, *, is_standby: bool) -> LaunchedProcess:
        """Start one that inherits its end of the channel. Raises KernelRefused."""
        ...


class ForwarderProcess(subprocess.Popen[bytes]):
    """A process that runs `shaper.forwarder`."""

    def usage(self) -> procfs.Usage | None:
        """Return what it does, and what it has used; None if the kernel does not say."""
        return procfs.usage(self.pid)


def launch(channel_descriptor: int, *, is_standby: bool) -> ForwarderProcess:
    """Start a forwarder that inherits its end of the channel, and no other descriptor of ours.

    Raises KernelRefused.
    """
    # -P: nothing is imported from the directory the daemon happens to have been started in.
    command = [sys.executable, "-P", "-m", "shaper.forwarder", str(channel_descriptor)]
    command += [_STANDBY] if is_standby else []
    try:
        return ForwarderProcess(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[channel_descriptor],
            start_new_session=True,
        )
    except OSError as error:
        raise cannot_start(error) from error


def cannot_start(error: OSError) -> KernelRefused:
    """Return the refusal of a forwarder that the kernel has no process or descriptor for."""
    return KernelRefused(f"cannot start a forwarder: {error.strerror}", error.errno or errno.EIO)
