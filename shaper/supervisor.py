"""The supervisor: the shapers that exist, what each should be, and who forwards it.

It never sees a frame. Commands and netlink events both end in `_reconcile`: a plan is made from
what is wanted and what is seen, and carried out. A lock keeps commands and events apart.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable
from dataclasses import replace

from shaper import checks
from shaper.control.interface import ShaperObject
from shaper.device import Device
from shaper.errors import (
    Busy,
    InvalidValue,
    KernelRefused,
    NoSuchMaster,
    NoSuchShaper,
    NotAttached,
    ShaperError,
)
from shaper.forwarders import Forwarder
from shaper.kernel import counters
from shaper.kernel.netlink import Netlink
from shaper.kernel.sysctl import reverse_path_warning
from shaper.kernel.tap import Tap
from shaper.model import Link, Options, Spec
from shaper.names import check_name
from shaper.plan import ALIAS_PREFIX, Plan, check_burst, make_plan
from shaper.pool import Pool
from shaper.report import report, route_warning
from shaper.store import Store
from shaper.topology import would_loop
from shaper.watcher import Watcher

# Chosen.
_RETRY_SECONDS = 0.2  # after a part of a plan was refused; traffic is owed within a second
_MAX_ROUTE_LOOKUPS = 16  # a `show`; each is a question to the kernel

_log = logging.getLogger(__name__)


class Supervisor:
    """Keeps every shaper as it should be. See `control.interface.Shapers` for the commands.

    Args:
        store: where what is wanted survives.
        pool: the forwarders.
        netlink: an open connection to the kernel.
        hz: jiffies per second of a new shaper.
    """

    def __init__(self, store: Store, pool: Pool, netlink: Netlink, hz: int) -> None:
        self.hz = hz
        self._store = store
        self._pool = pool
        self._netlink = netlink
        self._watcher = Watcher(netlink, self._links_changed)
        self._devices: dict[str, Device] = {}
        self._lock = asyncio.Lock()

    async def start(self, specs: Iterable[Spec]) -> None:
        """Create or adopt these shapers, and follow the kernel from now on.

        Raises ShaperError when one cannot be had; `abandon` is then to be called.
        """
        await self._pool.start(self._forwarder_replaced)
        await self._watcher.start()
        async with self._lock:
            for spec in specs:
                await self._reconcile_or_retry(await self._create(spec))
            self._save()

    async def stop(self) -> None:
        """Remove the devices, as unloading the module did; the state file stays."""
        async with self._lock:
            for device in self._devices.values():
                await device.remove()
            self._devices.clear()
        await self._watcher.stop()
        self._pool.stop()

    async def abandon(self) -> None:
        """Leave the devices as a crash would: closed, with their routes, to be adopted later.

        Those that were made by this daemon are removed: nobody can have routes over them yet.
        """
        for device in self._devices.values():
            await (device.abandon() if device.was_adopted else device.remove())
        self._devices.clear()
        await self._watcher.stop()
        self._pool.stop()

    async def ping(self) -> None:
        """Return once the whole daemon, forwarders included, has answered."""
        await self._pool.ping()

    async def show(self, ifname: str | None) -> list[ShaperObject]:
        """Return one shaper, or all of them."""
        chosen = self._devices.values() if ifname is None else [self._device(ifname)]
        drops = counters.tx_dropped()
        lookups = _MAX_ROUTE_LOOKUPS
        shown = []
        for device in sorted(chosen, key=lambda each: each.ifindex):
            own = self._watcher.links.index(device.ifindex)
            if own is None or device.plan is None:
                continue
            counts = self._pool.board.read(device.slot)
            warnings = self._receiving_warnings(device)
            if not counts["sent_packets"] and lookups > 0:
                lookups -= 1
                warnings += await self._route_warnings(device, device.plan)
            ring_drops = drops.get(device.spec.ifname, 0)
            shown.append(
                report(
                    device.spec, device.plan, own, counts, ring_drops=ring_drops, warnings=warnings
                )
            )
        return shown

    async def attach(self, ifname: str, master: str) -> list[str]:
        """Bind a shaper to a master; return warnings."""
        async with self._lock:
            device = self._device(ifname)
            if device.spec.master is not None:
                raise Busy(
                    f"{ifname} is already attached to {device.spec.master} (detach it first)"
                )
            link = self._watcher.links.name(check_name(master))
            if link is None:
                raise NoSuchMaster(f"{master}: no such device (ip link lists those there are)")
            self._refuse_loop(device, link)
            check_burst(device.spec.options, link.mtu)
            await self._change(device, replace(device.spec, master=master))
            return self._receiving_warnings(device)

    async def detach(self, ifname: str) -> None:
        """Unbind a shaper; it keeps its speed."""
        async with self._lock:
            device = self._device(ifname)
            if device.spec.master is None:
                raise NotAttached(f"{ifname} is not attached")
            await device.flush()
            await self._change(device, replace(device.spec, master=None))

    async def set_speed(self, ifname: str, rate_bits: int) -> list[str]:
        """Set the rate; return warnings."""
        async with self._lock:
            device = self._device(ifname)
            rate_bits = checks.check_rate(rate_bits)
            options = replace(device.spec.options, rate_bits=rate_bits)
            await self._change(device, replace(device.spec, options=options))
            return _serving_warnings(options)

    async def set_options(
        self,
        ifname: str,
        *,
        queue: str | None,
        limit_packets: int | None,
        burst_bytes: int | None,
        hz: int | None,
    ) -> list[str]:
        """Change what is not None, 0 meaning the default; return warnings."""
        async with self._lock:
            device = self._device(ifname)
            options = checks.change(
                device.spec.options,
                queue=queue,
                limit_packets=limit_packets,
                burst_bytes=burst_bytes,
                hz=hz,
            )
            if device.plan is not None:
                check_burst(options, device.plan.mtu)
            await self._change(device, replace(device.spec, options=options))
            return _serving_warnings(options)

    async def add(self, ifname: str | None) -> str:
        """Create a shaper; return its name."""
        async with self._lock:
            name = check_name(ifname) if ifname is not None else self._free_name()
            if name in self._devices:
                raise Busy(f"{name} is a shaper already")
            device = await self._create(Spec(name, options=Options(hz=self.hz)))
            await self._reconcile(device)
            self._save()
            return name

    async def delete(self, ifname: str) -> None:
        """Remove a shaper, and its addresses and routes with it."""
        async with self._lock:
            device = self._device(ifname)
            await device.remove()
            self._forget(device)
            self._save()

    async def configure(self, specs: Iterable[Spec]) -> None:
        """Make shapers be as a configuration file says; those it does not name stay.

        Raises ShaperError, with nothing changed, when one of them cannot be so.
        """
        async with self._lock:
            specs = tuple(specs)
            for spec in specs:
                await self._check(spec)
            for spec in specs:
                device = self._devices.get(spec.ifname)
                if device is None:
                    device = await self._create(spec)
                elif device.spec.master not in (None, spec.master):
                    await self._change(device, replace(device.spec, master=None))
                await self._change(device, spec)

    async def _check(self, spec: Spec) -> None:
        device = self._devices.get(spec.ifname)
        master = self._watcher.links.name(spec.master) if spec.master is not None else None
        if device is None:
            self._refuse_foreign(spec.ifname, await self._alias(spec.ifname))
        if master is not None:
            check_burst(spec.options, master.mtu)
        if device is not None and master is not None:
            self._refuse_loop(device, master)

    def _device(self, ifname: str) -> Device:
        device = self._devices.get(ifname)
        if device is None:
            known = ", ".join(sorted(self._devices)) or "none"
            raise NoSuchShaper(f"{ifname}: no such shaper (there are: {known})")
        return device

    def _free_name(self) -> str:
        number = 0
        while (name := f"shaper{number}") in self._devices or self._watcher.links.name(name):
            number += 1
        return name

    async def _create(self, spec: Spec) -> Device:
        """Make a TAP, or adopt the one that an earlier daemon left behind."""
        alias = await self._alias(spec.ifname)
        self._refuse_foreign(spec.ifname, alias)
        slot = self._pool.take_slot()
        try:
            tap = Tap(spec.ifname)
        except BaseException:
            self._pool.free_slot(slot)
            raise
        ifindex = socket.if_nametoindex(spec.ifname)
        device = Device(spec, tap, ifindex, slot, self._netlink, self._watcher.neighbours)
        device.was_adopted = alias is not None
        self._devices[spec.ifname] = device
        try:
            await device.prepare()
            await device.hand_over(self._pool.forwarder_of(slot))
            await self._watcher.look_at(ifindex)
        except ShaperError:
            await (device.abandon() if device.was_adopted else device.remove())
            self._forget(device)
            raise
        return device

    async def _alias(self, ifname: str) -> str | None:
        """Return the alias of a device that exists already; None if there is none."""
        link = self._watcher.links.name(ifname)
        if link is None:
            return None
        messages = await self._netlink.link(link.ifindex)
        return messages[0].get_attr("IFLA_IFALIAS") or "" if messages else None

    def _refuse_foreign(self, ifname: str, alias: str | None) -> None:
        if alias is not None and not alias.startswith(ALIAS_PREFIX):
            raise Busy(f"{ifname} exists already and is no shaper (choose another name)")

    async def _change(self, device: Device, spec: Spec) -> None:
        """Make a device be as `spec` says and save it, or leave all as it was."""
        before, device.spec = device.spec, spec
        if spec.master != before.master:
            device.master_index = None
        try:
            await self._reconcile(device)
        except ShaperError:
            device.spec = before
            self._watcher.mark(device.ifindex)
            raise
        self._save()

    async def _reconcile(self, device: Device) -> None:
        own = self._watcher.links.index(device.ifindex)
        if own is None:
            _log.warning("%s was removed by somebody else", device.spec.ifname)
            await device.abandon()
            self._forget(device)
            self._save()
            return
        master = self._find_master(device)
        await device.realize(make_plan(device.spec, own, master), own, master)

    def _find_master(self, device: Device) -> Link | None:
        """Return the master: by index while it exists, however it is renamed, then by name."""
        if device.spec.master is None:
            return None
        links = self._watcher.links
        link = links.index(device.master_index) if device.master_index is not None else None
        link = link or links.name(device.spec.master)
        if link is not None and self._would_loop(device, link):
            _log.warning("%s: %s leads back to it", device.spec.ifname, link.ifname)
            return None
        return link

    def _refuse_loop(self, device: Device, master: Link) -> None:
        ifname = device.spec.ifname
        if master.ifindex == device.ifindex:
            raise InvalidValue(f"{ifname} cannot be its own master")
        if self._would_loop(device, master):
            raise InvalidValue(f"{master.ifname} leads back to {ifname}: that would be a ring")

    def _would_loop(self, device: Device, master: Link) -> bool:
        masters = {
            each.ifindex: each.master_index
            for each in self._devices.values()
            if each.master_index is not None and each.spec.master is not None
        }
        return would_loop(device.ifindex, master.ifindex, self._watcher.links.by_index, masters)

    async def _links_changed(self, indices: set[int]) -> None:
        async with self._lock:
            for device in tuple(self._devices.values()):
                if self._watcher.links.index(device.ifindex) is None:
                    await self._reconcile_or_retry(device)
            self._follow_names()
            for device in tuple(self._devices.values()):
                if self._is_concerned(device, indices):
                    await self._reconcile_or_retry(device)

    def _is_concerned(self, device: Device, indices: set[int]) -> bool:
        if device.ifindex in indices or device.master_index in indices:
            return True
        link = self._watcher.links.name(device.spec.master) if device.spec.master else None
        return device.master_index is None and link is not None

    def _follow_names(self) -> None:
        """Take over what an administrator changed with `ip link`: names and txqueuelen."""
        before = [device.spec for device in self._devices.values()]
        for device in self._devices.values():
            self._follow(device)
        if [device.spec for device in self._devices.values()] == before:
            return
        # All at once, because two shapers may have swapped their names.
        self._devices = {device.spec.ifname: device for device in self._devices.values()}
        try:
            self._save()
        except ShaperError as error:
            _log.error("following the kernel: %s", error)

    def _follow(self, device: Device) -> None:
        own = self._watcher.links.index(device.ifindex)
        if own is not None:
            device.follow(own)
        if device.master_index is not None and device.spec.master is not None:
            master = self._watcher.links.index(device.master_index)
            if master is not None and master.ifname != device.spec.master:
                device.spec = replace(device.spec, master=master.ifname)

    async def _reconcile_or_retry(self, device: Device) -> None:
        try:
            await self._reconcile(device)
        except ShaperError as error:
            _log.warning("%s: %s; trying again", device.spec.ifname, error)
            loop = asyncio.get_running_loop()
            loop.call_later(_RETRY_SECONDS, self._watcher.mark, device.ifindex)

    async def _forwarder_replaced(self, position: int, forwarder: Forwarder) -> None:
        async with self._lock:
            for device in self._devices.values():
                if self._pool.position_of(device.slot) == position:
                    await self._hand_over(device, forwarder)

    async def _hand_over(self, device: Device, forwarder: Forwarder) -> None:
        try:
            await device.hand_over(forwarder)
        except ShaperError as error:
            _log.warning("%s: %s; trying again", device.spec.ifname, error)
        # A change that the death, or this refusal, interrupted is still to be finished.
        self._watcher.mark(device.ifindex)

    def _forget(self, device: Device) -> None:
        del self._devices[device.spec.ifname]
        self._pool.free_slot(device.slot)

    def _save(self) -> None:
        try:
            self._store.save(device.spec for device in self._devices.values())
        except OSError as error:
            raise KernelRefused(
                f"done, but it will not survive a restart: cannot write {self._store.path} "
                f"({error.strerror})",
                error.errno or 0,
            ) from error

    def _receiving_warnings(self, device: Device) -> list[str]:
        master = device.spec.master
        warning = reverse_path_warning(master) if master is not None else None
        return [warning] if warning else []

    async def _route_warnings(self, device: Device, plan: Plan) -> list[str]:
        warning = route_warning(device.spec, plan.state)
        if warning is None or await self._netlink.has_route_through(device.ifindex):
            return []
        return [warning]


def _serving_warnings(options: Options) -> list[str]:
    warning = checks.classic_warning(options)
    return [warning] if warning else []
