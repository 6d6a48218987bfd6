"""What a benchmark found: one record a measurement, and the file they are kept in.

Pure but for the two functions that read and write the file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import median

MAX_STEAL_PERCENT = 5.0  # chosen: more of the processors taken away, and it is disturbed
FORMAT = 2  # of the file; another number is another format


@dataclass
class Measurement:
    """One attempt at one cell of the table; what could not be measured is None.

    Attributes:
        shaper, rate_bits, traffic: the cell.
        method: `capture` or `count` (see `bench.measure`).
        is_wire: the lane carried wire frames; otherwise offload frames, counted as such.
        seconds: for how long was sent.
        steal_percent: of the processors' time, what a hypervisor gave to others meanwhile.
        is_repeated: it was measured a second time, because of the steal in the first.
        frames, lost_frames: recorded, and missed by the recording.
        error_percent: of the rate, in the steady state, by a line through all frames.
        ends_error_percent: the same between the first and the last frame of it.
        burst_bytes: the smallest bucket that all frames obey: the worst burst.
        stretches, stretch_ms: how many parts of the recording were judged for themselves, and
            how long each is.
        typical_burst_bytes, high_burst_bytes: median and 90th percentile of the smallest
            buckets that those obey.
        above_percent: share of time above 105 % of the rate, by window in milliseconds.
        first_second_percent: bytes of the first second, of what the rate carries in one.
        first_second_excess_bytes: by how much they exceed that.
        goodput_bits: payload a second, of TCP at the receiver, of UDP of the frames that came.
        flow_bits: the same for each TCP flow.
        frames_per_second: on the wire.
        machine_cpu_s: of all processors, everything.
        cpu_s_per_gb: that, for each 10**9 bytes on the wire.
        process_cpu_s: by process.
        round_trips_us: of every ping, in the order of the answers.
        ping_p10_us, ping_p50_us, ping_p99_us: percentiles of them.
        lost_pings: that were not answered.

    """

    shaper: str
    rate_bits: int
    traffic: str
    method: str
    is_wire: bool
    seconds: float
    steal_percent: float = 0.0
    is_repeated: bool = False
    frames: int | None = None
    lost_frames: int = 0
    error_percent: float | None = None
    ends_error_percent: float | None = None
    burst_bytes: int | None = None
    stretches: int = 0
    stretch_ms: float | None = None
    typical_burst_bytes: float | None = None
    high_burst_bytes: float | None = None
    above_percent: dict[str, float] = field(default_factory=dict)
    first_second_percent: float | None = None
    first_second_excess_bytes: int | None = None
    goodput_bits: float | None = None
    flow_bits: list[float] = field(default_factory=list)
    frames_per_second: float | None = None
    machine_cpu_s: float | None = None
    cpu_s_per_gb: float | None = None
    process_cpu_s: dict[str, float] = field(default_factory=dict)
    round_trips_us: list[float] = field(default_factory=list)
    ping_p10_us: float | None = None
    ping_p50_us: float | None = None
    ping_p99_us: float | None = None
    lost_pings: int = 0


@dataclass
class Run:
    """Everything of one run.

    Attributes:
        machine: what it ran on.
        settings: how: quick or not, congestion control, queue.
        measurements: all of them, in the order they were made.
        skipped: what was not measured, and why.
        scale: what `bench.scale` found.
        seconds: how long all of it took.

    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    measurements: list[Measurement] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    scale: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def cell(self, shaper: str, rate_bits: int, traffic: str) -> Cell:
        """Return the attempts at one cell: the undisturbed ones, or all if none was."""
        wanted = (shaper, rate_bits, traffic)
        found = [m for m in self.measurements if (m.shaper, m.rate_bits, m.traffic) == wanted]
        calm = [each for each in found if each.steal_percent <= MAX_STEAL_PERCENT]
        return Cell(calm or found)

    def shapers(self) -> list[str]:
        """Return who was measured, in the order of appearance."""
        return list(dict.fromkeys(m.shaper for m in self.measurements))

    def rows(self) -> list[tuple[int, str]]:
        """Return every combination of rate and traffic, in the order of appearance."""
        return list(dict.fromkeys((m.rate_bits, m.traffic) for m in self.measurements))


@dataclass(frozen=True)
class Cell:
    """The attempts at one cell; its figures are their medians."""

    attempts: list[Measurement]

    def __len__(self) -> int:
        return len(self.attempts)

    def figure(self, name: str) -> float | None:
        """Return the median of an attribute of `Measurement`."""
        return median([getattr(attempt, name) for attempt in self.attempts])

    def error_size_percent(self) -> float | None:
        """Return the median of the size of the rate error, whichever side it is on."""
        errors = [attempt.error_percent for attempt in self.attempts]
        return median([None if each is None else abs(each) for each in errors])

    def above(self, window_ms: str) -> float | None:
        """Return the median share of time above 105 % in a window."""
        return median([attempt.above_percent.get(window_ms) for attempt in self.attempts])


def write(run: Run, path: Path) -> None:
    """Write a run to a file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, **dataclasses.asdict(run)})
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> Run:
    """Read a run from its file.

    Raises:
        ValueError: the file is not of this format.

    """
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is not the result of a benchmark of this version")
    measurements = [Measurement(**each) for each in found.pop("measurements")]
    return Run(measurements=measurements, **found)


def merge(runs: Sequence[Run]) -> Run:
    """Return several runs on one machine as one; the first tells the settings."""
    whole = Run(runs[0].machine, runs[0].settings)
    for run in runs:
        whole.measurements += run.measurements
        whole.skipped += run.skipped
        whole.scale |= run.scale
        whole.seconds += run.seconds
    return whole


def stolen_percent(measurements: Iterable[Measurement]) -> float:
    """Return the largest steal that any measurement met."""
    return max((each.steal_percent for each in measurements), default=0.0)
