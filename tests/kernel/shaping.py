"""Traffic of shapers held against the law, as the peer sees it: what the tests of speed share.

A machine that takes the processor away from the forwarder for longer than its bucket lasts makes
any rate come out low, and one that does so between its look at the clock and the send makes a
burst. Neither is the shaper's doing. So exact rates are measured with a bucket that outlasts such
stalls; the forwarder is preferred to other processes; and because a hypervisor does not know of
that, each property is measured until two attempts have obeyed, or three undisturbed ones have not.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.lab import law
from bench.lab.capture import FrameCapture
from bench.lab.daemon import Shaperd
from bench.lab.filters import Wanted
from bench.lab.meters import Meter
from bench.lab.topology import NIC, Pair
from bench.lab.traffic import Flow, Load, Received, Sender, Sink
from bench.lab.wait import wait_until
from shapecfg.client import Client
from shapecfg.reply import Shaper
from tests.kernel.steps import SHAPER

SUCCESSES = 2  # of attempts
FAILURES = 3  # of undisturbed attempts
MOST_ATTEMPTS = 20
DISTURBING_SHARE = 0.05  # of the time, stolen from all processors together
FIRST_LATE_MS = 1  # by how much the first frame, for which a sleeper is woken, may be late
TCP_LACK_PERCENT = 30.0  # under a load that makes everything wait; alone it lacks nothing
STALL_S = 0.25  # the longest stall that a rate is measured exactly through
DRAIN_S = 20.0  # the longest a queue of these tests takes to empty
SURPLUS_PERCENT = 130  # of the rate is offered, so that something always waits


@dataclass(frozen=True)
class Errand:
    """Traffic that is to go through one shaper."""

    flow: Flow
    load: Load
    ifname: str = SHAPER


@dataclass(frozen=True)
class Measured:
    """What the peer saw of one errand, beside what `show` says of its shaper."""

    frames: list[law.Frame]
    received: Received
    rate_bits: int
    bucket_bytes: int
    hz: int

    @property
    def tick_bytes(self) -> int:
        """What one jiffy carries: a window of real time can touch one more than its length."""
        return -(-self.rate_bits // (law.BITS_PER_BYTE * self.hz))

    @property
    def error_percent(self) -> float:
        """By how much the rate is off, from an early frame to a late one.

        Those two are the least late of the first and of the last quarter, so that a stall at
        either end is not taken for a rate. And both are full: a frame is paid for after it has
        left, so from a short one to a long one the difference would be in nobody's account.
        """
        largest = max(size for _, size in self.frames)
        lateness = []
        sent = 0
        for index, (time_ns, size) in enumerate(self.frames):
            if size == largest:
                lateness.append((self.rate_bits * time_ns - sent * law.UNITS_PER_BYTE, index))
            sent += size
        quarter = max(1, len(lateness) // 4)
        (_, start), (_, end) = min(lateness[:quarter]), min(lateness[-quarter:])
        return law.error_percent(law.rate_bits(self.frames[start : end + 1]), self.rate_bits)

    @property
    def tick_percent(self) -> float:
        """The share of the time that one jiffy is: frames leave at ticks, the last one too."""
        elapsed_ns = self.frames[-1][0] - self.frames[0][0]
        return 100 * law.NS_PER_SECOND / (self.hz * elapsed_ns)

    def debut_bytes(self) -> int:
        """Return by how much the bytes since the first frame ever exceed what the rate carries.

        An idle shaper has saved nothing, so that is one frame, however large the bucket.
        """
        start_ns = self.frames[0][0]
        sent = worst = 0
        for time_ns, size in self.frames:
            sent += size * law.UNITS_PER_BYTE
            worst = max(worst, sent - self.rate_bits * (time_ns - start_ns))
        return -(-worst // law.UNITS_PER_BYTE)

    def rate_faults(self, limit_percent: float, lack_percent: float = 0.0) -> list[str]:
        """Return what is wrong with the rate, which may lack some more than the limit.

        TCP is as fast as its two ends, whose processes wait for the processor like any other.
        """
        if -limit_percent - lack_percent <= self.error_percent <= limit_percent:
            return []
        return [f"the rate is off by {self.error_percent:.3f} %"]

    def burst_faults(self) -> list[str]:
        """Return what is wrong with the largest burst."""
        burst = law.burst_bytes(self.frames, self.rate_bits)
        if burst <= self.bucket_bytes + self.tick_bytes:
            return []
        return [f"a burst of {burst} B, of {self.bucket_bytes} + {self.tick_bytes}"]

    def debut_faults(self) -> list[str]:
        """Return what is wrong with the start, of a flow of frames of one size."""
        frame_bytes = self.frames[0][1]
        late_bytes = max(self.tick_bytes, self.rate_bits * FIRST_LATE_MS // 8000)
        debut = self.debut_bytes()
        if debut <= frame_bytes + late_bytes:
            return []
        return [f"a start with {debut} B, of {frame_bytes} + {late_bytes}"]


def surplus(rate_bits: int, seconds: float, frame_bytes: int = 1514) -> Load:
    """Return a load that is a little more than the rate."""
    pace_bits = rate_bits * SURPLUS_PERCENT // 100
    return Load(seconds=seconds, frame_bytes=frame_bytes, pace_bits=pace_bits)


def look(daemon: Shaperd, ifname: str = SHAPER) -> Shaper:
    """Return what `shapecfg -j show` tells of a shaper, without a process for it."""
    (shown,) = Client(str(daemon.socket)).show(ifname)
    return shown


def outlast_stalls(
    daemon: Shaperd, rate_bits: int, frame_bytes: int = 1514, ifname: str = SHAPER
) -> None:
    """Set a bucket that catches up with a late forwarder, and a queue that bridges a late sender.

    The bucket is earned by waiting frames alone: it makes no burst where nothing is late.
    """
    stall_bytes = int(STALL_S * rate_bits) // law.BITS_PER_BYTE
    burst, limit = 1514 + stall_bytes, max(10, 2 * stall_bytes // frame_bytes)
    options: dict[str, str | int] = {"burst_bytes": burst, "limit_packets": limit}
    Client(str(daemon.socket)).set_options(ifname, options)


def wait_idle(daemon: Shaperd, ifname: str = SHAPER) -> None:
    """Wait until nothing of earlier traffic is left in a shaper."""
    wait_until(
        lambda: not look(daemon, ifname)["stats"]["backlog_packets"],
        f"{ifname} to be idle",
        seconds=DRAIN_S,
    )


def measure(pair: Pair, daemon: Shaperd, *errands: Errand) -> list[Measured]:
    """Run errands at the same time, through idle shapers, and measure each."""
    _prefer_forwarders(daemon)
    # Else TCP begins with what it learnt of the path at an earlier, slower speed.
    pair.host.sysctl("net/ipv4/tcp_no_metrics_save", 1)
    for errand in errands:
        wait_idle(daemon, errand.ifname)
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(Sink(pair.peer, each.flow)) for each in errands]
        captures = [stack.enter_context(_capture(pair, each.flow)) for each in errands]
        senders = [
            stack.enter_context(Sender(pair.host, each.flow, each.load)) for each in errands
        ]
        for sender in senders:
            sender.wait()
        recordings = [capture.stop() for capture in captures]
        counts = [sink.stop() for sink in sinks]
    return [
        _measured(daemon, errand.ifname, recording.frames, received)
        for errand, recording, received in zip(errands, recordings, counts, strict=True)
    ]


def hold(attempt: Callable[[], Sequence[str]]) -> None:
    """Fail unless two attempts of at most four find no faults.

    Those during which a hypervisor took the processors away count only if they succeed, for as
    long as there is patience: what was not run is not what was tested. What failed is printed
    also where the rest succeeded, and pytest shows it with `-rP`.
    """
    verdict = HoldVerdict()
    while not verdict.is_reached:
        meter = Meter()
        faults = attempt()
        spent = meter.spent()
        is_disturbed = spent.stolen_s > DISTURBING_SHARE * spent.seconds
        verdict.add(faults, is_disturbed=is_disturbed)
    if verdict.failures:
        print(verdict)
    if verdict.successes < SUCCESSES:
        raise AssertionError(str(verdict))


class HoldVerdict:
    """How the attempts of one property have gone.

    Attributes:
        successes: how many found no fault.
        failures: what the others found, and whether they were disturbed.
    """

    def __init__(self) -> None:
        self.successes = 0
        self.failures: list[tuple[Sequence[str], bool]] = []

    def add(self, faults: Sequence[str], *, is_disturbed: bool) -> None:
        """Take in an attempt."""
        if faults:
            self.failures.append((faults, is_disturbed))
        else:
            self.successes += 1

    @property
    def is_reached(self) -> bool:
        """Whether another attempt would change nothing, or patience is at its end."""
        counted = sum(not is_disturbed for _, is_disturbed in self.failures)
        attempts = self.successes + len(self.failures)
        return self.successes >= SUCCESSES or counted >= FAILURES or attempts >= MOST_ATTEMPTS

    def __str__(self) -> str:
        """Return what failed, an attempt a line."""
        lines = [
            f"{', '.join(faults)}{' (in stolen time)' if is_disturbed else ''}"
            for faults, is_disturbed in self.failures
        ]
        head = f"{self.successes} attempts succeeded, {len(lines)} did not:"
        return "\n  ".join([head, *lines])


def _prefer_forwarders(daemon: Shaperd) -> None:
    """Let no ordinary process keep a forwarder waiting; a container may not be allowed to."""
    with contextlib.suppress(PermissionError):
        for pid in daemon.forwarder_pids():
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))


def _capture(pair: Pair, flow: Flow) -> FrameCapture:
    return FrameCapture(pair.peer, NIC, Wanted(flow.address, flow.protocol, flow.port))


def _measured(
    daemon: Shaperd, ifname: str, frames: list[law.Frame], received: Received
) -> Measured:
    options = look(daemon, ifname)["options"]
    return Measured(frames, received, options["rate_bits"], options["burst_bytes"], options["hz"])
