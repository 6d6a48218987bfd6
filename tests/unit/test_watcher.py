"""What the kernel reports is followed, in whatever order it comes and whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from shaper.errors import KernelRefused
from shaper.kernel.links import parse_link
from shaper.supervisor.watcher import Watcher
from shaper.testing.memory_kernel import MemoryKernel
from shaper.testing.memory_messages import MemoryMessage, address_message, link_message
from shaper.testing.memory_netlink import MemoryNetlink
from tests.unit.instantly import instantly, settle, until
from tests.unit.machine_rig import ETH1

ETH2 = replace(ETH1, ifindex=3, ifname="eth2")
REFUSAL = KernelRefused("the kernel is busy", errno.EBUSY)


class WatcherRig:
    """A watcher of a kernel in memory, and what it reported."""

    def __init__(self) -> None:
        self.kernel = MemoryNetlink()
        self.kernel.devices = {2: ETH1}
        self.reported: list[set[int]] = []
        self.failures: list[Exception] = []  # of the next reports
        self.watcher = Watcher(self.kernel, self._changed, MemoryKernel(self.kernel))

    async def _changed(self, indices: set[int]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.reported.append(indices)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow for a while."""
        self.watcher.start()
        try:
            yield
        finally:
            await self.watcher.stop()


@pytest.fixture
def rig() -> WatcherRig:
    """Return a watcher that has not started."""
    return WatcherRig()


@pytest.mark.parametrize("link", [ETH1, replace(ETH2, is_noarp=True, lower=2, upper=7)])
def test_the_kernel_in_memory_speaks_as_the_real_one(link: object) -> None:
    """The message of a device is understood as that device."""
    assert parse_link(link_message(link)) == link


@instantly
async def test_a_change_is_reported_once(rig: WatcherRig) -> None:
    """A changed device is told of with its index; an event that changes nothing is not."""
    async with rig.following():
        rig.kernel.put(replace(ETH1, mtu=1400))
        await until(lambda: rig.reported)
        rig.kernel.put(replace(ETH1, mtu=1400))
        await settle()
    assert rig.reported == [{2}]
    assert rig.watcher.links.by_index[2].mtu == 1400


@instantly
async def test_a_device_that_went_is_reported(rig: WatcherRig) -> None:
    """The index of a removed device is told of, and it is in the table no more."""
    async with rig.following():
        rig.kernel.take_away(2)
        await until(lambda: rig.reported)
    assert rig.reported == [{2}]
    assert rig.watcher.links.index(2) is None


@pytest.mark.parametrize("event", ["RTM_NEWLINK", "RTM_DELLINK"])
@instantly
async def test_a_bridge_tells_nothing_of_its_port(rig: WatcherRig, event: str) -> None:
    """A port's message of family AF_BRIDGE lacks most attributes, and is none of the device's."""
    async with rig.following():
        fields = {"family": 7, "index": 2, "ifi_type": 1, "flags": 0}
        rig.kernel.tell(MemoryMessage(event, {"IFLA_IFNAME": "eth1"}, **fields))
        await settle()
    assert rig.watcher.links.index(2) == ETH1
    assert rig.reported == []


@instantly
async def test_an_event_is_newer_than_the_dump_it_overtakes(rig: WatcherRig) -> None:
    """What changes, comes or goes while the first dump is on its way is not undone by it."""
    rig.kernel.devices[3] = ETH2

    def change() -> None:
        rig.kernel.put(replace(ETH1, is_up=False))
        rig.kernel.take_away(3)
        rig.kernel.put(replace(ETH2, ifindex=4, ifname="eth3"))

    rig.kernel.meanwhile["links"] = change
    rig.watcher.start()
    await until(lambda: rig.reported)
    await rig.watcher.stop()
    assert rig.watcher.links.by_index == rig.kernel.devices
    assert rig.reported == [{2, 3, 4}]


@instantly
async def test_lost_events_are_made_up_for(rig: WatcherRig) -> None:
    """After an overflow every device is told of, and the table is as the kernel's."""
    async with rig.following():
        rig.kernel.devices = {3: ETH2}
        rig.kernel.overflow()
        await until(lambda: rig.reported)
    assert rig.reported == [{2, 3}]
    assert rig.watcher.links.by_index == {3: ETH2}


@instantly
async def test_lost_neighbour_events_are_made_up_for(rig: WatcherRig) -> None:
    """After an overflow what a master learned meanwhile is written for the shaper that asked."""
    async with rig.following():
        rig.kernel.devices[3] = ETH2
        rig.watcher.neighbours.delegate(3, 2)
        rig.kernel.neighbour_event("RTM_GETNEIGH", 3, "10.0.0.2")
        await until(lambda: (2, 2, "10.0.0.2") in rig.kernel.entries)
        entry = {"NDA_DST": "10.0.0.2", "NDA_LLADDR": "02:00:00:00:00:99"}
        rig.kernel.entries[2, 2, "10.0.0.2"] = MemoryMessage(
            "RTM_NEWNEIGH", entry, ifindex=2, family=2, state=2
        )
        rig.kernel.overflow()
        await until(lambda: (3, 2, "10.0.0.2") in rig.kernel.entries)


@instantly
async def test_a_dump_that_fails_is_asked_for_again(rig: WatcherRig) -> None:
    """An overflow is not forgotten because the kernel refused once to tell everything."""
    async with rig.following():
        rig.kernel.refusals["links"] = [REFUSAL, REFUSAL]
        rig.kernel.devices = {3: ETH2}
        rig.kernel.overflow()
        await until(lambda: rig.reported)
    assert rig.reported == [{2, 3}]


@instantly
async def test_what_cannot_be_told_fails_the_start(rig: WatcherRig) -> None:
    """Without a first look there is nothing to follow: the refusal is the caller's."""
    rig.kernel.refusals["links"] = [REFUSAL]
    with pytest.raises(KernelRefused):
        rig.watcher.start()
    await rig.watcher.stop()


@instantly
async def test_a_fault_of_ours_does_not_end_the_following(
    rig: WatcherRig, caplog: pytest.LogCaptureFixture
) -> None:
    """Any exception of a report is logged, and later changes are still told of."""
    async with rig.following():
        rig.failures = [ZeroDivisionError("a fault")]
        rig.kernel.put(replace(ETH1, mtu=1400))
        await until(lambda: not rig.failures)
        rig.kernel.put(replace(ETH1, mtu=1300))
        await until(lambda: rig.reported)
    assert rig.reported == [{2}]
    assert "following the kernel" in caplog.text


@pytest.mark.parametrize("failure", [REFUSAL, ZeroDivisionError("a fault")])
@instantly
async def test_a_report_that_failed_is_made_again(rig: WatcherRig, failure: Exception) -> None:
    """A change is not lost with the report that failed: no other event need follow."""
    async with rig.following():
        rig.failures = [failure]
        rig.kernel.put(replace(ETH1, mtu=1400))
        await until(lambda: rig.reported)
    assert rig.reported == [{2}]


@instantly
async def test_an_event_that_is_not_understood_is_passed_over(
    rig: WatcherRig, caplog: pytest.LogCaptureFixture
) -> None:
    """A neighbour event without a family is logged, and later ones are obeyed."""
    caplog.set_level(logging.ERROR)
    async with rig.following():
        rig.kernel.tell(MemoryMessage("RTM_NEWNEIGH", {"NDA_DST": "10.0.0.9"}))
        rig.kernel.put(replace(ETH1, mtu=1400))
        await until(lambda: rig.reported)
        rig.kernel.devices[3] = ETH2
        rig.watcher.neighbours.delegate(3, 2)
        rig.kernel.neighbour_event("RTM_GETNEIGH", 3, "10.0.0.2")
        await until(lambda: (2, 2, "10.0.0.2") in rig.kernel.entries)
    assert "trying again" in caplog.text


@instantly
async def test_looking_at_once(rig: WatcherRig) -> None:
    """A device that no event has told of yet is found, and one that is not there is None."""
    async with rig.following():
        rig.kernel.devices[3] = ETH2
        assert rig.watcher.look_at(3) == ETH2
        assert rig.watcher.look_at(9) is None
        await until(lambda: rig.reported)
    assert rig.reported == [{3}]


@instantly
async def test_what_can_be_heard_is_not_asked_for(rig: WatcherRig) -> None:
    """The event of a new device waits when its making is answered: that is told, and reported."""
    async with rig.following():
        rig.kernel.put(ETH2)
        assert rig.watcher.look_at(3) == ETH2
        assert rig.kernel.asked("link") == []
        await until(lambda: rig.reported)
    assert rig.reported == [{3}]


@instantly
async def test_looking_hears_of_a_refusal(rig: WatcherRig) -> None:
    """Only a missing device is None: any other refusal is the caller's."""
    async with rig.following():
        rig.kernel.refusals["link"] = [REFUSAL]
        with pytest.raises(KernelRefused):
            rig.watcher.look_at(3)


@instantly
async def test_a_report_that_always_fails_keeps_no_neighbour_waiting(rig: WatcherRig) -> None:
    """One device that cannot be dealt with does not stop the traffic of all others."""
    async with rig.following():
        rig.failures = [ZeroDivisionError("a fault")] * 1000
        rig.kernel.put(replace(ETH1, mtu=1400))
        await settle()
        rig.kernel.devices[3] = ETH2
        rig.watcher.neighbours.delegate(3, 2)
        rig.kernel.neighbour_event("RTM_GETNEIGH", 3, "10.0.0.2")
        await until(lambda: (2, 2, "10.0.0.2") in rig.kernel.entries)


@instantly
async def test_events_before_an_overflow_are_older_than_the_dump(rig: WatcherRig) -> None:
    """What waits when events are lost is thrown away: its successors are the lost ones."""
    async with rig.following():
        for mtu in (1400, 1300):
            rig.kernel.put(replace(ETH1, mtu=mtu))
        rig.kernel.devices[2] = replace(ETH1, mtu=1300, is_up=False)
        rig.kernel.overflow()
        await until(lambda: rig.reported)
        await settle()
    assert rig.watcher.links.by_index == rig.kernel.devices


@instantly
async def test_addresses_are_followed(rig: WatcherRig) -> None:
    """An address that comes or goes is told of with its device; after an overflow as well."""
    async with rig.following():
        rig.kernel.tell(address_message(2, "10.0.0.1/24"))
        await until(lambda: rig.reported)
        assert rig.watcher.addresses.of(2) == {"10.0.0.1/24"}
        rig.kernel.tell(address_message(2, "10.0.0.1/24"))
        await settle()
        assert rig.reported == [{2}]
        rig.kernel.addresses_of = {2: {"10.0.0.2/24"}}
        rig.kernel.overflow()
        await until(lambda: len(rig.reported) == 2)
        assert rig.watcher.addresses.of(2) == {"10.0.0.2/24"}
        rig.kernel.tell(address_message(2, "10.0.0.2/24", "RTM_DELADDR"))
        await until(lambda: len(rig.reported) == 3)
    assert rig.watcher.addresses.of(2) == frozenset()


@pytest.mark.parametrize("is_address", [False, True])
@instantly
async def test_a_look_at_everything_puts_right_what_no_event_told(
    rig: WatcherRig, caplog: pytest.LogCaptureFixture, is_address: bool
) -> None:
    """What is believed falsely is found out within a minute, counted and told."""
    async with rig.following():
        if is_address:
            rig.kernel.addresses_of = {2: {"10.0.0.2/24"}}
        else:
            rig.kernel.devices[2] = replace(ETH1, mtu=1300)
        await asyncio.sleep(61)
        await until(lambda: rig.reported)
    assert rig.watcher.links.by_index == rig.kernel.devices
    assert rig.watcher.addresses.of(2) == rig.kernel.addresses_of.get(2, set())
    assert rig.watcher.put_right == 1
    assert "put right" in caplog.text


@instantly
async def test_a_look_at_what_is_so_puts_nothing_right(rig: WatcherRig) -> None:
    """Neither what is believed truly nor what changes during the look counts."""
    async with rig.following():
        rig.kernel.meanwhile["addresses"] = lambda: rig.kernel.put(replace(ETH1, mtu=1300))
        await asyncio.sleep(61)
        await until(lambda: rig.reported)
        await settle()
    assert rig.watcher.put_right == 0
    assert rig.reported == [{2}]


@instantly
async def test_a_question_that_is_repeated_is_handled_once(rig: WatcherRig) -> None:
    """After an absence the kernel's questions of every second wait; one of each is enough."""
    async with rig.following():
        rig.kernel.devices[3] = ETH2
        rig.watcher.neighbours.delegate(3, 2)
        for _ in range(30):
            rig.kernel.neighbour_event("RTM_GETNEIGH", 3, "10.0.0.2")
        await until(lambda: (2, 2, "10.0.0.2") in rig.kernel.entries)
        await settle()
    uses = [each for each in rig.kernel.asked("replace_neighbour") if each.get("flags") == 1]
    assert len(uses) == 1
