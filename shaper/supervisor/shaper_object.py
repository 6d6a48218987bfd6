"""What `show` tells of a shaper, from its spec, its plan and its counters."""

from __future__ import annotations

import time

from shaper.channel.board import ALTERATIONS, DROP_REASONS, FIELDS
from shaper.control.interface import (
    AlarmObject,
    FindingObject,
    OptionsObject,
    ShaperObject,
    StatsObject,
    TraceObject,
)
from shaper.desired import line_syntax
from shaper.desired.findings import Finding
from shaper.desired.plan import Plan
from shaper.desired.trace_syntax import LOOP, ONCE
from shaper.model import Capture, Link, Queue, Settings, Spec, State
from shaper.supervisor.absent import Absent
from shaper.supervisor.performance import Performance
from shaper.trace import Playback

# Chosen.
_NAMED = 3  # shapers in alarm that the summary names


def shaper_object(
    spec: Spec,
    plan: Plan,
    own: Link,
    master: str | None,
    counters: dict[str, int],
    *,
    ring_drops: int,
    findings: list[Finding],
    is_stalled: bool = False,
    performance: Performance | None = None,
) -> ShaperObject:
    """Return a shaper as it is shown.

    Args:
        spec: what is wanted.
        plan: what was made true.
        own: the device.
        master: what its master is called now.
        counters: its row on the board.
        ring_drops: frames the kernel dropped before they could be read.
        findings: what keeps it from shaping.
        is_stalled: its forwarder does not answer, or is being replaced.
        performance: what it achieved lately, and its alarms; None: not known.
    """
    performance = performance or Performance(counters["busy_ns"], counters["busy_bytes"])
    return ShaperObject(
        ifname=spec.ifname,
        ifindex=own.ifindex,
        link=master,
        capture=spec.capture,
        cgroup=spec.cgroup,
        state=State.STALLED if is_stalled and plan.state is State.ACTIVE else plan.state,
        operstate=own.operstate,
        mtu=own.mtu,
        options=_options(spec, plan.settings),
        stats=_stats(spec, counters, ring_drops, performance),
        warnings=list(map(str, findings)),
        alarms=[
            AlarmObject(alarm=kind, sentence=sentence, since=since)
            for kind, sentence, since in performance.alarms
        ],
        findings=list(map(finding_object, findings)),
    )


def in_alarm(ifnames: list[str]) -> str:
    """Return what the summary ends with where shapers are in alarm."""
    if not ifnames:
        return ""
    more = f" and {len(ifnames) - _NAMED} more" if len(ifnames) > _NAMED else ""
    return f", in alarm: {', '.join(ifnames[:_NAMED])}{more}"


def may_lack_route(shown: ShaperObject) -> bool:
    """Whether a shaper that could pass traffic never has: what has sent, has a route."""
    if shown["capture"] != Capture.ROUTE:
        return False
    return shown["state"] == State.ACTIVE and not shown["stats"]["sent_packets"]


def route_warning(ifname: str) -> str:
    """Return what is said of a shaper that could pass traffic and has no route to receive any."""
    remedy = f"ip route add NETWORK dev {ifname}"
    return f"no route leads through {ifname}, so it shapes nothing ({remedy})"


def absent_object(absent: Absent) -> ShaperObject:
    """Return a shaper that has no device here as it is shown: what is wanted, and why not."""
    spec = absent.spec
    return ShaperObject(
        ifname=spec.ifname,
        ifindex=0,
        link=spec.master_now or spec.master,
        capture=spec.capture,
        cgroup=spec.cgroup,
        state=absent.state,
        operstate="NOTPRESENT",
        mtu=0,
        options=_options(spec, None),
        stats=_stats(spec, dict.fromkeys(FIELDS, 0), 0, Performance(0, 0)),
        warnings=[absent.sentence],
        alarms=[],
        findings=[],
    )


def finding_object(finding: Finding) -> FindingObject:
    """Return a finding as it is told."""
    return FindingObject(
        id=finding.id,
        severity=finding.severity,
        sentence=finding.sentence,
        remedy=finding.remedy,
    )


def _options(spec: Spec, settings: Settings | None) -> OptionsObject:
    return OptionsObject(
        rate_bits=spec.options.mean_bits,
        burst_bytes=settings.burst_bytes if settings else spec.options.burst_bytes or 0,
        queue=spec.options.queue,
        limit_packets=settings.limit_packets if settings else spec.options.limit_packets or 0,
        hz=spec.options.clock_hz,
        line=line_syntax.write_line(spec.options.line, is_brief=True),
        trace=_trace(spec.options.playback),
    )


def _trace(playback: Playback | None) -> TraceObject | None:
    if playback is None:
        return None
    trace, at_us = playback.trace, playback.elapsed_us(time.monotonic_ns() // 1000)
    return TraceObject(
        mode=LOOP if trace.repeats else ONCE,
        steps=len(trace.starts_us),
        length_us=trace.length_us,
        at_us=at_us,
        rate_bits=trace.rate_at(at_us),
    )


def _stats(
    spec: Spec, counters: dict[str, int], ring_drops: int, performance: Performance
) -> StatsObject:
    tells_delays = spec.options.queue is not Queue.CLASSIC
    dropped = {reason: counters[reason] for reason in DROP_REASONS}
    busy_ns = counters["busy_ns"]
    if performance.since is not None:
        achieved_bits = performance.total.bits
    else:
        achieved_bits = counters["busy_bytes"] * 8 * 10**9 // busy_ns if busy_ns else None
    return StatsObject(
        sent_bytes=counters["sent_bytes"],
        sent_packets=counters["sent_packets"],
        dropped={**dropped, "ring": ring_drops},
        overlimits=counters["overlimits"],
        backlog_bytes=counters["backlog_bytes"],
        backlog_packets=counters["backlog_packets"],
        ecn_marks=counters["ecn_marks"],
        flows=counters["flows"],
        delay_ns=counters["delay_ns"] if tells_delays else None,
        delay_p99_ns=counters["delay_p99_ns"] if tells_delays else None,
        achieved_bits=achieved_bits,
        busy_ns=performance.busy_ns,
        busy_bytes=performance.busy_bytes,
        lately_bits=performance.lately.bits,
        lately_packets=performance.lately.packets,
        worst_bits=performance.worst_bits,
        achieved_since=performance.since,
        altered={what: counters[what] for what in ALTERATIONS},
        lately_burst_bytes=counters["lately_burst_bytes"] or None,
        worst_burst_bytes=performance.bursts.of_hour or None,
        total_burst_bytes=performance.bursts.in_all or None,
        worst_delay_p99_ns=performance.delays.of_hour if tells_delays else None,
        total_delay_p99_ns=performance.delays.in_all if tells_delays else None,
    )
