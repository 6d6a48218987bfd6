"""The supervisor: the shapers that exist, what each should be, and which forwarder it has.

It never sees a frame. Commands and netlink events both end in `reconcile`: a plan is made from
what is wanted and what is seen, and carried out. `lock` keeps commands and events apart:
hold it to modify a shaper.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager

from shaper.desired.plan import make_plan
from shaper.desired.store import Store
from shaper.errors import Busy, ShaperError
from shaper.kernel.linux import LINUX, Kernel
from shaper.kernel.netlink import Netlink
from shaper.model import Group, Spec, State
from shaper.supervisor import ownership
from shaper.supervisor.absent import Absent, Absentees, tell_removed
from shaper.supervisor.captured import CapturedTraffic
from shaper.supervisor.device import Device
from shaper.supervisor.groups import Groups
from shaper.supervisor.inspector import Inspector
from shaper.supervisor.keepsakes import NOTHING_KEPT, Keepsakes
from shaper.supervisor.master_sockets import MasterSockets
from shaper.supervisor.masters import Masters
from shaper.supervisor.pool import Pool
from shaper.supervisor.precedence import Precedence
from shaper.supervisor.retaking import Retaking
from shaper.supervisor.retries import Retries
from shaper.supervisor.subjects import DeclarationKeeper, NoKeeper
from shaper.supervisor.successions import Successions
from shaper.supervisor.taps import Taps
from shaper.supervisor.together import together
from shaper.supervisor.tunnel_ways import TunnelWays
from shaper.supervisor.watcher import Watcher

# Chosen.
_RELEASE_SECONDS = 30.0  # the kernel took 12.6 to 14.8 to close the 1000 TAPs of a dead forwarder

_log = logging.getLogger(__name__)


class Supervisor:
    """Keeps every shaper as it should be.

    Args:
        store: where what is wanted survives.
        pool: the forwarders.
        netlink: an open connection to the kernel.
        keepsakes: what outlives a restart.
        kernel: what else is asked of the kernel.

    Attributes:
        devices: every shaper that has a device here, by its name.
        absent: those that have none, by name.
        lock: hold it to modify a shaper.
        links: all network devices.
        masters: which of them each shaper is bound to.
        is_kept: devices outlive this daemon, until the service is stopped.
        keeper: keeps true what is declared beside the shapers.
        on_reconciled: called after a shaper or what it depends on may have changed.
    """

    def __init__(
        self,
        store: Store,
        pool: Pool,
        netlink: Netlink,
        keepsakes: Keepsakes = NOTHING_KEPT,
        kernel: Kernel = LINUX,
    ) -> None:
        self.netlink, self.kernel = netlink, kernel
        self.is_kept = keepsakes.is_kept
        self._taps = Taps(keepsakes, kernel)
        self._sockets = MasterSockets(kernel.packet_socket, kernel.is_bound_to)
        self.store = store
        self._pool = pool
        self._watcher = Watcher(netlink, self._links_changed, kernel)
        self.links = self._watcher.links
        self.devices: dict[str, Device] = {}
        self.absent = Absentees(self)
        self._by_index: dict[int, Device] = {}
        self._tunnel_ways = TunnelWays()
        self.masters = Masters(self.links, self._by_index, self._tunnel_ways)
        self.inspector = Inspector(
            self.links, self._watcher.addresses, self.masters.far_end_behind, kernel
        )
        self._retries = Retries(self.reconcile, self._watcher.mark)
        self._successions = Successions(self, pool, self._watcher.mark)
        self.lock = asyncio.Lock()
        self.on_reconciled: Callable[[], None] = lambda: None
        self.keeper: DeclarationKeeper = NoKeeper()
        self._has_started = False
        self.captor = kernel.captor(keepsakes if keepsakes.is_kept else None)
        self._groups = Groups(self._watcher.mark, put=self._put_group)
        self.retaking = Retaking(lambda: self.devices, self._watcher.mark)
        self._is_stopping = False
        self._is_over = False  # what is wanted is no longer what there is
        self._expected: set[str] = set()  # names that our state file had

    async def start(self, specs: Iterable[Spec], inherited: Collection[str] = ()) -> None:
        """Create or adopt these shapers, and follow the kernel from now on.

        Raises ShaperError when none can be had, or another daemon has it; `abandon` is then due.

        Args:
            specs: what each should be.
            inherited: names whose TAPs only a dying forwarder of our own can still hold; those
                are waited for, `_RELEASE_SECONDS` for all of them together.
        """
        self._taps.find_kept(is_needed=bool(specs := tuple(specs)))
        precedence = Precedence(self.netlink, is_needed=self._taps.are_kept)
        precedence.look()
        await self._pool.start(self._successions.replaced, self._successions.reported)
        self._watcher.start()
        release = asyncio.get_running_loop().time() + _RELEASE_SECONDS
        self._expected = set(inherited)
        async with self.lock:
            work = [
                self.absent.bring_in(each, release if each.ifname in self._expected else 0)
                for each in precedence.order(specs)
            ]
            await self._pool.predecessors.end()
            await together(work, precedence.at_once)
            self.save()
        self._taps.give_up_the_rest()
        self._has_started = True

    async def bring_in(self, spec: Spec, release: float) -> None:
        """Make or adopt a device and make true what is wanted of it, now or later."""
        await self._retries.attempt(await self.create(spec, release))

    def close_door(self) -> None:
        """Refuse changes from now on; one that has begun is finished, and saved."""
        self._is_stopping = True

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Hold the lock to change a shaper. Raises Busy once the daemon stops."""
        async with self.lock:
            if self._is_stopping:
                raise Busy("shaperd is stopping and changes nothing any more (start it again)")
            yield

    async def stop(self) -> None:
        """Remove the devices, as unloading the module did; the state file stays."""
        async with self._ending(is_removed=True):
            try:
                self.netlink.remove_links(self._by_index)
            except ShaperError as error:
                _log.warning("removing the devices one by one: %s", error)
            for device in self.devices.values():
                await device.remove_or_tell()

    async def rest(self) -> None:
        """End without removing anything: the service manager holds it all, or lets it go."""
        self.captor.rest()
        async with self._ending(is_removed=True, is_rest=True):
            for device in self.devices.values():
                await device.rest()

    async def abandon(self) -> None:
        """Leave the devices as a crash would: closed, with their routes, to be adopted later.

        Those that a failed start made are removed: no route can lead over them yet.
        """
        async with self._ending(is_removed=False):
            for device in tuple(self.devices.values()):
                is_worth_keeping = self._has_started or device.was_adopted
                await (device.abandon() if is_worth_keeping else device.remove())

    @asynccontextmanager
    async def _ending(self, *, is_removed: bool, is_rest: bool = False) -> AsyncIterator[None]:
        """Close the door and end the forwarders; let go of everything else afterwards."""
        self.close_door()
        async with self.lock:
            self._is_over = True
            await (self._pool.rest() if is_rest else self._pool.stop())
            yield
            self.devices.clear()
            self._by_index.clear()
            self.absent.leave(is_removed=is_removed)
        await self._watcher.stop()
        self._sockets.close()
        self._groups.close()
        self.captor.close()

    async def ping(self) -> None:
        """Return once the whole daemon, forwarders included, has answered."""
        await self._pool.ping()
        if self.absent:  # no event tells what becomes of a device in another namespace
            async with self.lock:
                await self.absent.take_up()

    async def create(self, spec: Spec, release: float = 0) -> Device:
        """Make a TAP, or adopt the one that an earlier daemon left behind.

        `release`: until when, in the event loop's time, another process may still hold it.
        """
        if (reason := self.foreign_reason(spec.ifname)) is not None:
            raise Busy(f"{reason} (choose another name)")
        is_there = self.links.name(spec.ifname) is not None
        slot = self._pool.take_slot()
        try:
            tap, was_kept = await self._taps.open(spec.ifname, release)
            ifindex = tap.index() if was_kept else self._taps.index_of(tap, self.netlink)
        except BaseException:
            self._pool.free_slot(slot)
            raise
        near = self._watcher.neighbours, self._sockets, self.kernel.set_speed
        own = CapturedTraffic(self.captor, self.netlink, ifindex), self._pool.ring_cap(tap, slot)
        device = Device(spec, tap, ifindex, slot, self.netlink, *near, *own)
        device.was_adopted, device.was_kept = is_there, was_kept
        if not was_kept:
            self._taps.keep(tap, ifindex)
        self.devices[spec.ifname] = self._by_index[ifindex] = device
        try:
            await device.prepare()
            await device.hand_over(self._pool.forwarder_of(slot))
        except ShaperError:
            await self.discard(device)
            raise
        return device

    async def discard(self, device: Device) -> None:
        """Undo `create`, unless the device was removed meanwhile and is forgotten."""
        if self._by_index.get(device.ifindex) is not device:
            return
        await (device.abandon() if device.was_adopted else device.remove())
        self.forget(device)

    def foreign_reason(self, ifname: str) -> str | None:
        """Return why a name cannot be had: a device bears it that is not ours. None if it can."""
        is_expected = ifname in self._expected or ifname in self.absent
        link = None if self._taps.is_kept(ifname) else self.links.name(ifname)
        return ownership.foreign_reason(self.netlink, link, ifname, is_expected=is_expected)

    def specs(self) -> dict[str, Spec]:
        """Return what every shaper should be, with a device or without."""
        specs = {name: device.spec for name, device in self.devices.items()}
        return specs | {name: absent.spec for name, absent in self.absent.items()}

    def put_back(self, device: Device, before: Spec) -> None:
        """Want what was wanted before, and have it made true."""
        self.want(device, before)
        self._watcher.mark(device.ifindex)

    def want(self, device: Device, spec: Spec) -> None:
        """Set what a device should be; another master is looked for by its name."""
        if spec.master != device.spec.master:
            device.master_index = None
        device.spec = spec

    async def reconcile(self, device: Device) -> None:
        """Make true what is wanted, as far as what is seen allows it."""
        own = self.links.index(device.ifindex) or self._watcher.look_at(device.ifindex)
        if own is None:
            await self._lose(device)
            self.on_reconciled()
            return
        master, obstacle = self.masters.find_usable(device)
        group = self._groups.find(device.ifindex, device.spec)
        seen = {"is_obstructed": bool(obstacle), "is_tunnel": self.masters.leads_to_tunnel(master)}
        plan = make_plan(device.spec, own, master, group, device.plan, **seen)
        await device.realize(plan, own, master)
        self.on_reconciled()

    def _put_group(self, ifindex: int, group: Group) -> None:
        if (device := self._by_index.get(ifindex)) is not None:
            device.captured.put_group(group)

    async def _lose(self, device: Device) -> None:
        """Release a shaper after its device has left.

        `ip link del` is a wish, and the setting goes too; a device that was moved is waited for.
        """
        ifname = device.spec.ifname
        if device.is_deleted():
            tell_removed(ifname)
            await device.abandon()
            self.forget(device)
            self.save()
            return
        tap = await device.let_go()
        self.forget(device)
        self.absent.miss(Absent(device.spec, State.AWAY, f"{ifname} is in another namespace", tap))

    async def _links_changed(self, indices: set[int]) -> None:
        self._tunnel_ways.forget(indices)
        async with self.lock:
            gone = self._by_index.keys() & indices - self.links.by_index.keys()
            await together(self._retries.attempt(self._by_index[each]) for each in gone)
            concerned = self.masters.concerned(indices)
            self._follow_names(concerned)
            await together(self._retries.attempt(device) for device in concerned)
            self.inspector.follow(self.devices.values(), indices)
            await self.absent.take_up()

    def _follow_names(self, concerned: Iterable[Device]) -> None:
        """Take over what an administrator changed with `ip link`: names and txqueuelen."""
        before = [device.spec for device in concerned]
        for device in concerned:
            if (own := self.links.index(device.ifindex)) is not None:
                device.follow(own)
            self.masters.follow(device)
        if [device.spec for device in concerned] == before:
            return
        # All at once, because two shapers may have swapped their names.
        self.devices = {device.spec.ifname: device for device in self.devices.values()}
        self.save()

    def look_again(self) -> None:
        """Have those that are absent looked at again soon."""
        self._retries.look_again(0)

    def try_again(self, device: Device, refusal: str, *, is_expected: bool) -> None:
        """Look at a device again soon, after what it should be was refused."""
        self._retries.try_again(device, refusal, is_expected=is_expected)

    def is_stalled(self, device: Device) -> bool:
        """Whether its forwarder does not answer, or is being replaced."""
        return self._pool.is_stalled(device.slot)

    def has_stalled(self) -> bool:
        """Whether any forwarder does not answer, or is being replaced."""
        return self._pool.has_stalled()

    def counters(self, device: Device) -> dict[str, int]:
        """Return what its forwarder has counted for a shaper."""
        return self._pool.board.read(device.slot)

    def forget(self, device: Device) -> None:
        """Delete a shaper after its device was removed."""
        del self.devices[device.spec.ifname], self._by_index[device.ifindex]
        self._successions.forget(device)
        self._pool.free_slot(device.slot)
        self._groups.forget(device.ifindex)
        self.inspector.forget(device.ifindex)
        self._taps.forget(device.ifindex)

    def save(self) -> list[str]:
        """Write the state file; return a warning if it cannot be, the old one is then kept.

        A teardown is no wish: nothing is written once it has begun.
        """
        return [] if self._is_over else self.store.keep(self.specs().values())
