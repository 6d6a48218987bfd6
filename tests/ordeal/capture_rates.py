"""Rates of what is taken from a device: `python -m tests.ordeal.capture_rates [MBIT...]`.

What passed is read from the receiver's own counters of IP, which count a captured frame once it
is the master's own again. Wire bytes are those of IP and a header of Ethernet for each segment.
Pings run beside every load, so that a queue that stands would be seen. As where rates are tested,
the bucket outlasts what the machine takes from the forwarder, and the forwarder is preferred. Each
cell has the medians of its runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench.lab import law
from bench.lab.daemon import Shaperd
from bench.lab.datagrams import Course, Datagrams, Pit, flooding
from bench.lab.flow import ETHERNET_BYTES, IP_BYTES, Flow, Load
from bench.lab.namespaces import Namespace
from bench.lab.task import Task
from bench.lab.topology import (
    HOST,
    HOST6,
    MASTER,
    PEER,
    PEER6,
    REMOTE,
    REMOTE6,
    REMOTE_NETWORK,
    REMOTE_NETWORK6,
    Pair,
    make_pair,
)
from bench.lab.traffic import Sender, Sink
from bench.ping import Pinger
from tests.kernel.shaping import outlast_stalls, wait_idle
from tests.kernel.steps import PORT, SHAPER

RATES_MBIT = (50, 1000)
WHOLE_BITS = 10**9  # from here on TCP crosses as offload frames, as in the benchmarks
ADDRESSES = {"route": (REMOTE, REMOTE6), "egress": (PEER, PEER6), "ingress": (HOST, HOST6)}
LOOK_S = 0.02  # between two looks
RUN_S = 3.0
RUNS = 5
SETTLE_S = 0.8
SURPLUS_PERCENT = 110
TCP_HEADER_BYTES = 32  # with time stamps
SEGMENT_BYTES = 1500

PINGS = Flow("udp", PEER, 0)  # their frames are counted as datagrams are


@dataclass(frozen=True)
class Rate:
    """One cell: the error of the rate, and the pings beside it."""

    error_percent: float
    median_ms: float
    worst_ms: float

    def __str__(self) -> str:
        """Return it as a cell of the table."""
        return f"{self.error_percent:+.4f} % ({self.median_ms:.2f}, {self.worst_ms:.2f})"


def octets(version: int) -> tuple[int, int]:
    """Return bytes of IP and packets that the namespace of this thread has received."""
    if version == 4:
        lines = Path("/proc/thread-self/net/netstat").read_text(encoding="ascii").splitlines()
        names, values = (each.split() for each in lines if each.startswith("IpExt:"))
        told = dict(zip(names, values, strict=True))
        lines = Path("/proc/thread-self/net/snmp").read_text(encoding="ascii").splitlines()
        names, values = (each.split() for each in lines if each.startswith("Ip:"))
        told.update(zip(names, values, strict=True))
        return int(told["InOctets"]), int(told["InReceives"])
    six = Path("/proc/thread-self/net/snmp6").read_text(encoding="ascii").split()
    told = dict(zip(six[::2], six[1::2], strict=True))
    return int(told["Ip6InOctets"]), int(told["Ip6InReceives"])


def wire_bytes(flow: Flow, counted: tuple[int, int]) -> int:
    """Return what a NIC would have sent for it: offload frames are cut to full segments."""
    ip_bytes, packets = counted
    if flow.protocol == "udp":
        return ip_bytes + packets * ETHERNET_BYTES
    headers = IP_BYTES[flow.version] + TCP_HEADER_BYTES
    payload = ip_bytes - packets * headers
    segments = max(packets, -(-payload // (SEGMENT_BYTES - headers)))
    return payload + segments * (headers + ETHERNET_BYTES)


def since(first: tuple[int, int], now: tuple[int, int]) -> tuple[int, int]:
    """Return what was counted between two looks."""
    return now[0] - first[0], now[1] - first[1]


def looks(namespace: Namespace, flow: Flow, seconds: float) -> list[tuple[int, int]]:
    """Return times and wire bytes since the first look."""
    seen = []
    with namespace.enter():
        first = octets(flow.version), octets(4)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = time.monotonic_ns()
            now = octets(flow.version), octets(4)
            after = time.monotonic_ns()
            sent = wire_bytes(flow, since(first[0], now[0]))
            if flow.version == 6:
                sent += wire_bytes(PINGS, since(first[1], now[1]))
            seen.append(((before + after) // 2, sent))
            time.sleep(LOOK_S)
    return seen


def error_percent(seen: list[tuple[int, int]], rate_bits: int) -> float:
    """Return by how much the rate is off, between the least late looks of both end quarters."""
    late = [rate_bits * at - sent * law.UNITS_PER_BYTE for at, sent in seen]
    quarter = len(seen) // 4
    start = min(range(quarter), key=late.__getitem__)
    end = min(range(len(seen) - quarter, len(seen)), key=late.__getitem__)
    elapsed, sent = seen[end][0] - seen[start][0], seen[end][1] - seen[start][1]
    return law.error_percent(sent * law.UNITS_PER_BYTE / elapsed, rate_bits)


@contextlib.contextmanager
def loaded(
    sender: Namespace, receiver: Namespace, flow: Flow, rate: int, seconds: float
) -> Iterator[None]:
    """Offer more than the rate for a time."""
    if flow.protocol == "udp":
        with contextlib.closing(Pit(receiver, flow.target)):
            course = Course(flow.target, 1514, rate * SURPLUS_PERCENT // 100)
            with Task(sender, Datagrams([course], flooding(seconds))):
                yield
    else:
        with Sink(receiver, flow), Sender(sender, flow, Load(seconds=seconds)):
            yield


def measure(pair: Pair, mode: str, flow: Flow, rate: int, seconds: float = RUN_S) -> Rate:
    """Measure one cell."""
    ends = (pair.peer, pair.host) if mode == "ingress" else (pair.host, pair.peer)
    address = ADDRESSES[mode][0]
    with loaded(*ends, flow, rate, seconds + 2 * SETTLE_S):
        time.sleep(SETTLE_S)
        with Task(ends[0], Pinger(address, seconds, 0.01)) as pinger:
            seen = looks(ends[1], flow, seconds)
            trips = sorted(pinger.result(2.0).round_trips_ns)
    median = statistics.median(trips) / 1e6 if trips else -1.0
    worst = trips[len(trips) * 99 // 100] / 1e6 if trips else -1.0
    return Rate(error_percent(seen, rate), median, worst)


def keep_order(namespace: Namespace, device: str) -> None:
    """Receive each flow on one processor, as a NIC does; veth follows the sender's."""
    every = (1 << len(os.sched_getaffinity(0))) - 1
    packets = f"/sys/class/net/{device}/queues/rx-0/rps_cpus"
    script = f"mount -t sysfs none /sys && echo {every:x} >{packets}"
    namespace.run(["unshare", "--mount", "sh", "-c", script])


def typical(runs: Sequence[Rate]) -> Rate:
    """Return the medians of several runs."""
    figures = zip(*(dataclasses.astuple(run) for run in runs), strict=True)
    return Rate(*map(statistics.median, figures))


def lead(daemon: Shaperd, pair: Pair, mode: str, rate: int) -> None:
    """Lead traffic to the shaper in one way."""
    daemon.configure("attach", SHAPER, MASTER, *([] if mode == "route" else [mode]))
    daemon.configure("speed", SHAPER, str(rate))
    outlast_stalls(daemon, rate)
    for pid in daemon.forwarder_pids():
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    if mode == "route":
        pair.host.ip(f"address add {HOST}/28 dev {SHAPER}", f"link set {SHAPER} up")
        pair.host.ip(
            f"route add {REMOTE_NETWORK} dev {SHAPER}", f"route add {REMOTE_NETWORK6} dev {SHAPER}"
        )


def row(mode: str, protocol: str, rate: int) -> str:
    """Measure one row, IPv4 and IPv6."""
    is_wire = protocol == "udp" or rate < WHOLE_BITS
    with (
        make_pair(wire_frames=is_wire) as pair,
        tempfile.TemporaryDirectory() as directory,
        Shaperd(pair.host, directory=Path(directory)) as daemon,
    ):
        keep_order(pair.host, MASTER)
        lead(daemon, pair, mode, rate)
        flows = [Flow(protocol, address, PORT) for address in ADDRESSES[mode]]
        cells = []
        for flow in flows:
            runs = []
            for _ in range(RUNS):
                wait_idle(daemon)
                runs.append(measure(pair, mode, flow, rate))
            cells.append(str(typical(runs)))
    return f"| {rate // 10**6} Mbit/s {mode} {protocol} | {' | '.join(cells)} |"


def main(rates_mbit: Iterable[int]) -> None:
    """Print the table: the error of each rate, and pings beside it (median, p99, in ms)."""
    for rate, mode, protocol in product(rates_mbit, ADDRESSES, ("udp", "tcp")):
        print(row(mode, protocol, rate * 10**6), flush=True)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or RATES_MBIT)
