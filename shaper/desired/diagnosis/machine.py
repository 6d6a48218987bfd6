"""Versions, processes, the processor."""

from __future__ import annotations

from collections.abc import Iterator

from shaper.desired.diagnosis.facts import Case
from shaper.desired.findings import Finding, Severity

# Chosen.
_STEAL_PERCENT = 10


def _versions(case: Case) -> Iterator[Finding]:
    daemon, own = case.machine.daemon_version, case.machine.own_version
    if daemon != own:
        yield Finding(
            "version-mismatch",
            Severity.WARNING,
            f"the daemon is of version {daemon}, this shapecfg of {own}",
            "systemctl restart shaper",
        )


def _throttled(case: Case) -> Iterator[Finding]:
    processor = case.machine.processor
    if processor.throttled_group is not None:
        value = "max" if processor.quota.endswith("cpu.max") else "-1"
        yield Finding(
            "processor-quota",
            Severity.WARNING,
            f"the quota of control group {processor.throttled_group} keeps the forwarder from "
            "running",
            f"echo {value} > {processor.quota}",
        )


def _stolen(case: Case) -> Iterator[Finding]:
    steal = case.machine.processor.steal_percent
    if steal >= _STEAL_PERCENT and "slow" in case.shown.alarms:
        yield Finding(
            "processor-steal",
            Severity.WARNING,
            f"the hypervisor takes {steal} % of the processor, so {case.shown.ifname} is woken "
            "too late",
            f"shapecfg set {case.shown.ifname} burst BYTES",
        )


def _replaced(case: Case) -> Iterator[Finding]:
    seconds = case.machine.processor.replaced_seconds
    if seconds is not None:
        yield Finding(
            "forwarder-replaced",
            Severity.WARNING,
            f"a forwarder died or hung and was replaced {seconds} s ago",
            "journalctl -u shaper",
        )


CHECKS = (_versions, _throttled, _stolen, _replaced)
