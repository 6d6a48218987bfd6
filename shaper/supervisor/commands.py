"""The commands: what people may ask of the shapers, checked before anything is done.

This is the class behind the control socket (`control.interface.ShaperCommands`). What a command
wants is put into a spec; the supervisor applies it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from shaper.control.interface import AddedObject, ShaperObject
from shaper.desired import bounds, captures
from shaper.desired.config import initial_specs, parse_config, with_hz
from shaper.desired.continuing import begun, drawn, going_on
from shaper.desired.document import write_config
from shaper.desired.plan import check_burst
from shaper.desired.profiles import Profiles
from shaper.errors import (
    Busy,
    NoSuchMaster,
    NotAttached,
    ShaperError,
)
from shaper.kernel.cgroup import UNITS
from shaper.model import Capture, Options, Spec, State
from shaper.names import check_master_name, check_name
from shaper.network import Network
from shaper.supervisor.admission import Admission
from shaper.supervisor.change import change_shapers
from shaper.supervisor.reconciler import Supervisor
from shaper.supervisor.shaper_view import ShaperView, find_device

# Of another name, or by route, one that is not there is a slip.
_NUMBERED = re.compile(r"shaper(0|[1-9]\d*)", re.ASCII)
_BY_DEVICE = {Capture.EGRESS, Capture.INGRESS, Capture.CGROUP}


class Commands:
    """Answers calls. Every method may raise errors.ShaperError, and has then changed nothing.

    Args:
        supervisor: applies what is wanted.
        hz: jiffies per second of a new shaper.

    Attributes:
        inventory: returns what concerns each shaper in the kernel; nothing until there is one.
        profiles: links that the configuration has names for.
        view: what is shown of shapers.
    """

    def __init__(self, supervisor: Supervisor, hz: int) -> None:
        self.hz = hz
        self.inventory: Callable[[], dict[str, Network]] = dict
        self.profiles: Profiles = {}
        self.view = ShaperView(supervisor)
        self._supervisor = supervisor

    def show(self, ifname: str | None) -> list[ShaperObject]:
        """Return one shaper, or all of them."""
        return self.view.show(ifname)

    async def attach(
        self,
        ifname: str,
        master: str,
        *,
        capture: str | None = None,
        cgroup: str | None = None,
        may_replace: bool = False,
    ) -> list[str]:
        """Bind a shaper to a master, for what is routed to it or taken there; return warnings.

        A shaperN for what is taken there is made where there is none: it needs nothing else.
        """
        async with self._supervisor.changing():
            before = self._spec_or_new(ifname, capture)
            if before.master is not None and not may_replace:
                name = before.master_now or before.master
                raise Busy(f"{ifname} is already attached to {name} (detach it first)")
            link = self._supervisor.links.name(check_master_name(master))
            if link is None:
                raise NoSuchMaster(f"{master}: no such device (ip link lists those there are)")
            wanted = replace(before, master=master, master_now=None)
            wanted = captures.with_capture(wanted, capture, cgroup)
            Admission(self._supervisor, [wanted]).check(wanted)
            saving = await change_shapers(self._supervisor, wanted)
            if (device := self._supervisor.devices.get(ifname)) is not None:
                self._supervisor.masters.keep(device)
            return saving + self._warnings([wanted]) + self._group_warnings(wanted)

    async def detach(self, ifname: str) -> list[str]:
        """Unbind a shaper; it keeps its speed. Return warnings."""
        async with self._supervisor.changing():
            spec = self._spec(ifname)
            if spec.master is None:
                raise NotAttached(f"{ifname} is not attached (shapecfg show lists what is)")
            wanted = replace(
                spec, master=None, master_now=None, capture=Capture.ROUTE, cgroup=None
            )
            saving = await change_shapers(self._supervisor, wanted)
            if (device := self._supervisor.devices.get(ifname)) is not None:
                await device.flush()
            return saving

    async def set_speed(self, ifname: str, rate_bits: int) -> list[str]:
        """Set the rate; return warnings."""
        async with self._supervisor.changing():
            spec = self._spec(ifname)
            rate_bits = bounds.check_rate(rate_bits)
            options = replace(spec.options, rate_bits=rate_bits)
            bounds.check_line(options)
            saving = await change_shapers(self._supervisor, replace(spec, options=options))
            return saving + _serving_warnings(options) + _traced_warnings(ifname, options)

    async def set_options(
        self,
        ifname: str,
        *,
        queue: str | None,
        limit_packets: int | None,
        burst_bytes: int | None,
        hz: int | None,
        line: Mapping[str, str] | None = None,
        trace: str | None = None,
        profile: str | None = None,
    ) -> list[str]:
        """Change what is not None, 0 meaning the default; return warnings.

        A trace begins when this is called, `none` ends it. A profile is a whole link.
        """
        async with self._supervisor.changing():
            spec = self._spec(ifname)
            options = bounds.change_options(
                spec.options,
                queue=queue,
                limit_packets=limit_packets,
                burst_bytes=burst_bytes,
                hz=hz,
                line=line,
                trace=trace,
                profile=profile,
                profiles=self.profiles,
            )
            wanted = begun(with_hz(replace(spec, options=options), self.hz), _now_us())
            wanted = drawn(wanted, None)
            options = wanted.options
            device = self._supervisor.devices.get(ifname)
            if device is not None and device.plan is not None:
                check_burst(options, device.plan.mtu)
            saving = await change_shapers(self._supervisor, wanted)
            return saving + _serving_warnings(options)

    async def add(self, ifname: str | None) -> AddedObject:
        """Create a shaper; return its name and warnings."""
        async with self._supervisor.changing():
            name = check_name(ifname) if ifname is not None else self._free_name()
            if name in self._supervisor.specs():
                raise Busy(f"{name} is a shaper already")
            spec = Spec(name, options=Options(hz=self.hz))
            warnings = await change_shapers(self._supervisor, spec)
            return AddedObject(ifname=name, warnings=warnings)

    async def delete(self, ifname: str) -> list[str]:
        """Remove a shaper, and its addresses and routes with it; return warnings."""
        async with self._supervisor.changing():
            self._spec(ifname)
            return await change_shapers(self._supervisor, without=[ifname])

    async def save_configuration(self) -> str:
        """Return a shaper.toml of everything as it is now."""
        async with self._supervisor.changing():
            networks = self.inventory()
            specs = self._supervisor.specs().values()
            return write_config(
                replace(spec, network=networks.get(spec.ifname, spec.network)) for spec in specs
            )

    async def restore_configuration(self, configuration: str) -> list[str]:
        """Make everything be as a shaper.toml says, all or none; return warnings.

        Shapers that it does not name are removed: it is the whole of what there should be. What
        concerns the daemon itself (forwarders, group) stays as it is.
        """
        config = parse_config(configuration, reads_files=False)
        specs = initial_specs(config, [])
        gone = self._supervisor.specs().keys() - {spec.ifname for spec in specs}
        try:
            return [*config.warnings, *await self.apply(specs, without=sorted(gone))]
        except ShaperError as error:
            error.args = (config.sentence(error),)
            raise

    async def apply(
        self, specs: Iterable[Spec], *, without: Iterable[str] = (), hz: int | None = None
    ) -> list[str]:
        """Make shapers be as these say, all or none; return what to warn of.

        Those that are not named stay. A new one whose name belongs to another device waits for
        the name.

        Args:
            specs: what shapers should be.
            without: shapers to remove.
            hz: jiffies per second of new shapers, and of those for which none was set.

        Raises ShaperError when one of them cannot be so: before
        anything is changed where that can be seen, and with all put back where the kernel or a
        forwarder refused. That a state cannot be saved is in the log already.
        """
        specs = tuple(specs)
        async with self._supervisor.changing():
            known = self._supervisor.specs()
            wanted = {name: spec for name, spec in known.items() if hz is not None}
            wanted |= {spec.ifname: spec for spec in specs}
            if hz is not None:
                wanted = {name: with_hz(spec, hz) for name, spec in wanted.items()}
            same_masters = (self._as_before(spec) for spec in wanted.values())
            changed = [spec for spec in same_masters if spec != known.get(spec.ifname)]
            gone = tuple(without)
            for ifname in gone:
                self._spec(ifname)
            admission = Admission(self._supervisor, changed, without=gone)
            for spec in changed:
                with _naming(spec.ifname):
                    admission.check(spec)
            await change_shapers(self._supervisor, *changed, without=gone, may_wait=True)
            self.hz = self.hz if hz is None else hz
            return self._warnings(specs)

    def _warnings(self, specs: Iterable[Spec]) -> list[str]:
        """Return what is found of shapers, each sentence once."""
        settings = self._supervisor.kernel.sysctls()
        devices = map(self._supervisor.devices.get, (spec.ifname for spec in specs))
        findings = [
            str(finding)
            for device in devices
            if device is not None
            for finding in self._supervisor.inspector.findings(device, settings)
        ]
        return list(dict.fromkeys(findings))

    def _group_warnings(self, spec: Spec) -> list[str]:
        """Return that there is no such control group, as it may be a slip."""
        device = self._supervisor.devices.get(spec.ifname)
        if device is None or device.plan is None or device.plan.state is not State.CGROUP_MISSING:
            return []
        warning = f"there is no control group {spec.cgroup} yet: {spec.ifname} waits for it"
        name = (spec.cgroup or "").strip("/")
        if "/" not in name and not name.endswith(UNITS):
            warning += f" (did you mean {name}.service?)"
        return [warning]

    def _as_before(self, spec: Spec) -> Spec:
        """Return a spec whose trace goes on, and of the same master with its name of now."""
        before = self._supervisor.specs().get(spec.ifname)
        spec = drawn(begun(going_on(spec, before), _now_us()), before)
        if before is None or before.master != spec.master:
            return spec
        return replace(spec, master_now=before.master_now)

    def _spec(self, ifname: str) -> Spec:
        """Return what a shaper should be. Raises NoSuchShaper."""
        absent = self._supervisor.absent.get(ifname)
        return absent.spec if absent is not None else find_device(self._supervisor, ifname).spec

    def _spec_or_new(self, ifname: str, capture: str | None) -> Spec:
        is_new = ifname not in self._supervisor.specs() and _NUMBERED.fullmatch(ifname)
        if is_new and capture in _BY_DEVICE:
            return Spec(check_name(ifname), options=Options(hz=self.hz))
        return self._spec(ifname)

    def _free_name(self) -> str:
        taken = {*self._supervisor.specs(), *self._supervisor.links.names()}
        number = 0
        while (name := f"shaper{number}") in taken:
            number += 1
        return name


@contextlib.contextmanager
def _naming(ifname: str) -> Iterator[None]:
    """Have a refusal name the shaper, where many are changed at once."""
    try:
        yield
    except ShaperError as error:
        if ifname not in str(error):
            error.args = (f"{ifname}: {error}",)
        raise


def _traced_warnings(ifname: str, options: Options) -> list[str]:
    if options.playback is None:
        return []
    return [f"{ifname} follows a trace: its speed counts from `set {ifname} trace none` on"]


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _serving_warnings(options: Options) -> list[str]:
    warning = bounds.classic_warning(options)
    return [*([warning] if warning else []), *bounds.slips(options)]
