"""The control socket: who is answered, with what, and who is dropped; on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shaper.control.access import Peer
from shaper.control.service import Service
from shaper.errors import Busy, KernelRefused, NoSuchShaper
from tests.unit.instantly import instantly, until

SHOW = {"method": "org.shaper.Show", "parameters": {}}
DETACH = {"method": "org.shaper.Detach", "parameters": {"ifname": "shaper0"}}
NOBODY = Peer(65534, frozenset({65534}))
ROOT = Peer(0, frozenset({0}))


class Shapers:
    """Shapers of which there are none; a detach fails as it is told to."""

    failure: Exception | None = None

    async def show(self, ifname: str | None) -> list[Any]:
        """Return none."""
        return []

    async def detach(self, ifname: str) -> list[str]:
        """Warn, or fail."""
        if self.failure is not None:
            raise self.failure
        return ["not saved"]


class Client:
    """Somebody who is connected."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def ask(self, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        """Make calls, all at once, and return what they are answered with."""
        self.writer.write(b"".join(json.dumps(call).encode() + b"\0" for call in calls))
        answers = [await self._reader.readuntil(b"\0") for _ in calls]
        return [json.loads(answer[:-1]) for answer in answers]

    async def is_dropped(self) -> bool:
        """Whether the service ends the connection; nothing else would wake us."""
        with contextlib.suppress(ConnectionError):
            await self._reader.read()
        return True


class Rig:
    """A service on a socket in a directory of its own.

    Attributes:
        peer: who everybody is taken for.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "made" / "org.shaper"
        self.shapers = Shapers()
        self.service = Service(self.path, "no-such-group", self.shapers)
        self.peer = ROOT

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
    async def client(self) -> AsyncIterator[Client]:
        """Connect."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Return a service that does not listen yet."""
    rig = Rig(tmp_path)
    monkeypatch.setattr("shaper.control.service.peer_of", lambda _: rig.peer)
    return rig


@instantly
async def test_calls_are_answered_in_their_order(rig: Rig) -> None:
    """Several on one connection, sent at once, each with what it returns."""
    async with rig.serving(), rig.client() as client:
        assert await client.ask(SHOW, DETACH) == [
            {"parameters": {"shapers": []}},
            {"parameters": {"warnings": ["not saved"]}},
        ]


@instantly
async def test_who_comes_early_is_answered_later(rig: Rig) -> None:
    """From `listen` on clients may connect and ask; they wait until the daemon is ready."""
    rig.service.listen()
    async with rig.client() as client:
        asking = asyncio.create_task(client.ask(SHOW))
        await asyncio.sleep(1)
        assert not asking.done()
        rig.service.accept()
        assert await asking == [{"parameters": {"shapers": []}}]
    rig.service.close()


@pytest.mark.parametrize(
    ("failure", "name", "number", "words"),
    [
        (NoSuchShaper("shaper0: no such shaper"), "NoSuchShaper", errno.ENODEV, "no such shaper"),
        (KernelRefused("no room", errno.ENOSPC), "KernelRefused", errno.ENOSPC, "no room"),
        (ZeroDivisionError("a fault"), "KernelRefused", errno.EIO, "a fault"),
    ],
)
@instantly
async def test_a_refusal_has_a_name_and_a_number(
    rig: Rig, failure: Exception, name: str, number: int, words: str
) -> None:
    """Ours travel as they are; a fault of the daemon is told as one, and it serves on."""
    rig.shapers.failure = failure
    async with rig.serving(), rig.client() as client:
        refused, shown = await client.ask(DETACH, SHOW)
    assert refused["error"] == f"org.shaper.{name}"
    assert refused["parameters"]["errno"] == number
    assert words in refused["parameters"]["message"]
    assert shown == {"parameters": {"shapers": []}}


@instantly
async def test_reading_is_for_all_and_changing_is_not(rig: Rig) -> None:
    """Whoever is nobody in particular may look, also at the interface, and change nothing."""
    rig.peer = NOBODY
    rig.shapers.failure = AssertionError("it was asked all the same")
    info = {"method": "org.varlink.service.GetInfo", "parameters": {}}
    async with rig.serving(), rig.client() as client:
        shown, described, refused = await client.ask(SHOW, info, DETACH)
    assert shown == {"parameters": {"shapers": []}}
    assert described["parameters"]["product"] == "shaperd"
    assert refused["error"] == "org.shaper.NotPermitted"
    assert "members of group no-such-group (you are uid 65534)" in refused["parameters"]["message"]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n\0", "is not varlink"),
        (b"[]\0", "is not varlink"),
        (b"[" * 50_000 + b"\0", "is not varlink"),
        (b"x" * 70_000, "a message without an end"),
        (b"", "was silent for too long"),
        (b"{", "was silent for too long"),
    ],
)
@instantly
async def test_who_misbehaves_is_dropped(
    rig: Rig, caplog: pytest.LogCaptureFixture, sent: bytes, reason: str
) -> None:
    """What is not varlink, has no end or is never said costs the connection; others are served."""
    caplog.set_level("INFO")
    async with rig.serving():
        async with rig.client() as client:
            client.writer.write(sent)
            assert await client.is_dropped()
            assert reason in caplog.text
        async with rig.client() as client:
            assert len(await client.ask(SHOW)) == 1


@instantly
async def test_nobody_takes_every_place(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """One user has 32 connections at most; root gets in beside any number, and so does another."""
    rig.peer = NOBODY
    async with rig.serving(), contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(rig.client()) for _ in range(32)]
        for client in crowd:
            await client.ask(SHOW)
        refused = await stack.enter_async_context(rig.client())
        assert await refused.is_dropped()
        assert caplog.text.count("refused a client of uid 65534") == 1
        for peer in (ROOT, Peer(1000, frozenset())):
            rig.peer = peer
            served = await stack.enter_async_context(rig.client())
            assert len(await served.ask(SHOW)) == 1


@instantly
async def test_a_place_is_given_back(rig: Rig) -> None:
    """Who has left leaves room for the next."""
    rig.peer = NOBODY
    async with rig.serving():
        for _ in range(40):
            async with rig.client() as client:
                assert len(await client.ask(SHOW)) == 1


@instantly
async def test_closing_ends_all_and_removes_the_socket(rig: Rig) -> None:
    """Nobody is left waiting for an answer, and the next daemon finds the place free."""
    async with rig.serving(), rig.client() as client:
        await client.ask(SHOW)
        rig.service.close()
        assert await client.is_dropped()
        assert not rig.path.exists()


@instantly
async def test_a_socket_that_is_answered_is_not_taken(rig: Rig) -> None:
    """A second daemon refuses to start there, and takes nothing from the first."""
    async with rig.serving():
        with pytest.raises(Busy, match="another shaperd answers"):
            Service(rig.path, "shaper", rig.shapers).listen()
        async with rig.client() as client:
            assert len(await client.ask(SHOW)) == 1


@instantly
async def test_a_socket_left_behind_is_taken(rig: Rig) -> None:
    """What a daemon that was killed has left is in nobody's way; everyone may connect to ours."""
    rig.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(rig.path))
    async with rig.serving(), rig.client() as client:
        assert len(await client.ask(SHOW)) == 1
        assert stat.S_IMODE(rig.path.stat().st_mode) == 0o666


@instantly
async def test_what_is_no_socket_is_left_alone(rig: Rig) -> None:
    """A file of that name may be anything; it is not removed."""
    rig.path.parent.mkdir()
    rig.path.write_text("precious")
    with pytest.raises(KernelRefused, match="Address already in use"):
        rig.service.listen()
    assert rig.path.read_text() == "precious"


@instantly
async def test_a_client_that_cannot_be_accepted_is_accepted_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without descriptors the daemon pauses, in place of trying for ever, and takes it then."""
    failures = [OSError(errno.EMFILE, "Too many open files")]

    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            if failures:
                raise failures.pop()
            return super().accept()

    monkeypatch.setattr("shaper.control.service.socket.socket", Exhausted)
    async with rig.serving(), rig.client() as client:
        assert len(await client.ask(SHOW)) == 1
    assert caplog.text.count("Too many open files") == 1


@instantly
async def test_who_never_reads_is_dropped(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Answers are not hoarded for a client that only asks."""
    caplog.set_level("INFO")
    async with rig.serving(), rig.client() as client:
        client.writer.transport.pause_reading()
        calls = json.dumps(SHOW).encode() + b"\0"
        await until(lambda: client.writer.write(calls * 100) or "answers" in caplog.text)
    assert "does not read its answers" in caplog.text
