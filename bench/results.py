"""What a benchmark found: one record a measurement, and the file they are kept in.

Pure but for the two functions that read and write the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MAX_STEAL_PERCENT = 5.0  # chosen: more of the processors taken away, and it is disturbed
FORMAT = 2  # of the file; another number is another format


@dataclass
class Measurement:
    """One attempt at one cell of the tables; what could not be measured is None."""

    shaper: str
    rate_bits: int
    traffic: str
    method: str  # `capture` or `count` (see `bench.measure`)
    is_wire: bool  # the lane carried wire frames; otherwise offload frames, counted as such
    seconds: float  # for how long was sent
    steal_percent: float = 0.0  # of the processors' time, what a hypervisor gave to others
    is_repeated: bool = False  # measured a second time, because of the steal in the first
    frames: int | None = None  # recorded
    lost_frames: int = 0  # missed by the recording
    error_percent: float | None = None  # of the rate, in the steady state: a line through all
    ends_error_percent: float | None = None  # the same between its first frame and its last
    burst_bytes: int | None = None  # the smallest bucket that all frames obey: the worst burst
    stretches: int = 0  # parts of the recording that were judged for themselves
    stretch_ms: float | None = None  # how long each is
    typical_burst_bytes: float | None = None  # the median of their smallest buckets
    high_burst_bytes: float | None = None  # the 90th percentile
    above_percent: dict[str, float] = field(default_factory=dict)  # of time, by window in ms
    first_second_percent: float | None = None  # its bytes, of what the rate carries in one
    first_second_excess_bytes: int | None = None  # by how much they exceed that
    goodput_bits: float | None = None  # payload a second: of TCP at the receiver, else of frames
    flow_bits: list[float] = field(default_factory=list)  # the same for each TCP flow
    frames_per_second: float | None = None  # on the wire
    machine_cpu_s: float | None = None  # of all processors, everything
    cpu_s_per_gb: float | None = None  # that, for each 10**9 bytes on the wire
    process_cpu_s: dict[str, float] = field(default_factory=dict)
    round_trips_us: list[float] = field(default_factory=list)  # in the order of the answers
    ping_p10_us: float | None = None
    ping_p50_us: float | None = None
    ping_p99_us: float | None = None
    lost_pings: int = 0


@dataclass
class Run:
    """Everything of one run."""

    machine: dict[str, Any]  # what it ran on
    settings: dict[str, Any]  # how: quick or not, congestion control, queue
    measurements: list[Measurement] = field(default_factory=list)  # in the order they were made
    skipped: list[str] = field(default_factory=list)  # what was not measured, and why
    scale: dict[str, Any] = field(default_factory=dict)  # what `bench.scale` found
    seconds: float = 0.0  # how long all of it took


def write(run: Run, path: Path) -> None:
    """Write a run to a file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": FORMAT, **asdict(run)}) + "\n", encoding="utf-8")


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
