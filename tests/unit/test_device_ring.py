"""The ring follows the queue's limit, and an administrator's hand; nothing in it is lost."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace

import pytest

from shaper.desired.plan import make_plan
from shaper.errors import KernelRefused
from shaper.model import DATAGRAM_FRAMES, Options, Queue
from tests.unit.device_rig import DeviceRig, rate
from tests.unit.instantly import instantly
from tests.unit.machine_rig import ETH1, SPEC

REFUSAL = KernelRefused("the kernel is busy", errno.EBUSY)


@pytest.fixture
def rig() -> Iterator[DeviceRig]:
    """Return a kernel on which no device is made yet."""
    rig = DeviceRig()
    yield rig
    rig.sockets.close()


@instantly
async def test_what_an_adopted_ring_holds_is_absorbed(rig: DeviceRig) -> None:
    """An earlier daemon's device may have been sent into before its ring is made to fit."""
    await rig.make(was_adopted=True)
    assert rig.forwarder.verbs() == ["open", "configure", "absorb", "bind"]


@instantly
async def test_a_length_set_by_hand_is_the_limit(rig: DeviceRig) -> None:
    """First 500 and then 200: each `ip link set shaper0 txqueuelen` is the queue's new limit."""
    await rig.make()
    for frames in (500, 200):
        rig.kernel.put(replace(rig.own, txqueuelen=frames))
        rig.device.follow(rig.own)
        await rig.realize()
        assert rig.device.spec.options.limit_packets == frames
        assert rig.forwarder.last("configure")["settings"]["limit_packets"] == frames
        assert rig.own.txqueuelen == frames


@instantly
async def test_a_length_of_zero_is_the_default(rig: DeviceRig) -> None:
    """A txqueuelen of 0 puts the limit back, and the device shows it."""
    await rig.make()
    await rig.realize(rate(64_000, limit_packets=500))
    rig.device.follow(rig.own)
    rig.kernel.put(replace(rig.own, txqueuelen=0))
    rig.device.follow(rig.own)
    await rig.realize()
    assert rig.device.spec.options.limit_packets is None
    assert rig.own.txqueuelen == DATAGRAM_FRAMES


@instantly
async def test_a_length_that_we_set_is_nobodys_wish(rig: DeviceRig) -> None:
    """The length that a new speed brings is no limit, before its event has come and after."""
    await rig.make()
    seen = [rig.own]
    for rate_bits in (100_000_000, 50_000_000):
        rig.device.spec = rate(rate_bits)
        await rig.device.realize(make_plan(rig.device.spec, seen[0], ETH1), seen[0], ETH1)
        seen.append(rig.own)
    for own in seen:
        rig.device.follow(own)
        assert rig.device.spec.options.limit_packets is None


@instantly
async def test_a_length_set_by_hand_at_the_same_time_is_the_limit(rig: DeviceRig) -> None:
    """Where a length of ours was overwritten before we saw it, the administrator's counts."""
    await rig.make()
    await rig.realize(rate(100_000_000))
    rig.kernel.put(replace(rig.own, txqueuelen=200))
    rig.device.follow(rig.own)
    assert rig.device.spec.options.limit_packets == 200


@instantly
async def test_a_length_of_ours_may_be_set_back_by_hand(rig: DeviceRig) -> None:
    """Once our own length has been seen, the one before it is a wish like any other."""
    await rig.make()
    before = rig.own.txqueuelen
    await rig.realize(rate(100_000_000))
    rig.device.follow(rig.own)
    rig.kernel.put(replace(rig.own, txqueuelen=before))
    rig.device.follow(rig.own)
    assert rig.device.spec.options.limit_packets == before


@pytest.mark.parametrize("verb", ["flush", "configure", "absorb"])
@instantly
async def test_a_length_that_was_not_set_yet_is_nobodys_wish(rig: DeviceRig, verb: str) -> None:
    """When a plan is refused before the ring is changed, the old length is no new limit."""
    await rig.make()
    await rig.realize(rate(100_000_000))
    rig.device.follow(rig.own)
    rig.kernel.put(replace(rig.own, is_up=False))
    rig.forwarder.refusals[verb] = [REFUSAL]
    with pytest.raises(KernelRefused):
        await rig.realize(rate(64_000))
    rig.device.follow(rig.own)
    assert rig.device.spec.options.limit_packets is None


@instantly
async def test_the_classic_queue_has_its_own_limit(rig: DeviceRig) -> None:
    """A length set by hand on a classic shaper is not taken for a limit it cannot have."""
    await rig.make()
    await rig.realize(replace(SPEC, options=Options(rate_bits=64_000, queue=Queue.CLASSIC)))
    rig.kernel.put(replace(rig.own, txqueuelen=500))
    rig.device.follow(rig.own)
    assert rig.device.spec.options.limit_packets is None


@instantly
async def test_a_ring_is_absorbed_before_it_shrinks(rig: DeviceRig) -> None:
    """What waits in a ring that is to be smaller is read first: the kernel would drop it.

    And the queue to come is in charge by then, as the one before may be full and read nothing.
    """
    await rig.make()
    await rig.realize(rate(64_000, limit_packets=500))
    rig.device.follow(rig.own)
    rig.forget_requests()
    rig.kernel.refusals["set_link"] = [REFUSAL]
    with pytest.raises(KernelRefused):
        await rig.realize(rate(64_000, limit_packets=100))
    told = rig.forwarder.verbs()
    assert told == ["configure", "absorb"], "before the kernel was asked, which refused"
    await rig.realize(rate(64_000, limit_packets=900))
    assert rig.own.txqueuelen == 900
    assert rig.forwarder.verbs().count("absorb") == 1, "what grows loses nothing"
