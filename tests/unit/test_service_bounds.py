"""The control socket: what a client can do to it, and where that ends; on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from shaper.control.access import Peer
from shaper.control.connection import MAX_MESSAGE_BYTES
from tests.unit.fake_daemon import SHAPER
from tests.unit.instantly import instantly, until
from tests.unit.service_rig import DETACH, NOBODY, ROOT, SHOW, ServiceRig


@pytest.fixture
def rig(tmp_path: Path) -> ServiceRig:
    """Return a service that does not listen yet."""
    return ServiceRig(tmp_path)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n\0", "is not varlink"),
        (b"[]\0", "is not varlink"),
        (b"[" * 50_000 + b"\0", "is not varlink"),
        (b"\xff\xfe{}\0", "is not varlink"),
        (b"1" * 5000 + b"\0", "is not varlink"),
        (b"x" * (MAX_MESSAGE_BYTES + 5000), "a message without an end"),
        (b"x" * (MAX_MESSAGE_BYTES + 5000) + b"\0", "a message"),
        (b"", "was silent for too long"),
        (b"{", "was silent for too long"),
    ],
)
@instantly
async def test_who_misbehaves_is_dropped(
    rig: ServiceRig, caplog: pytest.LogCaptureFixture, sent: bytes, reason: str
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
async def test_nobody_takes_every_place(rig: ServiceRig, caplog: pytest.LogCaptureFixture) -> None:
    """One user has 64 connections; the most silent makes room for another, and for nobody else."""
    rig.system.peer = NOBODY
    async with rig.serving(), contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(rig.client()) for _ in range(64)]
        for client in crowd:
            await client.ask(SHOW)
            await asyncio.sleep(0.01)
        for peer in (ROOT, Peer(1000, frozenset())):
            rig.system.peer = peer
            served = await stack.enter_async_context(rig.client())
            assert len(await served.ask(SHOW)) == 1
        rig.system.peer = NOBODY
        served = await stack.enter_async_context(rig.client())
        assert len(await served.ask(SHOW)) == 1
        assert await crowd[0].is_dropped()
        assert caplog.text.count("uid 65534: dropped a client: it had to make room") == 1
        for client in crowd[1:]:
            assert len(await client.ask(SHOW)) == 1


@instantly
async def test_a_place_is_given_back(rig: ServiceRig) -> None:
    """Who has left leaves room for the next."""
    rig.system.peer = NOBODY
    async with rig.serving():
        for _ in range(40):
            async with rig.client() as client:
                assert len(await client.ask(SHOW)) == 1


@instantly
async def test_who_never_reads_is_dropped(
    rig: ServiceRig, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers are not hoarded for a client that only asks: one is made, and no more."""
    rig.system.peer = NOBODY
    rig.shapers.many = [SHAPER] * 1000
    async with rig.serving(), rig.client() as client:
        client.writer.transport.pause_reading()
        calls = json.dumps(SHOW).encode() + b"\0"
        client.writer.write(calls * 1000)
        await until(lambda: "does not read its answers" in caplog.text)
    assert rig.shapers.shown == 1


@instantly
async def test_answers_nobody_reads_have_a_bound(
    rig: ServiceRig, caplog: pytest.LogCaptureFixture
) -> None:
    """Several clients share one; where they differ, who has waited longest gives up its own."""
    # On a slow machine an answer costs more than what is saved of the callers' share of the
    # processor; the second client would wait for its turn until the first's answer is too old.
    rig.system.is_free = True
    rig.system.peer = NOBODY
    rig.shapers.many = [SHAPER] * 8000  # some 5 MB; 8 MiB are the bound
    async with rig.serving(), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(rig.client()) for _ in range(3)]
        for client in clients:
            client.writer.transport.pause_reading()
        for client in clients[:2]:
            client.writer.write(json.dumps(SHOW).encode() + b"\0")
        await until(lambda: rig.shapers.shown == 1)
        await asyncio.sleep(0.5)
        assert caplog.text == ""
        clients[2].writer.write(json.dumps(SHOW).encode() + b"\0")
        await until(lambda: "does not read its answers" in caplog.text)
        assert rig.shapers.shown == 2


@instantly
async def test_the_log_is_not_flooded(rig: ServiceRig, caplog: pytest.LogCaptureFixture) -> None:
    """What a user does is told once a minute, with how often it was not; no traceback of it."""
    rig.system.peer = NOBODY
    rig.shapers.show_failure = RecursionError("a fault")
    async with rig.serving():
        for _ in range(20):
            async with rig.client() as client:
                client.writer.write(b"[]\0")
                assert await client.is_dropped()
            async with rig.client() as client:
                (refused,) = await client.ask(SHOW)
                assert refused["error"] == "org.shaper.KernelRefused"
        assert len(caplog.records) == 1
        await asyncio.sleep(61)
        async with rig.client() as client:
            client.writer.write(b"[]\0")
            assert await client.is_dropped()
    assert "39 more such lines were left out" in caplog.text
    assert "Traceback" not in caplog.text


@instantly
async def test_an_answer_is_shared_until_something_changes(rig: ServiceRig) -> None:
    """Those who only look are given one answer for a while; root asks anew."""
    async with rig.serving(), rig.client() as root:
        rig.system.peer = NOBODY
        async with rig.client() as client:
            await client.ask(*[SHOW] * 20)
            assert rig.shapers.shown == 1
            await root.ask(SHOW)
            assert rig.shapers.shown == 2
            await root.ask(DETACH)
            await client.ask(SHOW)
            assert rig.shapers.shown == 3
            await asyncio.sleep(1)
            await client.ask(SHOW)
            assert rig.shapers.shown == 4


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ({}, "ProtocolViolation"),
        ({"method": "org.shaper.Show", "upgrade": True, "more": True}, "ProtocolViolation"),
        ({"method": "org.shaper._detach"}, "ProtocolViolation"),
        ({"method": "org.shaper.Explode"}, "MethodNotFound"),
        ({"method": "org.other.Show"}, "InterfaceNotFound"),
        ({"method": "org.shaper.Show", "parameters": {"ifname": True}}, "InvalidParameter"),
        ({"method": "org.shaper.SetSpeed", "parameters": {}}, "InvalidParameter"),
        (
            {"method": "org.shaper.SetSpeed", "parameters": {"ifname": "a", "rate_bits": True}},
            "InvalidParameter",
        ),
        (
            {"method": "org.shaper.SetSpeed", "parameters": {"ifname": "a", "rate_bits": 1e999}},
            "InvalidParameter",
        ),
        *(
            ({"method": f"org.shaper.{method}", "parameters": {key: text}}, "InvalidValue")
            for method, key in (("Add", "ifname"), ("Attach", "master"), ("Attach", "cgroup"))
            for text in ("a\0", "a\ud800b")
        ),
    ],
)
@instantly
async def test_a_call_that_makes_no_sense_is_an_error(
    rig: ServiceRig, caplog: pytest.LogCaptureFixture, call: dict[str, Any], error: str
) -> None:
    """It is answered with an error, the connection is kept, and the log has nothing of it."""
    async with rig.serving(), rig.client() as client:
        refused, shown = await client.ask(call, SHOW)
    assert refused["error"].endswith(error)
    assert "shapers" in shown["parameters"]
    assert caplog.text == ""


@instantly
async def test_what_wants_no_answer_gets_none(rig: ServiceRig) -> None:
    """A one-way call is made, also one that fails; what is answered is the next."""
    async with rig.serving(), rig.client() as client:
        for call in (SHOW, DETACH, {"method": "org.shaper.Explode"}):
            client.writer.write(json.dumps({**call, "oneway": True}).encode() + b"\0")
        assert await client.ask(SHOW) == [{"parameters": {"shapers": []}}]
    assert rig.shapers.shown == 2


@instantly
async def test_no_descriptor_is_ever_taken(rig: ServiceRig) -> None:
    """Those sent along with a call are not opened here; where the kernel can, it refuses them."""
    rig.system.peer = NOBODY
    reading, writing = os.pipe()
    async with rig.serving():
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            client.connect(str(rig.path))
            await asyncio.sleep(0.1)
            before = len(os.listdir("/proc/self/fd"))
            call = json.dumps(SHOW).encode() + b"\0"
            with contextlib.suppress(PermissionError):
                socket.send_fds(client, [call], [writing] * 200)
            client.send(call)
            await until(lambda: rig.shapers.shown)
            assert len(os.listdir("/proc/self/fd")) == before
    os.close(writing)
    os.close(reading)
