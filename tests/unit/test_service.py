"""The control socket: where it is, who gets in, and what is answered; on a real socket."""

from __future__ import annotations

import asyncio
import errno
import socket
import stat
from pathlib import Path

import pytest

from shaper.control.service import Service
from shaper.errors import Busy, KernelRefused, NoSuchShaper
from tests.unit.instantly import instantly
from tests.unit.service_rig import DETACH, NOBODY, ROOT, SHOW, ServiceRig


@pytest.fixture
def rig(tmp_path: Path) -> ServiceRig:
    """Return a service that does not listen yet."""
    return ServiceRig(tmp_path)


@instantly
async def test_calls_are_answered_in_their_order(rig: ServiceRig) -> None:
    """Several on one connection, sent at once, each with what it returns."""
    async with rig.serving(), rig.client() as client:
        assert await client.ask(SHOW, DETACH) == [
            {"parameters": {"shapers": []}},
            {"parameters": {"warnings": ["not saved"]}},
        ]


@instantly
async def test_who_comes_early_is_answered_later(rig: ServiceRig) -> None:
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
    rig: ServiceRig, failure: Exception, name: str, number: int, words: str
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
async def test_reading_is_for_all_and_changing_is_not(rig: ServiceRig) -> None:
    """Whoever is nobody in particular may look, also at the interface, and change nothing."""
    rig.system.peer = NOBODY
    rig.shapers.failure = AssertionError("it was asked all the same")
    info = {"method": "org.varlink.service.GetInfo", "parameters": {}}
    async with rig.serving(), rig.client() as client:
        shown, described, refused = await client.ask(SHOW, info, DETACH)
    assert shown == {"parameters": {"shapers": []}}
    assert described["parameters"]["product"] == "shaperd"
    assert refused["error"] == "org.shaper.NotPermitted"
    assert "members of group no-such-group (you are uid 65534)" in refused["parameters"]["message"]


@instantly
async def test_closing_ends_all_and_removes_the_socket(rig: ServiceRig) -> None:
    """Nobody is left waiting for an answer, and the next daemon finds the place free."""
    async with rig.serving(), rig.client() as client:
        await client.ask(SHOW)
        rig.service.close()
        assert await client.is_dropped()
        assert not rig.path.exists()


@instantly
async def test_a_socket_that_is_answered_is_not_taken(rig: ServiceRig) -> None:
    """A second daemon refuses to start there, and takes nothing from the first."""
    async with rig.serving():
        with pytest.raises(Busy, match="another shaperd answers"):
            Service(rig.path, "shaper", rig.shapers).listen()
        async with rig.client() as client:
            assert len(await client.ask(SHOW)) == 1


@instantly
async def test_a_socket_left_behind_is_taken(rig: ServiceRig) -> None:
    """What a daemon that was killed has left is in nobody's way; everyone may connect to ours."""
    rig.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(rig.path))
    async with rig.serving(), rig.client() as client:
        assert len(await client.ask(SHOW)) == 1
        assert stat.S_IMODE(rig.path.stat().st_mode) == 0o666


@instantly
async def test_what_is_no_socket_is_left_alone(rig: ServiceRig) -> None:
    """A file of that name may be anything; it is not removed."""
    rig.path.parent.mkdir()
    rig.path.write_text("precious")
    with pytest.raises(KernelRefused, match="Address already in use"):
        rig.service.listen()
    assert rig.path.read_text() == "precious"


@instantly
async def test_a_client_that_cannot_be_accepted_is_accepted_later(
    rig: ServiceRig, caplog: pytest.LogCaptureFixture
) -> None:
    """Without memory the daemon pauses, in place of trying for ever, and takes it then."""
    rig.system.failures[:] = [errno.ENOMEM]
    async with rig.serving(), rig.client() as client:
        assert len(await client.ask(SHOW)) == 1
    assert caplog.text.count("cannot accept a client") == 1


@instantly
async def test_without_descriptors_root_gets_in(rig: ServiceRig) -> None:
    """A descriptor is kept for it; another user's client is turned away, and serving goes on."""
    async with rig.serving():
        rig.system.peer = NOBODY
        rig.system.failures[:] = [errno.EMFILE]
        async with rig.client() as client:
            assert await client.is_dropped()
        rig.system.peer = ROOT
        rig.system.failures[:] = [errno.EMFILE]
        async with rig.client() as client:
            assert len(await client.ask(SHOW)) == 1


@instantly
async def test_without_descriptors_a_crowd_makes_room(rig: ServiceRig) -> None:
    """A client of the user that has most is given up for the newcomer."""
    async with rig.serving():
        rig.system.peer = NOBODY
        async with rig.client() as hog:
            await hog.ask(SHOW)
            rig.system.peer = ROOT
            rig.system.failures[:] = [errno.EMFILE]
            async with rig.client() as client:
                assert len(await client.ask(SHOW)) == 1
            assert await hog.is_dropped()


@instantly
async def test_what_people_change_is_logged_with_their_uid(
    rig: ServiceRig, caplog: pytest.LogCaptureFixture
) -> None:
    """A change that was made has a line; a look and a change that was refused have none."""
    caplog.set_level("INFO")
    async with rig.serving(), rig.client() as client:
        await client.ask(SHOW, DETACH)
        rig.shapers.failure = NoSuchShaper("shaper0: no such shaper")
        await client.ask(DETACH)
    lines = [each.getMessage() for each in caplog.records if "uid" in each.getMessage()]
    assert lines == ["uid 0: Detach ifname='shaper0'"]
