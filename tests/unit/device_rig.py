"""One device of a shaper, on a kernel in memory, for tests."""

from __future__ import annotations

from dataclasses import replace

from shaper.desired.plan import make_plan
from shaper.kernel.links import Links
from shaper.kernel.neighbours import Neighbours
from shaper.model import Link, Spec
from shaper.supervisor.captured import CapturedTraffic
from shaper.supervisor.device import Device
from shaper.supervisor.master_sockets import MasterSockets
from shaper.supervisor.ring_cap import RingCap
from shaper.testing.memory_captor import MemoryCaptor
from shaper.testing.memory_netlink import MemoryNetlink
from shaper.testing.memory_ring_caps import MemoryRingCaps
from shaper.testing.memory_tap import MemoryTap
from tests.unit.machine_rig import ETH1, SPEC, MemoryForwarder


def rate(rate_bits: int, limit_packets: int | None = None) -> Spec:
    """Return the spec with this rate and limit."""
    options = replace(SPEC.options, rate_bits=rate_bits, limit_packets=limit_packets)
    return replace(SPEC, options=options)


class DeviceRig:
    """One device, its TAP and its forwarder, on a kernel in memory."""

    def __init__(self) -> None:
        self.kernel = MemoryNetlink()
        self.kernel.devices[ETH1.ifindex] = ETH1
        self.neighbours = Neighbours(self.kernel, Links())
        self.forwarder = MemoryForwarder()
        self.sockets = MasterSockets(self.kernel.packet_socket, lambda _, __: True)
        self.captor = MemoryCaptor()
        self.caps = MemoryRingCaps()

    async def make(
        self, spec: Spec = SPEC, master: Link | None = ETH1, *, was_adopted: bool = False
    ) -> Device:
        """Make the device, up as an administrator would set it, and attach it."""
        self.tap = MemoryTap("shaper0", self.kernel)
        self.index = self.tap.ifindex
        self.device = self.device_of(self.tap, spec)
        self.device.was_adopted = was_adopted
        await self.device.prepare()
        await self.device.hand_over(self.forwarder)
        self.kernel.put(replace(self.own, is_up=True))
        await self.realize(None, master)
        return self.device

    def device_of(self, tap: MemoryTap, spec: Spec = SPEC) -> Device:
        """Return the device of a TAP."""
        captured = CapturedTraffic(self.captor, self.kernel, tap.ifindex)
        near = self.neighbours, self.sockets, self.kernel.set_speed
        ring_cap = RingCap(self.caps, tap, 0, 0)
        return Device(spec, tap, tap.ifindex, 0, self.kernel, *near, captured, ring_cap)

    @property
    def own(self) -> Link:
        """The device as the kernel has it."""
        return self.kernel.devices[self.index]

    async def realize(self, spec: Spec | None = None, master: Link | None = ETH1) -> None:
        """Make true what the spec says, of a device as it is seen now."""
        if spec is not None:
            self.device.spec = spec
        await self.device.realize(make_plan(self.device.spec, self.own, master), self.own, master)

    def forget_requests(self) -> None:
        """Look at what comes from now on."""
        self.kernel.requests.clear()
        self.forwarder.told.clear()

    def set_attributes(self) -> list[str]:
        """Return the attributes of the device that were set."""
        return [
            name
            for arguments in self.kernel.asked("set_link")
            for name in arguments
            if name != "ifindex"
        ]
