"""A control service for tests: on a real socket, with shapers that answer as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from shaper.control.access import Peer
from shaper.control.service import Service
from shaper.control.system import LinuxSystem

SHOW = {"method": "org.shaper.Show", "parameters": {}}
DETACH = {"method": "org.shaper.Detach", "parameters": {"ifname": "shaper0"}}
NOBODY = Peer(65534, frozenset({65534}))
ROOT = Peer(0, frozenset({0}))


class NoShapers:
    """Shapers of which there are none; a detach fails as it is told to."""

    failure: Exception | None = None
    show_failure: Exception | None = None
    many: Sequence[Any] = ()
    shown = 0

    def show(self, ifname: str | None) -> list[Any]:
        """Return none, or those there are; or fail."""
        self.shown += 1
        if self.show_failure is not None:
            raise self.show_failure
        return [*self.many]

    async def detach(self, ifname: str) -> list[str]:
        """Warn, or fail."""
        if self.failure is not None:
            raise self.failure
        return ["not saved"]


class RigClient:
    """Somebody who is connected."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def ask(self, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        """Make calls, all at once, and return their answers without the numbers of events."""
        self.say(*calls)
        answers = [await self.hear() for _ in calls]
        for answer in answers:
            for number in ("serial", "events", "version"):
                answer.get("parameters", {}).pop(number, None)
        return answers

    def say(self, *calls: dict[str, Any]) -> None:
        """Make calls, all at once."""
        self.writer.write(b"".join(json.dumps(call).encode() + b"\0" for call in calls))

    async def hear(self) -> dict[str, Any]:
        """Return the next answer."""
        answer: dict[str, Any] = json.loads((await self._reader.readuntil(b"\0"))[:-1])
        return answer

    async def is_dropped(self) -> bool:
        """Whether the service ends the connection; nothing else would wake us."""
        with contextlib.suppress(ConnectionError):
            await self._reader.read()
        return True


class ExhaustedSocket(socket.socket):
    """A listener whose process has no descriptor left for some of its clients.

    Attributes:
        failures: why the next ones cannot be accepted, as errno.
    """

    failures: list[int]

    def accept(self) -> tuple[socket.socket, Any]:
        """Fail, or accept."""
        if self.failures:
            raise OSError(self.failures.pop(), "Too many open files")
        return super().accept()


class RigSystem(LinuxSystem):
    """Real sockets, on which everybody is taken for somebody.

    Attributes:
        peer: that is who.
        failures: why the next clients cannot be accepted, as errno.
        is_free: calls cost nothing.
    """

    def __init__(self) -> None:
        self.peer = ROOT
        self.failures: list[int] = []
        self.is_free = False

    def unix_socket(self) -> socket.socket:
        """Return a socket that fails as it is told to."""
        listener = ExhaustedSocket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.failures = self.failures
        return listener

    def uid_of(self, sock: socket.socket) -> int:
        """Return who everybody is taken for."""
        return self.peer.uid

    def peer_of(self, sock: socket.socket) -> Peer:
        """Return who everybody is taken for."""
        return self.peer

    def used_ns(self) -> int:
        """Return what this thread has used of the processor."""
        return 0 if self.is_free else super().used_ns()


class ServiceRig:
    """A service on a socket in a directory of its own.

    Attributes:
        system: who connects, and what fails.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "made" / "org.shaper"
        self.shapers = NoShapers()
        self.system = RigSystem()
        self.service = Service(self.path, "no-such-group", self.shapers, system=self.system)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen and accept for a while."""
        self.service.listen()
        try:
            self.service.accept()
            yield
        finally:
            self.service.close()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[RigClient]:
        """Connect."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            yield RigClient(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
