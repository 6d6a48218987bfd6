"""Many shapers in one daemon: what they weigh, what they cost idle, whether each is exact."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from bench.lab import meters
from bench.lab.daemon import Shaperd
from bench.lab.topology import Pair, make_stage
from bench.lanes import Lane, lay
from bench.measure import Job, MeasurementTrial
from bench.shapers import OwnShaper
from bench.terminal import Progress
from bench.workload import TCP_4, UDP_LARGE, UDP_SMALL, UNLIMITED_BITS

# Specified by the task.
COUNTS = (1, 10, 100, 1000)
LOADED = 20

# Chosen.
IDLE_S = 2.0
IDLE_RATE_BITS = 10**6
LOADED_RATES_BITS = (1_000_000, 2_000_000, 5_000_000, 10_000_000)  # in turn
LOADED_S = 2.5
ATTEMPTS = 3
TRIAL_S = 1.0
MS = 1000


@contextmanager
def _crowd(*options: str) -> Iterator[tuple[Pair, Lane, Shaperd]]:
    """Build a stage of its own, with a daemon that has no shapers yet.

    The daemon is killed in the end: the kernel removes a thousand devices faster with their
    namespace than one after the other.
    """
    lane = Lane.numbered(1)
    with make_stage() as pair:
        lay(pair, lane)
        with Shaperd(pair.host, "--shapers", "0", *options) as shaperd:
            yield pair, lane, shaperd
            shaperd.kill()


def weigh(progress: Progress, counts: Sequence[int] = COUNTS) -> list[dict[str, Any]]:
    """Return for each number of shapers what adding one took, and what all of them cost idle."""
    found = []
    with _crowd() as (pair, lane, shaperd):
        client = OwnShaper(pair.host, shaperd=shaperd).client
        for existing, count in pairwise((0, *counts)):
            add_s, attach_s = [], []
            for number in range(existing, count):
                begin_s = time.monotonic()
                client.add(f"shaper{number}")
                added_s = time.monotonic()
                client.attach(f"shaper{number}", lane.master)
                attached_s = time.monotonic()
                client.set_speed(f"shaper{number}", IDLE_RATE_BITS)
                add_s.append(added_s - begin_s)
                attach_s.append(attached_s - added_s)
            found.append(_idle(shaperd, count, add_s, attach_s))
            progress.say(_spell(found[-1]))
    return found


def _idle(
    shaperd: Shaperd, count: int, add_s: Sequence[float], attach_s: Sequence[float]
) -> dict[str, Any]:
    """Return the figures of a daemon with so many shapers and nothing to do."""
    processes = shaperd.processes()
    time.sleep(0.5)  # what the last command set off is over
    meter = meters.Meter(processes)
    time.sleep(IDLE_S)
    spent = meter.spent()
    return {
        "shapers": count,
        "add_ms": statistics.median(add_s) * MS,
        "attach_ms": statistics.median(attach_s) * MS,
        "memory_bytes": {name: meters.memory_bytes(pid) for name, pid in processes.items()},
        "idle_percent": {
            name: 100 * used_s / spent.seconds for name, used_s in spent.processes_s.items()
        },
        "steal_percent": spent.steal_percent,
    }


def _spell(found: dict[str, Any]) -> str:
    memory = sum(found["memory_bytes"].values()) / 2**20
    idle = sum(found["idle_percent"].values())
    return (
        f"  {found['shapers']:>5} shapers: {memory:.1f} MiB, idle {idle:.2f} % of a processor, "
        f"add {found['add_ms']:.1f} ms, attach {found['attach_ms']:.1f} ms"
    )


def load_twenty(progress: Progress) -> dict[str, Any]:
    """Return the rate errors of twenty shapers on one master, all overloaded at once.

    Of the attempts the one with the least steal counts; what never arrived is off by all of it.
    """
    with _crowd() as (pair, lane, shaperd):
        shaper, jobs = OwnShaper(pair.host, shaperd=shaperd), []
        for number in range(LOADED):
            errand = Lane.numbered(100 + number)
            errand = dataclasses.replace(errand, master=lane.master, nic=lane.nic)
            pair.peer.ip(f"address add {errand.destination}/24 dev {lane.nic}")
            pair.host.ip(f"address add {errand.source}/32 dev {lane.master}")
            rate_bits = LOADED_RATES_BITS[number % len(LOADED_RATES_BITS)]
            jobs.append(Job(errand, shaper, rate_bits, UDP_LARGE))
        attempts = [MeasurementTrial(pair, jobs, LOADED_S).run() for _ in range(ATTEMPTS)]
    best = min(attempts, key=lambda each: each[0].steal_percent)
    errors = [-100.0 if each.error_percent is None else each.error_percent for each in best]
    steal_percent = best[0].steal_percent
    progress.say(
        f"  {LOADED} shapers under load: the worst rate is off by {max(map(abs, errors)):.4f} % "
        f"(steal {steal_percent:.1f} %)"
    )
    rates_bits = [each.rate_bits for each in best]
    return {"error_percent": errors, "rates_bits": rates_bits, "steal_percent": steal_percent}


def forwarders(progress: Progress) -> list[dict[str, Any]]:
    """Return what two unlimited shapers carry together with one forwarder, and with two."""
    found = []
    for count in (1, 2):
        with _crowd("--forwarders", str(count)) as (pair, lane, shaperd):
            daemon = OwnShaper(pair.host, shaperd=shaperd)
            lanes = [lane, Lane.numbered(2)]
            lay(pair, lanes[1])
            point: dict[str, Any] = {"forwarders": count}
            for traffic, key in ((UDP_SMALL, "frames_per_second"), (TCP_4, "goodput_bits")):
                jobs = [Job(each, daemon, UNLIMITED_BITS, traffic) for each in lanes]
                results = MeasurementTrial(pair, jobs, TRIAL_S).run()
                point[key] = sum(getattr(each, key) or 0.0 for each in results)
            found.append(point)
            progress.say(
                f"  {count} forwarder{'s' * (count > 1)}, two shapers: "
                f"{point['frames_per_second']:.0f} frames/s of 64 B, "
                f"{point['goodput_bits'] / 1e9:.2f} Gbit/s of TCP in wire frames"
            )
    return found
