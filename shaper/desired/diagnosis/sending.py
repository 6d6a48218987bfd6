"""What slows or loses what the shaper has sent, or is sent past it."""

from __future__ import annotations

from collections.abc import Iterator

from shaper.desired.diagnosis.facts import Case, RootQdisc
from shaper.desired.findings import Finding, Severity
from shaper.model import Capture
from shaper.units import format_rate

# Specified: RFC 2131, RFC 8415. Clients of DHCP bind to their device before it has an address.
_DHCP_PORTS = (67, 68, 546, 547)
# Chosen: below it a frame at a time is no matter.
_OFFLOAD_RATE_BITS = 500_000_000
_MOST_PROGRAMS, _MOST_PORTS = 8, 4  # told of those that have bound sockets; anyone can


def _qdisc(case: Case) -> Iterator[Finding]:
    for ifindex in (case.master, case.shown.ifindex):
        qdisc = case.machine.qdiscs.get(ifindex or 0)
        if qdisc is not None and case.shown.capture is not Capture.INGRESS:
            yield from _look(case, case.machine.name(ifindex), qdisc)


def _look(case: Case, ifname: str, qdisc: RootQdisc) -> Iterator[Finding]:
    rate_bits = case.shown.rate_bits
    if qdisc.rate_bits is not None and qdisc.rate_bits < rate_bits:
        yield Finding(
            "qdisc-slower",
            Severity.FAULT,
            f"the {qdisc.kind} qdisc of {ifname} lets {format_rate(qdisc.rate_bits)} pass, less "
            f"than the {format_rate(rate_bits)} of {case.shown.ifname}",
            f"tc qdisc del dev {ifname} root",
        )
    if qdisc.drops:
        yield Finding(
            "qdisc-drops",
            Severity.WARNING,
            f"the {qdisc.kind} qdisc of {ifname} drops frames, {qdisc.drops} just now",
            f"tc -s qdisc show dev {ifname}",
        )


def _mtu(case: Case) -> Iterator[Finding]:
    mtu = case.machine.mtus.get(case.master or 0)
    if mtu is not None and case.shown.mtu > mtu:
        yield Finding(
            "mtu-larger",
            Severity.FAULT,
            f"the MTU of {case.shown.ifname} is {case.shown.mtu}, that of {case.shown.master} "
            f"{mtu}: larger packets are lost",
            f"ip link set {case.shown.ifname} mtu {mtu}",
        )


def _offload(case: Case) -> Iterator[Finding]:
    off = case.machine.slow_offloads.get(case.master or 0, ())
    if off and case.shown.rate_bits >= _OFFLOAD_RATE_BITS:
        yield Finding(
            "offload-off",
            Severity.WARNING,
            f"{', '.join(off)} of {case.shown.master} is off, so each frame is sent by itself and "
            f"{format_rate(case.shown.rate_bits)} may not be reached",
            f"ethtool -K {case.shown.master} {' '.join(f'{each} on' for each in off)}",
        )


def _bound(case: Case) -> Iterator[Finding]:
    if not case.is_by_route or case.master is None:
        return
    ports: dict[tuple[str, str], list[int]] = {}
    for each in case.machine.bound:
        if each.ifindex == case.master and each.local_port not in _DHCP_PORTS:
            program = each.program or f"a program of uid {each.uid}"
            ports.setdefault((program, each.protocol), []).append(each.local_port)
    for (program, protocol), bound in list(ports.items())[:_MOST_PROGRAMS]:
        yield _bound_to_master(case, f"{program} has bound {_sockets(protocol, bound)}")
    others = sum(len(bound) for bound in list(ports.values())[_MOST_PROGRAMS:])
    if others:
        programs = len(ports) - _MOST_PROGRAMS
        yield _bound_to_master(case, f"{programs} more have bound {others} sockets")


def _sockets(protocol: str, ports: list[int]) -> str:
    if len(ports) == 1:
        return f"a {protocol} socket (port {ports[0]})"
    told = ", ".join(map(str, sorted(set(ports))[:_MOST_PORTS]))
    return f"{len(ports)} {protocol} sockets (ports {told}{', …' * (len(ports) > _MOST_PORTS)})"


def _bound_to_master(case: Case, who: str) -> Finding:
    ifname, master = case.shown.ifname, case.shown.master
    return Finding(
        "bound-to-master",
        Severity.WARNING,
        f"{who} to {master}, so what is sent there passes {ifname} by",
        f"shapecfg replace {ifname} {master} egress",
    )


def _neighbour(case: Case) -> Iterator[Finding]:
    gateways = {str(each.gateway) for each in case.routes if each.gateway is not None}
    for each in case.machine.failed:
        if each.ifindex == case.shown.ifindex and each.address in gateways:
            yield Finding(
                "gateway-silent",
                Severity.FAULT,
                f"the next hop {each.address} of routes over {case.shown.ifname} does not answer",
                f"ip neigh show {each.address}",
            )


def _foreign(case: Case) -> Iterator[Finding]:
    programs = case.machine.foreign_programs.get(case.master or 0, ())
    if programs and not case.is_by_route:
        yield Finding(
            "foreign-program",
            Severity.WARNING,
            f"another program on {case.shown.master} ({', '.join(programs)}) sees its traffic "
            f"before {case.shown.ifname} does, and may take it away",
            f"bpftool net show dev {case.shown.master}",
        )


CHECKS = (_qdisc, _mtu, _offload, _bound, _neighbour, _foreign)
