"""Whether shapers can be what is wanted of them, seen before anything is changed.

What is wanted is held against all that would be wanted then, so that shapers may exchange masters
and traffic in one change. Masters are compared by index and groups by place: each has many names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from shaper.desired import captures
from shaper.desired.captures import TakenTraffic
from shaper.desired.master_kinds import unusable_reason
from shaper.desired.plan import check_burst
from shaper.errors import InvalidValue, KernelRefused
from shaper.kernel.cgroup import check as check_group
from shaper.kernel.cgroup import mount_point, place
from shaper.model import Capture, Link, Spec
from shaper.supervisor.reconciler import Supervisor


class Admission:
    """One change of what is wanted.

    Args:
        supervisor: of the shapers that there are.
        changed: what shapers should be.
        without: shapers that are to be removed.
    """

    def __init__(
        self, supervisor: Supervisor, changed: Iterable[Spec], without: Collection[str] = ()
    ) -> None:
        self._supervisor = supervisor
        wanted = supervisor.specs() | {spec.ifname: spec for spec in changed}
        self._wanted = [spec for ifname, spec in wanted.items() if ifname not in without]

    def check(self, spec: Spec) -> None:
        """Raise InvalidValue or Busy where a shaper could not be so with its master."""
        if spec.master is None:
            return
        if spec.master == spec.ifname:
            raise InvalidValue(f"{spec.ifname} cannot be its own master")
        if spec.capture is not Capture.ROUTE:
            captures.refuse_second(spec, self._takers[self._traffic(spec)], self._traffic)
        master = self._master(spec)
        if master is None:
            return
        check_burst(spec.options, master.mtu)
        if (reason := self._obstacle(spec, master)) is not None:
            raise InvalidValue(reason)
        if spec.capture is not Capture.ROUTE:
            self._check_capture(spec, master)

    @cached_property
    def _takers(self) -> Mapping[TakenTraffic, list[Spec]]:
        takers: defaultdict[TakenTraffic, list[Spec]] = defaultdict(list)
        for spec in self._wanted:
            if spec.capture is not Capture.ROUTE:
                takers[self._traffic(spec)].append(spec)
        return takers

    @cached_property
    def _masters(self) -> dict[int, int | None]:
        """Return the masters that there would be of shapers, all by index."""
        devices = self._supervisor.devices
        return {
            devices[spec.ifname].ifindex: master.ifindex if master is not None else None
            for spec in self._wanted
            if spec.ifname in devices
            for master in [self._master(spec)]
        }

    def _obstacle(self, spec: Spec, master: Link) -> str | None:
        device = self._supervisor.devices.get(spec.ifname)
        if device is None:
            return unusable_reason(master)
        return self._supervisor.masters.obstacle(device, master, self._masters)

    def _check_capture(self, spec: Spec, master: Link) -> None:
        """Refuse traffic that cannot be taken."""
        shapers = {device.ifindex for device in self._supervisor.devices.values()}
        if spec.capture is Capture.INGRESS and master.ifindex in shapers:
            raise InvalidValue(f"{spec.master} is a shaper, which receives nothing to be taken")
        if spec.cgroup is not None:
            check_group(spec.cgroup)
        self._supervisor.captor.check()

    def _master(self, spec: Spec) -> Link | None:
        """Return the device that would be the master now."""
        links, device = self._supervisor.links, self._supervisor.devices.get(spec.ifname)
        if spec.master is None:
            return None
        if device is not None and device.spec.master == spec.master:
            followed = links.index(device.master_index or 0)
            if followed is not None:
                return followed
        return links.name(spec.master) or links.name(spec.master_now or spec.master)

    def _traffic(self, spec: Spec) -> TakenTraffic:
        """Return what a shaper would take."""
        master = self._master(spec)
        where = spec.master if master is None else str(master.ifindex)
        return TakenTraffic(where, spec.capture, _place(spec.cgroup))


def _place(group: str | None) -> str | None:
    """Return where a group is or would be; its name where there are no groups."""
    if group is None:
        return None
    try:
        return place(group, mount_point)
    except KernelRefused:
        return group
