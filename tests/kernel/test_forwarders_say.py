"""A forwarder of a daemon of root's may change nothing, nor may what it starts."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shaper.control.access import may_change, peer_of
from shaper.supervisor.pool import Pool
from shaper.supervisor.process import Forwarder

CALLER = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.recv(1)
"""
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


class AnyProcess:
    """A process in the place of a forwarder."""

    is_silent = False

    def __init__(self, pid: int) -> None:
        self.pid = pid

    async def start(self) -> None:
        """Be there already."""

    async def stop(self) -> None:
        """Go on."""

    def fileno(self) -> int:
        """Return no channel."""
        return -1


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket to connect to."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(10)
        listener.bind(str(Path(directory) / "control"))
        listener.listen()
        yield listener


@pytest.mark.parametrize("argv", [[CALLER], [CHILD, CALLER]], ids=["itself", "its child"])
@pytest.mark.parametrize("is_forwarder", [True, False])
def test_what_a_forwarder_says(
    listener: socket.socket, argv: list[str], *, is_forwarder: bool
) -> None:
    """The kernel tells the caller's process, and by its session also one that it started."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    caller = subprocess.Popen(
        [sys.executable, "-c", *argv, listener.getsockname()], start_new_session=True
    )
    pool = Pool(1, make=lambda *_, **__: AnyProcess(caller.pid if is_forwarder else 1))

    async def may_caller_change() -> bool:
        await pool.start(_not_replaced, lambda _: None)
        with listener.accept()[0] as accepted:
            may = may_change(peer_of(accepted), "root", pool.is_forwarder)
        await pool.stop()
        return may

    assert asyncio.run(may_caller_change()) is not is_forwarder
    assert caller.wait(10) == 0


async def _not_replaced(_: int, __: Forwarder) -> None:
    raise AssertionError
