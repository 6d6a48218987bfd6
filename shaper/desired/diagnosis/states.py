"""The shaper as the daemon shows it: its state and its alarms."""

from __future__ import annotations

from collections.abc import Iterator

from shaper.desired.diagnosis.facts import Case
from shaper.desired.findings import Finding, Severity
from shaper.model import State

# State: what follows from it, and the command that mends it.
_STATES: dict[State, tuple[str, str | None]] = {
    State.CONFLICT: ("another device has the name of {ifname}", "ip link set {ifname} name NAME"),
    State.AWAY: ("{ifname} is in another network namespace", "ip link set {ifname} netns PID"),
    State.DETACHED: ("{ifname} has no master", "shapecfg attach {ifname} MASTER"),
    State.NO_SPEED: ("{ifname} has no speed", "shapecfg speed {ifname} RATE"),
    State.MASTER_UNUSABLE: (
        "{master} cannot be the master of {ifname}",
        "shapecfg replace {ifname} MASTER",
    ),
    State.MASTER_MISSING: (
        "{ifname} waits for its master: there is no {master}",
        "shapecfg replace {ifname} MASTER",
    ),
    State.ADMIN_DOWN: ("{ifname} is down", "ip link set {ifname} up"),
    State.CGROUP_MISSING: (
        "{ifname} waits for its control group: there is no {cgroup}",
        "systemctl start {cgroup}",
    ),
    State.STALLED: (
        "the forwarder of {ifname} does not answer; another takes over within 2 s",
        "journalctl -u shaper",
    ),
}


def _state(case: Case) -> Iterator[Finding]:
    shown = case.shown
    if shown.state is State.DETACHED and not shown.rate_bits and not case.routes:
        yield Finding(
            "unused",
            Severity.WARNING,
            f"{shown.ifname} is not used: it has neither master nor speed nor a route",
            f"shapecfg attach {shown.ifname} MASTER",
        )
    elif shown.state is State.MASTER_DOWN:
        yield _master_down(case)
    elif shown.state in _STATES:
        sentence, remedy = _STATES[shown.state]
        words = {"ifname": shown.ifname, "master": shown.master, "cgroup": shown.cgroup}
        reason = f": {shown.reason}" if shown.reason else ""
        yield Finding(
            str(shown.state),
            Severity.FAULT,
            sentence.format(**words) + reason,
            remedy and remedy.format(**words),
        )


def _master_down(case: Case) -> Finding:
    shown = case.shown
    if case.master in case.machine.ups:
        return Finding(
            "master-no-carrier",
            Severity.FAULT,
            f"{shown.master}, the master of {shown.ifname}, has no carrier",
            "plug in its cable, or bring up what it is connected to",
        )
    return Finding(
        "master-down",
        Severity.FAULT,
        f"{shown.master}, the master of {shown.ifname}, is down",
        f"ip link set {shown.master} up",
    )


def _alarms(case: Case) -> Iterator[Finding]:
    ifname = case.shown.ifname
    remedies = {
        "slow": f"shapecfg -s show {ifname}",
        "faults": f"shapecfg -s show {ifname}",
        "bypassed": "ip route get ADDRESS",
    }
    for alarm, sentence in case.shown.alarms.items():
        if alarm in remedies:
            yield Finding(
                f"alarm-{alarm}", Severity.FAULT, f"{ifname}: {sentence}", remedies[alarm]
            )


def _empty_group(case: Case) -> Iterator[Finding]:
    group = case.shown.cgroup
    if group is not None and group in case.machine.empty_groups:
        yield Finding(
            "cgroup-empty",
            Severity.WARNING,
            f"no process is in {group}, so {case.shown.ifname} shapes nothing",
            f"systemctl start {group}",
        )


CHECKS = (_state, _alarms, _empty_group)
