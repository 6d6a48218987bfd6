"""Events: numbered, kept for a while, and streamed to whoever reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shaper.control.latest_events import BATCH_EVENTS, HEARTBEAT_SECONDS, MOST_EVENTS, LatestEvents
from shaper.control.service import MAX_STREAMS_OF_ONE
from shaper.events import Event, Kind, tell
from tests.unit.instantly import instantly
from tests.unit.service_rig import DETACH, NOBODY, SHOW, RigClient, ServiceRig

MONITOR: dict[str, Any] = {"method": "org.shaper.Monitor", "parameters": {}, "more": True}
FIRST = 1000


@pytest.fixture
def latest() -> Iterator[LatestEvents]:
    """Return what takes in events."""
    made = LatestEvents(FIRST)
    made.open()
    yield made
    made.close()


@pytest.fixture
def rig(tmp_path: Path) -> ServiceRig:
    """Return a service that does not listen yet."""
    return ServiceRig(tmp_path)


def happen(count: int = 1) -> None:
    """Let events happen."""
    for number in range(count):
        tell(Event(Kind.STATE, "shaper0", "eth1"), "%s: number %d", "shaper0", number)


async def sentences(client: RigClient) -> list[str]:
    """Return what the next answer of a stream tells."""
    answer = await client.hear()
    assert answer["continues"]
    return [each["sentence"] for each in answer["parameters"]["events"]]


def test_events_are_numbered_and_counted(latest: LatestEvents) -> None:
    """A reader goes on from the number it was given, in batches, and misses nothing."""
    happen(BATCH_EVENTS + 3)
    first = latest.batch(FIRST)
    second = latest.batch(first["serial"])
    numbers = [each["serial"] for each in first["events"] + second["events"]]
    assert numbers == list(range(FIRST + 1, FIRST + BATCH_EVENTS + 4))
    assert not first["gap"]
    assert not second["gap"]
    assert latest.batch(second["serial"]) == {"events": [], "serial": latest.serial, "gap": False}
    assert latest.counts()["state"] == BATCH_EVENTS + 3
    assert latest.counts()["alarm"] == 0


@pytest.mark.parametrize("after", [FIRST, FIRST + 10 * MOST_EVENTS, 0, -5])
def test_what_was_missed_is_told(latest: LatestEvents, after: int) -> None:
    """A number that is no longer held, or of another daemon, is a gap, and told once."""
    happen(MOST_EVENTS + 1)
    batch = latest.batch(after)
    assert batch["gap"]
    assert batch["events"][0]["serial"] == FIRST + 2
    assert not latest.batch(batch["serial"])["gap"]


@instantly
async def test_nothing_is_lost_between_show_and_the_first_event(rig: ServiceRig) -> None:
    """What happens after `Show` is the first thing that `Monitor` tells."""
    async with rig.serving(), rig.client() as client:
        client.say(SHOW)
        serial = (await client.hear())["parameters"]["serial"]
        happen()
        client.say({**MONITOR, "parameters": {"after": serial}})
        assert await sentences(client) == ["shaper0: number 0"]
        happen()
        assert await sentences(client) == ["shaper0: number 0"]


@instantly
async def test_a_change_is_an_event_with_its_user(rig: ServiceRig) -> None:
    """Who changed what is told to all who look on."""
    async with rig.serving(), rig.client() as client, rig.client() as other:
        client.say(MONITOR)
        assert await sentences(client) == []
        await other.ask(DETACH)
        (event,) = (await client.hear())["parameters"]["events"]
    assert (event["event"], event["ifname"], event["uid"]) == ("detached", "shaper0", 0)


@instantly
async def test_silence_is_broken_by_a_heartbeat(rig: ServiceRig) -> None:
    """A stream says that it lives, and is not ended for its silence."""
    async with rig.serving(), rig.client() as client:
        client.say(MONITOR)
        begin = asyncio.get_running_loop().time()
        for _ in range(3):
            assert await sentences(client) == []
        assert asyncio.get_running_loop().time() - begin >= 2 * HEARTBEAT_SECONDS


@instantly
async def test_who_speaks_during_a_stream_ends_it(rig: ServiceRig) -> None:
    """Later or in the same breath; the service serves on."""
    async with rig.serving():
        for is_at_once in (True, False):
            async with rig.client() as client:
                client.say(MONITOR, *[SHOW] * is_at_once)
                if not is_at_once:
                    await client.hear()
                    client.say(SHOW)
                assert await client.is_dropped()
        async with rig.client() as client:
            assert len(await client.ask(SHOW)) == 1


@instantly
async def test_a_reader_that_does_not_read_is_dropped(rig: ServiceRig) -> None:
    """Others have their events meanwhile, and its place is free afterwards."""
    async with rig.serving(), rig.client() as idle, rig.client() as client:
        idle.writer.transport.pause_reading()  # type: ignore[attr-defined]
        idle.say(MONITOR)
        client.say(MONITOR)
        await client.hear()
        for _ in range(100):
            happen(BATCH_EVENTS)
            assert len(await sentences(client)) == BATCH_EVENTS
        await asyncio.sleep(10)
        assert rig.service.clients == 1


@instantly
async def test_a_user_has_so_many_streams(rig: ServiceRig) -> None:
    """One more is refused with a sentence, and none can be had without an answer."""
    rig.system.peer = NOBODY
    async with rig.serving():
        clients = []
        for _ in range(MAX_STREAMS_OF_ONE):
            context = rig.client()
            client = await context.__aenter__()
            clients.append(context)
            client.say(MONITOR)
            await client.hear()
        async with rig.client() as client:
            client.say(MONITOR)
            refused = await client.hear()
            assert refused["error"] == "org.shaper.Busy"
            client.say({**MONITOR, "oneway": True}, SHOW)
            assert "shapers" in (await client.hear())["parameters"]
        for context in clients:
            await context.__aexit__(None, None, None)


@instantly
async def test_a_stream_has_to_be_asked_for(rig: ServiceRig) -> None:
    """Without `more` there is an error, as varlink has it."""
    async with rig.serving(), rig.client() as client:
        client.say({**MONITOR, "more": False})
        assert (await client.hear())["error"] == "org.varlink.service.ExpectedMore"
