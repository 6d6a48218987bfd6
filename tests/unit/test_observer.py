"""What is told of a shaper beside its counters: looked at once a second, and cheaply."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address, ip_network

import pytest

from shaper.channel.board import FIELDS
from shaper.desired.alarms import Change
from shaper.kernel.glance import Glance
from shaper.kernel.netlink import Netlink
from shaper.network import IpAddress, IpNetwork
from shaper.supervisor.bypass import Bypasses
from shaper.supervisor.device import Device
from shaper.supervisor.observer import Observer, Sums
from shaper.supervisor.performance import Worst
from shaper.supervisor.reconciler import Supervisor
from shaper.supervisor.shaper_object import in_alarm
from tests.unit.instantly import instantly
from tests.unit.machine_rig import SPEC, Machine

SECOND = 1_000_000_000
RATE = SPEC.options.rate_bits
TARGET = ip_address("10.1.0.1")
SHAPER, MASTER = 7, 2


class CountingOwner:
    """The owner of the shapers of a machine, which counts how often they are read."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.devices = supervisor.devices
        self.is_stalled, self.has_stalled = supervisor.is_stalled, supervisor.has_stalled
        self.reads = 0
        self._supervisor = supervisor

    def counters(self, device: Device) -> dict[str, int]:
        """Return what was counted for a shaper."""
        self.reads += 1
        return self._supervisor.counters(device)


class Road:
    """A shaper of 64 kbit/s that is looked at once a second."""

    def __init__(self, machine: Machine) -> None:
        self.told: list[Change] = []
        self.owner = CountingOwner(machine.supervisor)
        board = machine.forwarders[-1].board
        assert board is not None
        self.observer = Observer(
            self.owner, board.snapshot, None, lambda _, change: self.note(change)
        )
        (self.device,) = machine.supervisor.devices.values()
        self.row = board.row(self.device.slot)
        self.machine = machine
        self.now_ns = SECOND

    def note(self, change: Change) -> None:
        """Keep what is told."""
        self.told.append(change)

    def add(self, name: str, amount: int) -> None:
        """Count something on the board."""
        self.row[FIELDS.index(name)] += amount

    def seconds(self, count: int, *, percent: int = 100, share: int = 100) -> None:
        """Let seconds pass, busy for a share of each."""
        for _ in range(count):
            self.now_ns += SECOND
            busy_ns = SECOND * share // 100
            if busy_ns:
                self.add("busy_ns", busy_ns)
                self.add("busy_bytes", RATE * percent // 800 * share // 100)
                self.add("sent_packets", 50)
            self.observer.look(self.now_ns)

    @property
    def kinds(self) -> list[tuple[str, bool]]:
        """Which alarms began and ended."""
        return [(str(each.alarm), each.is_raised) for each in self.told]


@instantly
async def test_what_was_achieved_lately_is_of_ten_seconds(machine: Machine) -> None:
    """A bad time long ago is in the total and in the worst second, and not in what is lately."""
    async with machine.running(SPEC):
        road = Road(machine)
        road.observer.look(road.now_ns)
        road.seconds(4, percent=50)
        road.seconds(12)
        performance = road.observer.performance(
            road.device, machine.supervisor.counters(road.device)
        )
        assert performance.lately.bits == RATE
        assert performance.worst_bits is not None
        assert performance.worst_bits <= RATE // 2
        assert performance.total.bits is not None
        assert RATE // 2 < performance.total.bits < RATE


@instantly
async def test_the_largest_burst_outlives_the_ten_seconds_it_is_told_for(
    machine: Machine,
) -> None:
    """What the forwarder tells for ten seconds is kept, and one since the last look counts."""
    async with machine.running(SPEC):
        road = Road(machine)
        road.observer.look(road.now_ns)
        road.add("lately_burst_bytes", 9000)
        road.add("second_delay_p99_ns", 70)
        road.seconds(12)
        road.add("lately_burst_bytes", -5000)
        road.add("second_delay_p99_ns", -50)
        road.seconds(12)
        counters = machine.supervisor.counters(road.device)
        performance = road.observer.performance(road.device, counters)
        assert performance.bursts == Worst(9000, 9000)
        assert performance.delays == Worst(70, 70)
        performance = road.observer.performance(
            road.device, counters | {"lately_burst_bytes": 9500}
        )
        assert performance.bursts == Worst(9500, 9500)


@instantly
async def test_a_slow_shaper_is_in_alarm_and_then_no_longer(machine: Machine) -> None:
    """It is told once each, within six seconds, and shown meanwhile."""
    async with machine.running(SPEC):
        road = Road(machine)
        road.seconds(3)
        road.seconds(6, percent=80)
        assert road.kinds == [("slow", True)]
        assert road.observer.alarmed() == ["shaper0"]
        counters = machine.supervisor.counters(road.device)
        ((kind, sentence, since),) = road.observer.performance(road.device, counters).alarms
        assert (kind, since > 0) == ("slow", True)
        assert "64Kbit" in sentence
        road.seconds(5)  # at this rate it is judged in steps of three
        assert road.kinds == [("slow", True), ("slow", False)]
        assert road.observer.alarmed() == []


@instantly
async def test_frames_lost_after_an_hour_of_silence_are_an_alarm(machine: Machine) -> None:
    """A shaper that is not looked at closely misses nothing of the second that wakes it."""
    async with machine.running(SPEC):
        road = Road(machine)
        road.seconds(2)
        road.seconds(60, share=0)
        road.add("nobufs", 3)
        road.seconds(1, share=0)
        assert road.kinds == [("faults", True)]
        road.seconds(6, share=0)
        assert road.kinds == [("faults", True), ("faults", False)]


@instantly
async def test_an_idle_shaper_is_not_read(machine: Machine) -> None:
    """Where nothing has changed for a while, no row is taken apart."""
    async with machine.running(SPEC):
        road = Road(machine)
        road.seconds(1)
        road.seconds(15, share=0)
        before = road.owner.reads
        assert before
        road.seconds(5, share=0)
        assert road.owner.reads == before


@instantly
async def test_a_new_shaper_is_read_once_until_it_works(machine: Machine) -> None:
    """A blank row is not followed, and what comes after it is judged from its first second on."""
    async with machine.running(SPEC):
        road = Road(machine)
        road.seconds(5, share=0)
        assert road.owner.reads == 1
        road.seconds(6, percent=80)
        assert road.kinds == [("slow", True)]
        assert road.owner.reads == 7


@instantly
async def test_a_new_shaper_with_something_on_its_row_is_followed(machine: Machine) -> None:
    """A daemon that was started again goes on with what its predecessor's forwarder told."""
    async with machine.running(SPEC):
        road = Road(machine)
        road.add("lately_burst_bytes", 9000)
        road.seconds(12, share=0)
        counters = machine.supervisor.counters(road.device)
        assert road.observer.performance(road.device, counters).bursts == Worst(9000, 9000)


def test_sums_only_grow_when_a_rate_begins_anew() -> None:
    """The board begins at nothing with each speed; what is told goes on."""
    sums = Sums()
    assert sums.take(100, 10) == (100, 10)
    assert sums.now(150, 15) == (150, 15)
    assert sums.now(20, 2) == (120, 12)
    assert sums.take(20, 2) == (120, 12)
    assert sums.has_restarted
    assert sums.take(30, 3) == (130, 13)
    assert not sums.has_restarted


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["shaper0"], ", in alarm: shaper0"),
        (["a", "b", "c", "d", "e"], ", in alarm: a, b, c and 2 more"),
    ],
)
def test_the_status_names_few(names: list[str], text: str) -> None:
    """One line, however many there are."""
    assert in_alarm(names) == text


class WrittenKernel(Glance, Netlink):
    """Ways, counts and routes that a test writes."""

    def __init__(self) -> None:
        self.way: int | None = SHAPER
        self.sent = 0
        self.networks: list[IpNetwork] = [ip_network("10.1.0.0/24")]

    def way_to(self, address: IpAddress) -> int | None:
        """Return the one that was written."""
        return self.way

    def sent_packets(self, ifindex: int) -> int | None:
        """Return what was written."""
        return self.sent

    def networks_through(self, ifindex: int) -> list[IpNetwork]:
        """Return those written."""
        return self.networks


def watched(kernel: WrittenKernel, shapers: Collection[int] = (SHAPER,)) -> Bypasses:
    """Return what has seen traffic leave by the shaper."""
    bypasses = Bypasses(kernel, kernel, lambda _: "eth1", lambda: shapers)
    bypasses.sent(SHAPER, SECOND)
    return bypasses


def test_traffic_that_leaves_by_another_device_is_found() -> None:
    """At the second look, as the first shows only the way and not that anything leaves."""
    kernel = WrittenKernel()
    bypasses = watched(kernel)
    kernel.way, kernel.networks = MASTER, []
    for second in (3, 4):
        kernel.sent += 10
        assert bypasses.of(SHAPER) == ""
        bypasses.look([SHAPER], second * SECOND)
    assert bypasses.of(SHAPER) == f"what goes to {TARGET} leaves by eth1"
    kernel.way = SHAPER
    bypasses.look([SHAPER], 5 * SECOND)
    assert bypasses.of(SHAPER) == ""


@pytest.mark.parametrize("case", ["nothing leaves", "another shaper", "never led there", "own"])
def test_what_passes_nothing_by_is_no_alarm(case: str) -> None:
    """An unused route, one by another shaper, one for marked packets only, one that is right."""
    kernel = WrittenKernel()
    if case == "never led there":
        kernel.way = MASTER
    bypasses = watched(kernel, (SHAPER, MASTER) if case == "another shaper" else (SHAPER,))
    kernel.way = SHAPER if case == "own" else MASTER
    for second in range(3, 30):
        kernel.sent += 0 if case == "nothing leaves" else 10
        bypasses.look([SHAPER], second * SECOND)
        assert bypasses.of(SHAPER) == ""
