"""The whole benchmark: rounds over all rows, and in each row over all that are compared.

Whatever the machine does in one minute meets everyone alike, and a figure is the median of what
the rounds gave. They go on until each row has been measured `repeats` times or time is up.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench import rows, shapers, workload
from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError
from bench.lab.topology import Pair
from bench.lanes import Lane, lay
from bench.measure import Job, MeasurementTrial
from bench.results import MAX_STEAL_PERCENT, Measurement, Run
from bench.rows import Row
from bench.shapers import Bare, OwnShaper, QdiscShaper
from bench.terminal import Progress
from bench.workload import UNLIMITED_BITS
from shapecfg.client import CallError
from shaper.model import Queue

# Chosen.
WIRE = Lane.numbered(1)
WHOLE = Lane.numbered(2, is_wire=False)
FIRST_FAIR_LANE = 3
FIRST_SLOW_LANE = 10

Entrants = list[tuple[Row, list[Bare]]]  # those that are measured in each row
Laid = Sequence[tuple[Row, Job]]  # the same, each on a lane of its own


# What can be measured by itself.
PARTS = {
    "scale": "1 to 1000 shapers in one daemon, 20 under load at once, one forwarder and two",
    "rates": "rate, burst, goodput and cost at every rate, with UDP and TCP; pings when idle",
    "latency": "pings under load, fairness between flows, floods, the cost of the queue",
    "trade": "rate error and burst with buckets from small to large, beside tbf with the same",
    "kernels": "beside CAKE, leaves of fq_codel and netem, where the kernel has them",
}


@dataclass(frozen=True)
class Ambition:
    """How much is to be done."""

    is_quick: bool  # a few rows, once
    repeats: int  # how often each is measured, if there is time
    spare: int  # how many measurements may be made again because of steal
    end_s: float  # when no further measurement begins (monotonic)
    parts: frozenset[str]  # of PARTS


class Suite:
    """All that is measured between the two namespaces; the daemon is in the host's."""

    def __init__(
        self, pair: Pair, shaperd: Shaperd, run: Run, progress: Progress, ambition: Ambition
    ) -> None:
        self._pair = pair
        self._run = run
        self._progress = progress
        self._ambition = ambition
        self._spare = ambition.spare
        for lane in (WIRE, WHOLE):
            lay(pair, lane)
        self._bare = Bare(pair.host)
        self._shaper = OwnShaper(pair.host, shaperd=shaperd, queue=run.settings["queue"])
        self._compared = self._possible(*self._qdiscs(shapers.tbf, shapers.htb), self._shaper)
        # The plain queue, too, where the shaper has a better one: what that costs and gains.
        plain = dataclasses.replace(self._shaper, name="shaper fifo", queue=Queue.FIFO.value)
        self._plain = [plain] if plain.queue != self._shaper.queue else []

    def _qdiscs(self, *setups: shapers.Commands) -> list[Bare]:
        """Return shapers of the kernel, each named for the function that sets it up."""
        names = [each.__name__.replace("_leaf", "+fq_codel") for each in setups]
        host = self._pair.host
        return [QdiscShaper(host, n, commands=c) for n, c in zip(names, setups, strict=True)]

    def _possible(self, *compared: Bare) -> list[Bare]:
        """Return those that can run on this machine; say why others cannot."""
        reasons = {each: why for each in compared if (why := each.obstacle(WIRE))}
        self._run.skipped += [f"{each.name}, all rows: {why}" for each, why in reasons.items()]
        return [each for each in compared if each not in reasons]

    def perform(self) -> None:
        """Measure every part that is wanted."""
        parts = self._ambition.parts
        if "trade" in parts:
            self._trade()
        if "latency" in parts:
            self._measure_fairness()
        if "kernels" in parts:
            self._measure_rounds(self._beside())
        if parts & {"rates", "latency"}:
            entrants = self._wanted()
            together = [each for each in entrants if each[0].is_together]
            alone = [each for each in entrants if not each[0].is_together]
            self._measure_rounds(alone, self._lay(together, FIRST_SLOW_LANE))

    def _wanted(self) -> Entrants:
        """Return the rows about rates and latency, the bare link where no rate is asked for."""
        parts, is_quick = self._ambition.parts, self._ambition.is_quick
        latency = rows.latency_rows() if "latency" in parts else []
        wanted = []
        if "rates" in parts:
            wanted += [*rows.rate_rows(is_quick=is_quick), *rows.idle_rows(is_quick=is_quick)]
        found = []
        for row in dict.fromkeys([*wanted, *latency]):
            is_bare = row.rate_bits == UNLIMITED_BITS or row.traffic == workload.IDLE
            plain = self._plain if row in latency else []
            found.append((row, [*[self._bare] * is_bare, *self._compared, *plain]))
        return found

    def _beside(self) -> Entrants:
        """Return the rows beside everything that the kernel has."""
        leaves = self._qdiscs(shapers.tbf_leaf, shapers.htb_leaf, shapers.cake)
        fair = self._possible(*leaves, self._shaper)
        own = dataclasses.replace(self._shaper, delay=shapers.DELAY)
        delaying = self._possible(*self._qdiscs(shapers.netem), own)
        delayed = (rows.delayed_row(), [self._bare, *delaying])
        return [*((row, fair) for row in rows.kernel_rows()), delayed]

    def _measure_rounds(self, entrants: Entrants, together: Laid = ()) -> None:
        """Measure round after round, first of all those that share the machine."""
        for number in range(1, self._ambition.repeats + 1):
            self._progress.say(f"\nround {number} of {self._ambition.repeats}")
            if self._is_late(f"round {number}"):
                return
            if together:
                self._measure_at_once(together)
            for row, compared in entrants:
                for shaper in compared:
                    if self._is_late(f"round {number}, {row.title}, {shaper.name}"):
                        return
                    self._keep(self._measure_calmly(shaper, row, row.title))

    def _is_late(self, where: str) -> bool:
        """Whether time is up; if so, say where."""
        if time.monotonic() <= self._ambition.end_s:
            return False
        self._run.skipped.append(f"time was up before {where}: fewer from there on, or none")
        return True

    def _measure_calmly(self, shaper: Bare, row: Row, title: str) -> list[Measurement]:
        """Measure in a row, and once more if a hypervisor took too much of it."""
        job = Job(WIRE if row.is_wire else WHOLE, shaper, row.rate_bits, row.traffic)
        found = self._measure([job], title, row.seconds)
        if found and found[0].steal_percent > MAX_STEAL_PERCENT and self._spare:
            self._spare -= 1
            stolen = f"{found[0].steal_percent:.1f} % of the processors' time was stolen: again"
            self._progress.say(f"  {title}, {shaper.name}: {stolen}")
            found = self._measure([job], title, row.seconds)
            for measurement in found:
                measurement.is_repeated = True
        return found

    def _measure(self, jobs: Sequence[Job], title: str, seconds: float) -> list[Measurement]:
        names = ", ".join(dict.fromkeys(job.shaper.name for job in jobs))
        try:
            with self._progress.turn(f"{title}: {names}") as turn:
                return MeasurementTrial(self._pair, jobs, seconds, turn).run()
        except (LabError, CallError, OSError) as error:
            # One measurement that fails is missing, and said so; the others are still wanted.
            self._run.skipped.append(f"{title}, {names}, once: {error}")
            self._progress.say(f"  {title}: {names}: {error}")
            return []

    def _keep(self, found: Iterable[Measurement]) -> None:
        for measurement in found:
            self._run.measurements.append(measurement)
            self._progress.tell(measurement)

    def _lay(self, entrants: Entrants, number: int) -> Laid:
        """Lay a lane for everyone compared in each row, from a number on."""
        jobs = []
        for row, compared in entrants:
            for shaper in compared:
                lane = Lane.numbered(number + len(jobs))
                lay(self._pair, lane)
                jobs.append((row, Job(lane, shaper, row.rate_bits, row.traffic)))
        return jobs

    def _measure_at_once(self, laid: Laid) -> None:
        """Measure everyone at once, each on its own lane."""
        fastest = workload.spell_rate(max(row.rate_bits for row, _ in laid))
        title = f"up to {fastest}, {len(laid)} lanes at once"
        seconds = max(row.seconds for row, _ in laid)
        self._keep(self._measure([job for _, job in laid], title, seconds))

    def _measure_fairness(self) -> None:
        """Measure eight flows."""
        self._progress.say("\nfairness")
        row = Row(rows.FAIRNESS_BITS, workload.TCP_8, rows.FAIRNESS_S)
        everyone = [*self._compared, *self._plain]
        self._measure_at_once(self._lay([(row, everyone)], FIRST_FAIR_LANE))

    def _trade(self) -> None:
        """Measure buckets from small to large, of tbf and of the shaper in turn."""
        self._progress.say("\nbuckets")
        kept = self._run.scale["trade"] = []
        tradesmen = [each for each in self._compared if each.name != "htb"]
        for row in rows.trade_rows():
            for credit_us in rows.CREDITS_US:
                bucket = rows.bucket_bytes(row.rate_bits, credit_us)
                size = {"bucket_bytes": bucket}
                title = f"{row.title}, bucket of {bucket} B"
                self._progress.say(title)
                for shaper in tradesmen:
                    if self._is_late(f"{title}, {shaper.name}"):
                        return
                    sized = dataclasses.replace(shaper, **size)
                    for seen in self._measure_calmly(sized, row, title):
                        self._progress.tell(seen)
                        if seen.error_percent is not None and seen.burst_bytes is not None:
                            kept.append({**vars(seen), "credit_us": credit_us, **size})
