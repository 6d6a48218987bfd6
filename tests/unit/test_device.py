"""A device makes plans true: what changed is set, in the kernel and in the forwarder."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from socket import AF_INET6

import pytest

from shaper.errors import KernelRefused, ShaperError
from shaper.model import Link, Spec
from shaper.testing.memory_tap import MemoryTap
from tests.unit.device_rig import DeviceRig, rate
from tests.unit.instantly import instantly
from tests.unit.machine_rig import ETH1, SPEC, MemoryForwarder

REFUSAL = KernelRefused("the kernel is busy", errno.EBUSY)


@pytest.fixture
def rig() -> Iterator[DeviceRig]:
    """Return a kernel on which no device is made yet."""
    rig = DeviceRig()
    yield rig
    rig.sockets.close()


@instantly
async def test_a_new_device_is_silent(rig: DeviceRig) -> None:
    """Before it has a master it has no carrier, no address of its own, and asks for nobody."""
    tap = MemoryTap("shaper0", rig.kernel)
    await rig.device_of(tap).prepare()
    assert not tap.has_carrier
    assert tap.ifindex in rig.kernel.quiet
    assert (tap.ifindex, AF_INET6) in rig.kernel.probes
    assert rig.kernel.aliases[tap.ifindex] == "shaper"


@instantly
async def test_a_new_device_is_made_with_few_words(rig: DeviceRig) -> None:
    """One request silences it and one does all else; its forwarder is told of the TAP alone."""
    await rig.make(Spec("shaper0"), None)
    assert len(rig.kernel.asked("set_link")) == 2
    assert rig.own.txqueuelen == 10
    assert rig.forwarder.verbs() == ["open"]


@instantly
async def test_a_device_without_ipv6_is_named_all_the_same(rig: DeviceRig) -> None:
    """The request that is refused for want of IPv6 is made again without it."""
    tap = MemoryTap("shaper0", rig.kernel)
    rig.kernel.put(replace(rig.kernel.devices[tap.ifindex], mtu=1000))
    await rig.device_of(tap).prepare()
    assert rig.kernel.aliases[tap.ifindex] == "shaper"


@instantly
async def test_a_plan_is_made_true(rig: DeviceRig) -> None:
    """The device looks like its master, says what it is, and its forwarder can send."""
    rig.kernel.devices[2] = master = replace(ETH1, mtu=1400)
    await rig.make()
    await rig.realize(rate(10_000_000), master)
    assert (rig.own.mtu, rig.own.address, rig.own.is_running) == (1400, ETH1.address, True)
    assert rig.kernel.aliases[rig.index] == "shaper of eth1 at 10Mbit"
    assert rig.kernel.speeds == {"shaper0": 10}
    assert rig.forwarder.last("configure")["settings"]["rate_bits"] == 10_000_000
    assert rig.forwarder.last("bind")["framing"] == "ethernet"


@instantly
async def test_the_same_plan_sets_nothing(rig: DeviceRig) -> None:
    """Carried out twice, a plan asks nobody for anything the second time."""
    await rig.make()
    rig.forget_requests()
    await rig.realize()
    assert rig.kernel.requests == []
    assert rig.forwarder.told == []


@pytest.mark.parametrize(
    ("master", "attributes", "verbs"),
    [
        (replace(ETH1, mtu=1400), ["mtu"], ["configure"]),
        (replace(ETH1, address=bytes.fromhex("020000000077")), ["address"], []),
        (replace(ETH1, is_noarp=True), [], []),
        (replace(ETH1, is_up=False), [], ["unbind"]),
        (None, [], ["unbind"]),
        (replace(ETH1, ifindex=9), [], ["bind"]),
    ],
)
@instantly
async def test_only_what_the_master_changed_is_set(
    rig: DeviceRig, master: Link | None, attributes: list[str], verbs: list[str]
) -> None:
    """Each change of the master changes what follows from it, and nothing else."""
    await rig.make()
    rig.forget_requests()
    await rig.realize(None, master)
    assert rig.set_attributes() == attributes
    assert rig.forwarder.verbs() == verbs


@instantly
async def test_a_new_speed_changes_what_follows_from_it(rig: DeviceRig) -> None:
    """Rate, queue and offload follow the speed; MTU and binding stay."""
    await rig.make()
    rig.forget_requests()
    await rig.realize(rate(1_000_000_000))
    assert sorted(rig.set_attributes()) == ["gso_max_size", "ifalias", "txqlen"]
    assert rig.forwarder.verbs() == ["configure"]
    assert rig.tap.has_offload
    await rig.realize(rate(64_000))
    assert not rig.tap.has_offload


@instantly
async def test_an_administrators_mtu_stays(rig: DeviceRig) -> None:
    """What was set by hand on the device is left alone until the master's changes."""
    await rig.make()
    rig.kernel.put(replace(rig.own, mtu=1300))
    await rig.realize(rate(128_000))
    assert rig.own.mtu == 1300
    await rig.realize(None, replace(ETH1, mtu=1400))
    assert rig.own.mtu == 1400


@instantly
async def test_the_masters_address_is_put_back(rig: DeviceRig) -> None:
    """Frames must bear the master's address: one set by hand is corrected."""
    await rig.make()
    rig.kernel.put(replace(rig.own, address=bytes.fromhex("020000000055")))
    await rig.realize()
    assert rig.own.address == ETH1.address


@instantly
async def test_a_name_is_followed(rig: DeviceRig) -> None:
    """`ip link set shaper0 name slow`: the spec has the new name."""
    await rig.make()
    rig.device.follow(replace(rig.own, ifname="slow"))
    assert rig.device.spec == replace(SPEC, ifname="slow")


@instantly
async def test_taking_the_device_down_flushes(rig: DeviceRig) -> None:
    """What waits is dropped once when the device goes down, and not when it comes up."""
    await rig.make()
    rig.forget_requests()
    rig.kernel.put(replace(rig.own, is_up=False))
    await rig.realize()
    assert rig.forwarder.verbs() == ["flush"]
    await rig.realize()
    rig.kernel.put(replace(rig.own, is_up=True))
    await rig.realize()
    assert rig.forwarder.verbs() == ["flush"]


@instantly
async def test_a_successor_is_told_everything(rig: DeviceRig) -> None:
    """A new forwarder knows nothing: the TAP, the settings and the master are handed over."""
    await rig.make()
    successor = MemoryForwarder()
    await rig.device.hand_over(successor)
    assert successor.verbs() == ["open", "configure", "bind"]
    assert successor.last("configure") == rig.forwarder.last("configure")
    rig.forget_requests()
    await rig.realize()
    assert rig.kernel.requests == []


@instantly
async def test_an_unfinished_hand_over_is_finished_with_the_plan(rig: DeviceRig) -> None:
    """A successor that refused a part was told too little: all of the plan is made anew."""
    await rig.make()
    broken = MemoryForwarder()
    broken.refusals["bind"] = [KernelRefused("forwarder 7 is gone", errno.EPIPE)]
    with pytest.raises(KernelRefused):
        await rig.device.hand_over(broken)
    await rig.realize()
    assert broken.verbs() == ["open", "configure", "configure", "bind"]


@pytest.mark.parametrize("place", ["set_link", "configure", "bind"])
@instantly
async def test_a_refused_plan_is_tried_again_whole(rig: DeviceRig, place: str) -> None:
    """After a refusal nothing is taken for done: the next try sets all there is."""
    await rig.make()
    refusals = rig.kernel.refusals if place == "set_link" else rig.forwarder.refusals
    refusals[place] = [REFUSAL]
    other = replace(ETH1, ifindex=9, mtu=1400)
    with pytest.raises(ShaperError):
        await rig.realize(None, other)
    await rig.realize(None, other)
    assert rig.own.mtu == 1400
    assert rig.own.is_running
    assert rig.forwarder.verbs()[-2:] == ["configure", "bind"]


@instantly
async def test_a_small_mtu_costs_ipv6_and_no_more(rig: DeviceRig) -> None:
    """Below 1280 bytes the kernel takes IPv6 away; above, the device is silenced anew."""
    await rig.make()
    await rig.realize(None, replace(ETH1, mtu=1000))
    assert rig.index not in rig.kernel.quiet
    await rig.realize(None, ETH1)
    assert rig.index in rig.kernel.quiet
    assert (rig.index, AF_INET6) in rig.kernel.probes
    assert rig.index not in rig.kernel.link_local


@instantly
async def test_neighbours_follow_the_master(rig: DeviceRig) -> None:
    """An address is resolved on the master there is, and on none while there is none."""
    await rig.make()
    incomplete = 0x01
    rig.kernel.set_entry(rig.index, "10.0.0.2", incomplete)
    await rig.realize(None, None)
    rig.neighbours.resolve_all(rig.index)
    assert (2, 2, "10.0.0.2") not in rig.kernel.entries
    await rig.realize(None, ETH1)
    assert (2, 2, "10.0.0.2") in rig.kernel.entries


@instantly
async def test_a_master_without_a_link_header_resolves_nobody(rig: DeviceRig) -> None:
    """Over ppp or tun frames are stripped, and there is nobody to ask for."""
    await rig.make()
    await rig.realize(None, replace(ETH1, ifindex=9, arphrd=0xFFFE, address=b""))
    assert rig.forwarder.last("bind")["framing"] == "bare"
    assert rig.own.is_noarp
    rig.kernel.set_entry(rig.index, "10.0.0.2", 0x01)
    rig.neighbours.resolve_all(rig.index)
    assert (9, 2, "10.0.0.2") not in rig.kernel.entries


@instantly
async def test_removing_and_abandoning(rig: DeviceRig) -> None:
    """Both close the path; what is abandoned stays for a successor, what is removed goes."""
    device = await rig.make()
    await device.abandon()
    assert rig.forwarder.verbs()[-1] == "close"
    assert rig.tap.is_closed
    assert rig.index in rig.kernel.devices
    device = await rig.make()
    rig.forwarder.refusals["close"] = [KernelRefused("forwarder 7 is gone", errno.EPIPE)]
    await device.remove()
    assert rig.tap.is_closed
    assert rig.index not in rig.kernel.devices
