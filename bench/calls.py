"""What a frame costs the forwarder in system calls and wake-ups: `python -m bench.calls`.

Counted beside the traffic of the benchmark, from before the first frame to after the last one. A
frame is one on the wire, so a segment of an offload frame counts, too.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from typing import Any

from bench import workload
from bench.lab.calls import CountedCalls, wake_ups
from bench.lab.daemon import Shaperd
from bench.lab.namespaces import ROOT
from bench.lab.privilege import prepare
from bench.lab.topology import Pair, make_stage
from bench.lanes import Lane, lay
from bench.measure import Job, MeasurementTrial
from bench.rows import GBIT, MBIT
from bench.shapers import OwnShaper
from bench.terminal import table
from bench.workload import UNLIMITED_BITS, Traffic, spell_rate
from shaper.forwarder.seccomp import numbers

FILE = ROOT / "docs" / "benchmarks" / "calls.csv"
WIRE, WHOLE = Lane.numbered(1), Lane.numbered(2, is_wire=False)
SECONDS = 3.0

# What is told apart; all else a forwarder does is a handful of calls a second.
NAMES = (
    *("epoll_wait", "epoll_pwait", "epoll_ctl", "timerfd_settime"),
    *("read", "readv", "sendto", "sendmmsg", "pread64"),
)
ROWS: tuple[tuple[Lane, int, Traffic], ...] = (
    (WIRE, 10 * MBIT, workload.TCP_4),
    (WIRE, 100 * MBIT, workload.TCP_4),
    (WHOLE, GBIT, workload.TCP_4),
    (WIRE, UNLIMITED_BITS, workload.UDP_SMALL),
)


def measure(
    pair: Pair, shaperd: Shaperd, lane: Lane, rate_bits: int, traffic: Traffic
) -> dict[str, Any]:
    """Send for a while; return a row of the table."""
    shaper = OwnShaper(pair.host, shaperd=shaperd)
    (pid,) = shaperd.forwarder_pids()
    known = numbers(os.uname().machine)
    shaper.shape(lane, rate_bits)
    sent = shaperd.show(lane.shaper)["stats"]["sent_packets"]
    slept = wake_ups(pid)
    with CountedCalls(pid, {name: known[name] for name in NAMES if name in known}) as calls:
        MeasurementTrial(pair, [Job(lane, shaper, rate_bits, traffic)], SECONDS).run()
        counted = calls.counts()
    frames = max(1, shaperd.show(lane.shaper)["stats"]["sent_packets"] - sent)
    return {
        "traffic": f"{spell_rate(rate_bits)}, {traffic.name}",
        "frames_a_second": round(frames / SECONDS),
        "wake_ups": round((wake_ups(pid) - slept) / frames, 3),
        "calls": round(sum(counted.values()) / frames, 3),
        **{name: round(count / frames, 3) for name, count in counted.items()},
    }


def measure_all() -> Iterator[dict[str, Any]]:
    """Measure each row once."""
    with make_stage() as pair, Shaperd(pair.host, "--shapers", "0") as shaperd:
        for lane in (WIRE, WHOLE):
            lay(pair, lane)
        for row in ROWS:
            yield measure(pair, shaperd, *row)


def main() -> None:
    """Measure, print, and write the table."""
    prepare()
    found = list(measure_all())
    print(table(list(found[0]), [[str(each) for each in row.values()] for row in found]))
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, found[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


if __name__ == "__main__":
    main()
