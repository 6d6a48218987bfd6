"""What is shown of shapers: their settings, counters and findings, as far as they are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from shaper.control.interface import ShaperObject
from shaper.desired.findings import Finding, Severity
from shaper.errors import NoSuchShaper
from shaper.model import State
from shaper.supervisor.absent import Absent
from shaper.supervisor.device import Device
from shaper.supervisor.performance import Performance
from shaper.supervisor.reconciler import Supervisor
from shaper.supervisor.shaper_object import (
    absent_object,
    finding_object,
    may_lack_route,
    route_warning,
    shaper_object,
)

# Chosen.
_MAX_ROUTE_LOOKUPS = 16  # a `show`; each is a question to the kernel
_LOOKUPS_NS = 10_000_000  # ... and there are no more once they took so long: tables may be large


class ShaperView:
    """Shapers as they are shown.

    Args:
        supervisor: knows them.

    Attributes:
        performance: returns what a shaper achieved lately, and its alarms; None until that is
            looked at.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self.performance: Callable[[Device, dict[str, int]], Performance | None] = _not_known
        self._supervisor = supervisor

    def show(self, ifname: str | None) -> list[ShaperObject]:
        """Return one shaper, or all of them: what is known, and whether the kernel has routes."""
        absent = self._supervisor.absent
        if ifname is not None and ifname in absent:
            return [absent_object(absent[ifname])]
        chosen = (
            self._supervisor.devices.values()
            if ifname is None
            else [find_device(self._supervisor, ifname)]
        )
        devices = sorted(chosen, key=lambda each: each.ifindex)
        shown = self.snapshot(devices)
        until_ns = time.monotonic_ns() + _LOOKUPS_NS
        for each in [each for each in shown if may_lack_route(each)][:_MAX_ROUTE_LOOKUPS]:
            if not self._supervisor.netlink.has_route_through(each["ifindex"]):
                each["warnings"].append(route_warning(each["ifname"]))
            if time.monotonic_ns() > until_ns:
                break
        return shown + [absent_object(each) for each in absent.values() if ifname is None]

    def snapshot(self, devices: Iterable[Device]) -> list[ShaperObject]:
        """Return counters, states and settings of shapers; no question to the kernel each."""
        drops = self._supervisor.kernel.tx_dropped()
        sysctls = self._supervisor.kernel.sysctls()
        shown = []
        unsaved = _unsaved_findings(self._supervisor.store.obstacle())
        for device in devices:
            own = self._supervisor.links.index(device.ifindex)
            if own is None:  # it went just now, and what became of it is found out in a moment
                ifname = device.spec.ifname
                shown.append(
                    absent_object(Absent(device.spec, State.AWAY, f"{ifname} is not here"))
                )
                continue
            if device.plan is None:
                continue
            counted = self._supervisor.counters(device)
            findings = self._supervisor.inspector.findings(device, sysctls)
            shown.append(
                shaper_object(
                    device.spec,
                    device.plan,
                    own,
                    device.master_name or device.spec.master_now or device.spec.master,
                    counted,
                    ring_drops=drops.get(device.spec.ifname, 0),
                    findings=[*findings, *_capture_findings(device)],
                    is_stalled=self._supervisor.is_stalled(device),
                    performance=self.performance(device, counted),
                )
            )
            shown[-1]["findings"] += map(finding_object, unsaved)
        return shown


def summary(supervisor: Supervisor) -> str:
    """Return how many shapers there are, and how many of them pass traffic."""
    devices = supervisor.devices.values()
    wanted = State.ACTIVE  # looked up once, not for each of a thousand
    planned = [each for each in devices if (plan := each.plan) and plan.state is wanted]
    active = len(planned)
    if supervisor.has_stalled():
        active = sum(not supervisor.is_stalled(each) for each in planned)
    number = len(devices) + len(supervisor.absent)
    return f"{number} shaper{'' if number == 1 else 's'}, {active} active"


def find_device(supervisor: Supervisor, ifname: str) -> Device:
    """Return the device of a shaper. Raises NoSuchShaper."""
    device = supervisor.devices.get(ifname)
    if device is None:
        known = ", ".join(sorted(supervisor.specs())) or "none"
        raise NoSuchShaper(f"{ifname}: no such shaper (there are: {known})")
    return device


def _capture_findings(device: Device) -> list[Finding]:
    plan, spec = device.plan, device.spec
    if plan is None or plan.state is not State.ACTIVE or not plan.is_capturing:
        return []
    if device.captured.is_in_force:
        return []
    reason = device.last_refusal or "it is being set up"
    sentence = f"the {spec.capture} of {spec.master} does not pass {spec.ifname}: {reason}"
    return [Finding("capture-not-in-force", Severity.FAULT, sentence)]


def _unsaved_findings(reason: str | None) -> list[Finding]:
    if reason is None:
        return []
    sentence = f"what is set does not survive a restart: {reason}"
    return [Finding("state-unwritable", Severity.WARNING, sentence)]


def _not_known(_: Device, __: dict[str, int]) -> Performance | None:
    return None
