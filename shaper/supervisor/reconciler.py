"""The supervisor: the shapers that exist, what each should be, and who forwards it.

It never sees a frame. Commands and netlink events both end in `reconcile`: a plan is made from
what is wanted and what is seen, and carried out. `lock` keeps commands and events apart: whoever
changes a shaper holds it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Collection, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace

from shaper.channel.messages import Event
from shaper.desired.plan import ALIAS_PREFIX, make_plan
from shaper.desired.store import Store
from shaper.desired.topology import would_loop
from shaper.errors import Busy, KernelRefused, ShaperError
from shaper.kernel.capture import Captor
from shaper.kernel.netlink import Netlink
from shaper.model import Link, Spec, State
from shaper.supervisor.capture import Intake
from shaper.supervisor.device import Device
from shaper.supervisor.groups import Groups
from shaper.supervisor.inspector import Inspector
from shaper.supervisor.pool import Pool
from shaper.supervisor.process import Forwarder
from shaper.supervisor.sockets import MasterSockets
from shaper.supervisor.taps import open_tap
from shaper.supervisor.together import together
from shaper.supervisor.watcher import Watcher

# Chosen.
_RETRY_SECONDS = 0.2  # after a part of a plan was refused; traffic is owed within a second
_RELEASE_SECONDS = 30.0  # the kernel took 12.6 to 14.8 to close the 1000 TAPs of a dead forwarder
_TELL_SECONDS = 60.0  # between two lines on the same TAP that cannot be read

_log = logging.getLogger(__name__)


class Supervisor:
    """Keeps every shaper as it should be.

    Args:
        store: where what is wanted survives.
        pool: the forwarders.
        netlink: an open connection to the kernel.

    Attributes:
        devices: every shaper, by its name.
        lock: held by whoever changes one.
        links: all network devices.
        on_reconciled: called after a shaper or what it depends on may have changed.
    """

    def __init__(self, store: Store, pool: Pool, netlink: Netlink) -> None:
        self.netlink = netlink
        self._sockets = MasterSockets()
        self._told_at: dict[int, float] = {}  # of a slot: when the log last told of its TAP
        self._store = store
        self._pool = pool
        self._watcher = Watcher(netlink, self._links_changed)
        self.links = self._watcher.links
        self.inspector = Inspector(self.links, self._watcher.addresses)
        self.devices: dict[str, Device] = {}
        self._by_index: dict[int, Device] = {}
        self.lock = asyncio.Lock()
        self.on_reconciled: Callable[[], None] = _nothing
        self._has_started = False
        self.captor = Captor()
        self._groups = Groups(self._watcher.mark)

    async def start(self, specs: Iterable[Spec], inherited: Collection[str] = ()) -> None:
        """Create or adopt these shapers, and follow the kernel from now on.

        Raises ShaperError when one cannot be had; `abandon` is then to be called.

        Args:
            specs: what each should be.
            inherited: names whose TAPs only a dying forwarder of our own can still hold; those
                are waited for, `_RELEASE_SECONDS` for all of them together.
        """
        await self._pool.start(self._forwarder_replaced, self._forwarder_reported)
        await self._watcher.start()
        release = asyncio.get_running_loop().time() + _RELEASE_SECONDS
        async with self.lock:
            await together(
                self._start_one(spec, release if spec.ifname in inherited else 0) for spec in specs
            )
            self.save()
        self._has_started = True

    async def _start_one(self, spec: Spec, release: float) -> None:
        await self._reconcile_or_retry(await self.create(spec, release))

    async def stop(self) -> None:
        """Remove the devices, as unloading the module did; the state file stays."""
        async with self.lock:
            await self._pool.stop()
            try:
                await self.netlink.remove_links(self._by_index)
            except ShaperError as error:
                _log.warning("removing the devices one by one: %s", error)
            for device in self.devices.values():
                await device.remove()
            self.devices.clear()
            self._by_index.clear()
        await self._watcher.stop()
        self._sockets.close()
        self._groups.close()
        self.captor.close()

    async def abandon(self) -> None:
        """Leave the devices as a crash would: closed, with their routes, to be adopted later.

        Those that a failed start made are removed: nobody can have routes over them yet.
        """
        await self._pool.stop()
        for device in self.devices.values():
            is_worth_keeping = self._has_started or device.was_adopted
            await (device.abandon() if is_worth_keeping else device.remove())
        self.devices.clear()
        self._by_index.clear()
        await self._watcher.stop()
        self._sockets.close()
        self._groups.close()
        self.captor.close()

    async def ping(self) -> None:
        """Return once the whole daemon, forwarders included, has answered."""
        await self._pool.ping()

    def summary(self) -> str:
        """Return how many shapers there are, and how many of them pass traffic."""
        devices = self.devices.values()
        active = sum(
            each.plan is not None and each.plan.state is State.ACTIVE and not self.is_stalled(each)
            for each in devices
        )
        return f"{len(devices)} shaper{'' if len(devices) == 1 else 's'}, {active} active"

    async def create(self, spec: Spec, release: float = 0) -> Device:
        """Make a TAP, or adopt the one that an earlier daemon left behind.

        Args:
            spec: what the shaper should be.
            release: until when, in the event loop's time, whoever holds it may let go of it.
        """
        alias = await self.alias(spec.ifname)
        self.refuse_foreign(spec.ifname, alias)
        slot = self._pool.take_slot()
        try:
            tap = await open_tap(spec.ifname, release)
        except BaseException:
            self._pool.free_slot(slot)
            raise
        ifindex = socket.if_nametoindex(spec.ifname)
        intake = Intake(self.captor, self.netlink, ifindex)
        sockets, neighbours = self._sockets, self._watcher.neighbours
        device = Device(spec, tap, ifindex, slot, self.netlink, neighbours, sockets, intake)
        device.was_adopted = alias is not None
        self.devices[spec.ifname] = self._by_index[ifindex] = device
        try:
            await device.prepare()
            await device.hand_over(self._pool.forwarder_of(slot))
        except ShaperError:
            await self.discard(device)
            raise
        return device

    async def discard(self, device: Device) -> None:
        """Undo `create`, unless somebody else has removed the device and it is forgotten."""
        if self._by_index.get(device.ifindex) is not device:
            return
        await (device.abandon() if device.was_adopted else device.remove())
        self.forget(device)

    async def alias(self, ifname: str) -> str | None:
        """Return the alias of a device that exists already; None if there is none."""
        link = self.links.name(ifname)
        if link is None:
            return None
        try:
            messages = await self.netlink.link(link.ifindex)
        except KernelRefused as error:
            if error.errno != errno.ENODEV:
                raise
            return None  # it was removed just now, and its event is still under way
        return messages[0].get_attr("IFLA_IFALIAS") or "" if messages else None

    def refuse_foreign(self, ifname: str, alias: str | None) -> None:
        """Raise Busy for a name that a device bears which is not ours."""
        if alias is not None and not alias.startswith(ALIAS_PREFIX):
            raise Busy(f"{ifname} exists already and is no shaper (choose another name)")

    async def change(self, *specs: Spec) -> list[str]:
        """Make shapers be as these say, new ones too, and save it; return warnings.

        Raises ShaperError when one of them cannot be so. Those that were made are then removed,
        and the others are wanted as before, which is made true as after an event.
        """
        async with AsyncExitStack() as undoing:
            undoing.callback(self.save)  # `reconcile` saves as well, where a device is gone
            for spec in specs:
                await self._change_one(spec, undoing)
            undoing.pop_all()
        return self.save()

    async def _change_one(self, spec: Spec, undoing: AsyncExitStack) -> None:
        device = self.devices.get(spec.ifname)
        if device is None:
            device = await self.create(spec)
            undoing.push_async_callback(self.discard, device)
        else:
            undoing.callback(self._put_back, device, device.spec)
            self._want(device, spec)
        await self.reconcile(device)

    def _put_back(self, device: Device, before: Spec) -> None:
        self._want(device, before)
        self._watcher.mark(device.ifindex)

    def _want(self, device: Device, spec: Spec) -> None:
        """Set what a device should be; another master is looked for by its name."""
        if spec.master != device.spec.master:
            device.master_index = None
        device.spec = spec

    async def reconcile(self, device: Device) -> None:
        """Make true what is wanted, as far as what is seen allows it."""
        own = self.links.index(device.ifindex) or await self._watcher.look_at(device.ifindex)
        if own is None:
            _log.warning("%s was removed by somebody else", device.spec.ifname)
            await device.abandon()
            self.forget(device)
            self.save()
            self.on_reconciled()
            return
        master = self._find_master(device)
        group = self._groups.find(device.ifindex, device.spec)
        await device.realize(make_plan(device.spec, own, master, group), own, master)
        self.on_reconciled()

    def _find_master(self, device: Device) -> Link | None:
        """Return the master: by index while it exists, however it is renamed, then by name."""
        if device.spec.master is None:
            return None
        links = self.links
        link = links.index(device.master_index) if device.master_index is not None else None
        link = link or links.name(device.spec.master)
        if link is not None and self.would_loop(device, link):
            _log.warning("%s: %s leads back to it", device.spec.ifname, link.ifname)
            return None
        return link

    def would_loop(self, device: Device, master: Link) -> bool:
        """Whether a shaper's frames would come back to it from this master."""
        return would_loop(device.ifindex, master.ifindex, self._below)

    def _below(self, ifindex: int) -> list[int]:
        """Return where the frames of a device go."""
        link, device = self.links.index(ifindex), self._by_index.get(ifindex)
        below: list[int | None] = [*self.links.ports(ifindex)]
        if link is not None:
            below.append(link.lower)
        if device is not None and device.spec.master is not None:
            below.append(device.master_index)
        return [each for each in below if each is not None]

    async def _links_changed(self, indices: set[int]) -> None:
        async with self.lock:
            gone = self._by_index.keys() & indices - self.links.by_index.keys()
            await together(self._reconcile_or_retry(self._by_index[each]) for each in gone)
            concerned = self._concerned(indices)
            self._follow_names(concerned)
            await together(self._reconcile_or_retry(device) for device in concerned)
            self.inspector.follow(self.devices.values(), indices)

    def _concerned(self, indices: set[int]) -> list[Device]:
        """Return the shapers that changed, or whose masters did, or that wait for one."""
        names = self.links.names()
        return [
            device
            for device in self.devices.values()
            if device.ifindex in indices
            or device.master_index in indices
            or (device.master_index is None and device.spec.master in names)
        ]

    def _follow_names(self, concerned: Iterable[Device]) -> None:
        """Take over what an administrator changed with `ip link`: names and txqueuelen."""
        before = [device.spec for device in concerned]
        for device in concerned:
            self._follow(device)
        if [device.spec for device in concerned] == before:
            return
        # All at once, because two shapers may have swapped their names.
        self.devices = {device.spec.ifname: device for device in self.devices.values()}
        self.save()

    def _follow(self, device: Device) -> None:
        own = self.links.index(device.ifindex)
        if own is not None:
            device.follow(own)
        if device.master_index is not None and device.spec.master is not None:
            master = self.links.index(device.master_index)
            if master is not None and master.ifname != device.spec.master:
                device.spec = replace(device.spec, master=master.ifname)

    async def _reconcile_or_retry(self, device: Device) -> None:
        try:
            await self.reconcile(device)
        except ShaperError as error:
            self._try_again(device, str(error), is_expected=True)
        except Exception as error:  # a defect, which must not keep the others from their turn
            self._try_again(device, repr(error), is_expected=False)

    def _try_again(self, device: Device, refusal: str, *, is_expected: bool) -> None:
        if refusal != device.last_refusal:
            _log.warning(
                "%s: %s; trying again", device.spec.ifname, refusal, exc_info=not is_expected
            )
        device.last_refusal = refusal
        loop = asyncio.get_running_loop()
        loop.call_later(_RETRY_SECONDS, self._watcher.mark, device.ifindex)

    async def _forwarder_replaced(self, position: int, forwarder: Forwarder) -> None:
        async with self.lock:
            await together(
                self._hand_over(device, forwarder)
                for device in tuple(self.devices.values())
                if self._pool.position_of(device.slot) == position
            )

    async def _hand_over(self, device: Device, forwarder: Forwarder) -> None:
        try:
            await device.hand_over(forwarder)
        except ShaperError as error:
            if error.errno != errno.EPIPE:  # it died as well: another is on its way
                self._try_again(device, str(error), is_expected=True)
        except Exception as error:
            self._try_again(device, repr(error), is_expected=False)
        # A change that the death, or this refusal, interrupted is still to be finished.
        self._watcher.mark(device.ifindex)

    def is_forwarder(self, pid: int) -> bool:
        """Whether a process is a forwarder of ours, or was started by one."""
        return self._pool.is_forwarder(pid)

    def _forwarder_reported(self, event: Event) -> None:
        """Tell of a TAP that cannot be read, once a minute; the forwarder tries again by itself.

        The device is looked at as well: it may be gone.
        """
        device = next((each for each in self.devices.values() if each.slot == event.slot), None)
        if device is None:
            return
        self._watcher.mark(device.ifindex)
        now = asyncio.get_running_loop().time()
        if now - self._told_at.get(event.slot, -_TELL_SECONDS) >= _TELL_SECONDS:
            self._told_at[event.slot] = now
            reason = os.strerror(event.number)
            _log.error("%s: cannot read its TAP: %s; trying again", device.spec.ifname, reason)

    def is_stalled(self, device: Device) -> bool:
        """Whether the forwarder of a shaper does not answer, or is being replaced."""
        return self._pool.is_stalled(device.slot)

    def counters(self, device: Device) -> dict[str, int]:
        """Return what its forwarder has counted for a shaper."""
        return self._pool.board.read(device.slot)

    def forget(self, device: Device) -> None:
        """Strike a shaper off whose device is gone."""
        del self.devices[device.spec.ifname], self._by_index[device.ifindex]
        self._told_at.pop(device.slot, None)
        self._pool.free_slot(device.slot)
        self._groups.forget(device.ifindex)

    def save(self) -> list[str]:
        """Write the state file; return a warning if it cannot be, the old one is then kept."""
        try:
            self._store.save(device.spec for device in self.devices.values())
        except OSError as error:
            warning = (
                f"this will not survive a restart: cannot write {self._store.path} "
                f"({error.strerror})"
            )
            _log.error("%s", warning)
            return [warning]
        return []


def _nothing() -> None:
    """Do nothing."""
