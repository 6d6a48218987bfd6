"""Forwarders that outlive their supervisor, and go on forwarding until a successor is ready.

A forwarder ends with its channel. Where the service manager keeps descriptors it keeps our end of
each channel too, so while one daemon follows the other frames leave at the rate that was set last.
The successor ends those it finds just before its own forwarders take over. When the service is
stopped the manager closes the channels, and the forwarders end by themselves.

Beside the channel a handle of the process is kept (pidfd_open(2)): by a number, one that does not
end when it is told to could not be ended without doubt about what has that number now.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket

from shaper.supervisor.keepsakes import Keepsakes

_CHANNEL, _PROCESS = "channel-", "process-"  # chosen: the process's number follows
# Chosen.
_END_SECONDS = 0.1  # for a round of frames, and to exit
_LOOK_SECONDS = 0.001

_log = logging.getLogger(__name__)


class Predecessors:
    """Has forwarders kept over a restart, and ends those of the daemon before.

    Args:
        keepsakes: what the service manager keeps.
    """

    def __init__(self, keepsakes: Keepsakes) -> None:
        self._keepsakes = keepsakes

    def keep(self, pid: int, channel: int) -> None:
        """Let a forwarder outlive this daemon, if anything does."""
        if not self._keepsakes.is_kept:
            return
        with contextlib.suppress(OSError):  # it is gone already, or no descriptor is to be had
            process = os.pidfd_open(pid)
            try:
                if self._keepsakes.put(f"{_PROCESS}{pid}", process):
                    self._keepsakes.put(f"{_CHANNEL}{pid}", channel)
            finally:
                os.close(process)

    def forget(self, pid: int) -> None:
        """Keep a forwarder no more that has ended, or is to end."""
        self._keepsakes.drop(f"{_CHANNEL}{pid}")
        self._keepsakes.drop(f"{_PROCESS}{pid}")

    async def end(self) -> None:
        """End the forwarders of the daemon before, whose shapers are to be taken over now."""
        for name in self._keepsakes.names(_CHANNEL):
            self._hang_up(name)
        for name in self._keepsakes.names(_PROCESS):
            process = self._keepsakes.take(name)
            if process is not None:
                await _end(process, name)
                os.close(process)
            self._keepsakes.drop(name)

    def _hang_up(self, name: str) -> None:
        channel = self._keepsakes.take(name)
        if channel is not None:
            with socket.socket(fileno=channel) as end, contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # for others that hold it, too
        self._keepsakes.drop(name)


async def _end(process: int, name: str) -> None:
    """Wait for a process that was told to end; one that does not is killed."""
    if await _has_ended(process):
        return
    _log.warning("%s of the daemon before does not end: killing it", name)
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    await _has_ended(process)


async def _has_ended(process: int) -> bool:
    """Wait for a process a while; return whether it has ended: its handle is readable then."""
    looker = select.poll()
    looker.register(process, select.POLLIN)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _END_SECONDS
    while not looker.poll(0):
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True
