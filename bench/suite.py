"""The whole benchmark: rounds over all rows, and in each row over all that are compared.

Whatever the machine does in one minute meets everyone alike, and a figure is the median of what
the rounds gave. They go on until each row has been measured `repeats` times or time is up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench import rows, trade, workload
from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError
from bench.lab.meters import DEFAULT_KERNEL_HZ, kernel_hz
from bench.lab.topology import Pair
from bench.lanes import Lane, lay
from bench.measure import Job, MeasurementTrial
from bench.results import MAX_STEAL_PERCENT, Measurement, Run
from bench.rows import Row
from bench.shapers import (
    DELAY,
    Bare,
    Cake,
    ComparedShaper,
    Htb,
    HtbLeaf,
    Netem,
    OwnShaper,
    Tbf,
    TbfLeaf,
    obstacle,
)
from bench.terminal import Progress
from bench.workload import UNLIMITED_BITS
from shapecfg.client import CallError
from shaper.model import Queue

# Chosen.
WIRE = Lane(1)
WHOLE = Lane(2, is_wire=False)
FIRST_FAIR_LANE = 3
FIRST_SLOW_LANE = 10


class Part(StrEnum):
    """What can be measured by itself."""

    SCALE = "scale"
    RATES = "rates"
    LATENCY = "latency"
    TRADE = "trade"
    KERNELS = "kernels"


CONTENTS = {
    Part.SCALE: "1 to 1000 shapers in one daemon, 20 under load at once, one forwarder and two",
    Part.RATES: "rate, burst, goodput and cost at every rate, with UDP and TCP; pings when idle",
    Part.LATENCY: "pings under load, fairness between flows, floods, the cost of the queue",
    Part.TRADE: "rate error and burst with buckets from small to large, beside tbf with the same",
    Part.KERNELS: "beside CAKE, leaves of fq_codel and netem, where the kernel has them",
}


@dataclass(frozen=True)
class Ambition:
    """How much is to be done.

    Attributes:
        is_quick: a few rows, once.
        repeats: how often each is measured, if there is time.
        spare: how many measurements may be made again because of steal.
        end_s: when no further measurement begins (monotonic).
        parts: which to do.

    """

    is_quick: bool
    repeats: int
    spare: int
    end_s: float
    parts: frozenset[Part]


class Suite:
    """All that is measured between the two namespaces.

    Args:
        pair: the namespaces.
        shaperd: the daemon, in the host's.
        run: where results go.
        progress: who is told what goes on.
        ambition: how much is to be done.

    """

    def __init__(
        self, pair: Pair, shaperd: Shaperd, run: Run, progress: Progress, ambition: Ambition
    ) -> None:
        self._pair = pair
        self._run = run
        self._progress = progress
        self._ambition = ambition
        host = pair.host
        queue = run.settings["queue"]
        self._spare = ambition.spare
        self._is_plain_wanted = False
        self._bare = Bare(host)
        hz = max(kernel_hz() or 0, DEFAULT_KERNEL_HZ)  # a slower one has finer timers, too
        self._tbf = Tbf(host, hz)
        self._shaper = OwnShaper(host, shaperd, queue)
        self._compared: list[ComparedShaper] = [self._tbf, Htb(host), self._shaper]
        self._fair: list[ComparedShaper] = [
            TbfLeaf(host, hz),
            HtbLeaf(host),
            Cake(host),
            self._shaper,
        ]
        self._delaying: list[ComparedShaper] = [
            Netem(host),
            OwnShaper(host, shaperd, queue, delay=DELAY),
        ]
        # The plain queue, too, where the shaper has a better one: what that costs and gains.
        self._plain = [
            OwnShaper(host, shaperd, Queue.FIFO.value, name="shaper fifo")
            for _ in range(queue != Queue.FIFO.value)
        ]
        for lane in (WIRE, WHOLE):
            lay(pair, lane)

    def prepare(self) -> None:
        """Leave out who cannot run on this machine, and say why."""
        others = [self._fair, self._delaying] if Part.KERNELS in self._ambition.parts else []
        for compared in (self._compared, *others):
            for shaper in list(compared):
                if reason := obstacle(shaper, WIRE):
                    compared.remove(shaper)
                    self._run.skipped.append(f"{shaper.name}, all rows: {reason}")

    def perform(self) -> None:
        """Measure, round after round."""
        wanted = self._wanted()
        lanes = self._lay_slow(rows.slow(row for row in wanted if row.traffic != workload.IDLE))
        repeats = self._ambition.repeats
        for number in range(repeats):
            self._progress.say(f"\nround {number + 1} of {repeats}")
            self._slow_round(lanes)
            for row in wanted:
                if row.is_slow and row.traffic != workload.IDLE:
                    continue
                for shaper in self._entrants(row):
                    if self._is_late(f"round {number + 1}, {row.title}, {shaper.name}"):
                        return
                    self._measure(shaper, row)

    def _wanted(self) -> list[Row]:
        """Return the rows of all parts that are to be measured."""
        parts, wanted = self._ambition.parts, []
        if Part.RATES in parts:
            wanted += rows.rate_rows(is_quick=self._ambition.is_quick)
            wanted += rows.idle_rows(is_quick=self._ambition.is_quick)
        if Part.LATENCY in parts:
            self._is_plain_wanted = True
            wanted += [row for row in rows.latency_rows() if row not in wanted]
        return wanted

    def _is_late(self, where: str) -> bool:
        """Whether time is up; if so, say where."""
        if time.monotonic() <= self._ambition.end_s:
            return False
        self._run.skipped.append(f"time was up before {where}: fewer from there on, or none")
        return True

    def _entrants(self, row: Row) -> list[ComparedShaper]:
        """Return who is measured in a row: the bare link where no rate is asked for."""
        is_bare = row.rate_bits == UNLIMITED_BITS or row.traffic == workload.IDLE
        plain = self._plain if self._is_plain_wanted and row in rows.latency_rows() else []
        return [*[self._bare] * is_bare, *self._compared, *plain]

    def _measure(self, shaper: ComparedShaper, row: Row) -> None:
        """Measure one cell."""
        self._keep(self._calmly(shaper, row, row.title))

    def _calmly(self, shaper: ComparedShaper, row: Row, title: str) -> list[Measurement]:
        """Measure in a row, and once more if a hypervisor took too much of it."""
        job = Job(WIRE if row.is_wire else WHOLE, shaper, row.rate_bits, row.traffic)
        found = self._try([job], title, row.seconds)
        if found and found[0].steal_percent > MAX_STEAL_PERCENT and self._spare:
            self._spare -= 1
            self._progress.tell_stolen(found[0])
            found = self._try([job], title, row.seconds)
            for measurement in found:
                measurement.is_repeated = True
        return found

    def _try(self, jobs: Sequence[Job], title: str, seconds: float) -> list[Measurement]:
        names = ", ".join(dict.fromkeys(job.shaper.name for job in jobs))
        try:
            with self._progress.turn(f"{title}: {names}") as turn:
                return MeasurementTrial(self._pair, jobs, seconds, turn).run()
        except (LabError, CallError, OSError) as error:
            # One measurement that fails is missing, and said so; the others are still wanted.
            self._run.skipped.append(f"{title}, {names}, once: {error}")
            self._progress.say(f"  {title}: {names}: {error}")
            return []

    def _keep(self, found: Sequence[Measurement]) -> None:
        for measurement in found:
            self._run.measurements.append(measurement)
            self._progress.tell(measurement)

    # The slow ones, on lanes of their own.

    def _lay_slow(self, wanted: Sequence[Row]) -> dict[tuple[Row, str], Lane]:
        """Lay a lane for every slow row and everyone compared in it."""
        lanes = {}
        for row in wanted:
            for shaper in self._entrants(row):
                lane = Lane(FIRST_SLOW_LANE + len(lanes))
                lay(self._pair, lane)
                lanes[row, shaper.name] = lane
        return lanes

    def _slow_round(self, lanes: dict[tuple[Row, str], Lane]) -> None:
        """Measure all slow rows at once."""
        if not lanes or time.monotonic() > self._ambition.end_s:
            return
        by_name = {shaper.name: shaper for shaper in [*self._compared, *self._plain]}
        jobs = [
            Job(lane, by_name[name], row.rate_bits, row.traffic)
            for (row, name), lane in lanes.items()
        ]
        title = f"up to {workload.spell_rate(rows.SLOW_BITS)}, {len(jobs)} lanes at once"
        self._keep(self._try(jobs, title, max(row.seconds for row, _ in lanes)))

    def kernels(self) -> None:
        """Measure beside everything that the kernel has, round after round."""
        repeats = self._ambition.repeats
        delayed = rows.delayed_row()
        for number in range(repeats):
            self._progress.say(f"\nround {number + 1} of {repeats}")
            for row in rows.kernel_rows():
                for shaper in self._fair:
                    if self._is_late(f"round {number + 1}, {row.title}, {shaper.name}"):
                        return
                    self._measure(shaper, row)
            for shaper in [self._bare, *self._delaying]:
                self._measure(shaper, delayed)

    def fairness(self) -> None:
        """Measure eight flows, everyone at once on a lane of its own."""
        row = Row(rows.FAIRNESS_BITS, workload.TCP_8, rows.FAIRNESS_S)
        jobs = []
        for at, shaper in enumerate([*self._compared, *self._plain]):
            lane = Lane(FIRST_FAIR_LANE + at)
            lay(self._pair, lane)
            jobs.append(Job(lane, shaper, row.rate_bits, row.traffic))
        self._keep(self._try(jobs, row.title, row.seconds))

    def trade(self) -> None:
        """Measure buckets from small to large, of tbf and of the shaper in turn."""
        kept = self._run.scale["trade"] = []
        tradesmen = [each for each in (self._tbf, self._shaper) if each in self._compared]
        for row in trade.ROWS:
            for credit_us in trade.CREDITS_US:
                bucket = trade.bucket_bytes(row.rate_bits, credit_us)
                title = f"{row.title}, bucket of {bucket} B"
                self._progress.say(title)
                for shaper in tradesmen:
                    if self._is_late(f"{title}, {shaper.name}"):
                        return
                    for seen in self._calmly(shaper.with_bucket(bucket), row, title):
                        self._progress.tell(seen)
                        if point := trade.point(seen, credit_us):
                            kept.append(point)
