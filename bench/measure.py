"""One measurement: traffic through one shaper, or through many at once, seen where it arrives.

What an attempt costs and how exact it is depends on the method:

- capture: every frame is stamped by the peer's kernel in nanoseconds, into a ring that is read
  when all is over. Everything about rate and burst comes from there. On a lane that passes
  offload frames whole, each counts as the wire frames that a NIC would have cut it into.
- count: where frames are too many to be recorded without slowing them down, the counters of the
  receiving interface and the payload that the receiver got must do. Burst is not known then.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench import judge
from bench.lab.capture import SNAP_BYTES
from bench.lab.datagrams import Course, Datagrams, Pit, flooding
from bench.lab.filters import Wanted, assemble
from bench.lab.flow import Flow, Load
from bench.lab.law import NS_PER_SECOND
from bench.lab.meters import Meter, Spent
from bench.lab.namespaces import Counters
from bench.lab.pump import Emptied, Filler, Receiver, share_bits
from bench.lab.ring import BLOCK_BYTES, Caught, Ring
from bench.lab.task import Task
from bench.lab.topology import Pair
from bench.lanes import Lane
from bench.ping import FRAME_BYTES as PING_BYTES
from bench.ping import Echoes, Pinger
from bench.results import Measurement
from bench.shapers import Bare
from bench.workload import IDLE, UNLIMITED_BITS, Traffic

# Chosen.
PORT = 9000
BLOCK_BYTES_AMONG_MANY = 1 << 17  # slow ones: a block is handed over every 50 ms, full or not
PING_INTERVAL_S = 0.004
PING_PERCENT = 4  # of the rate, at most, is spent on pings
PING_DELAY_S = 0.3  # of a measurement of a second: the queue has filled by then
WARM_UP_S = 0.25  # of a measurement of a second: a bucket that was full is not part of the rate
MAX_WARM_UP_S = 3.0
SLOW_BITS = 10**6
FAST_BITS = 10**9
SLOW_PERCENT = 200  # of a slow rate is what UDP offers
FLOOD_DELAY_S = 0.2
END_S = 0.03  # before the senders stop, the steady state is over
TURN_S = 0.1  # how often a waiting measurement lets progress be drawn
FLUSH_S = 0.06  # a block of the ring that is not full is handed over after 50 ms


@dataclass(frozen=True)
class Job:
    """What goes over one lane during a measurement."""

    lane: Lane
    shaper: Bare
    rate_bits: int
    traffic: Traffic

    @property
    def is_captured(self) -> bool:
        """How it is measured: what an unlimited link carries is too much to be recorded."""
        return self.rate_bits != UNLIMITED_BITS or self.traffic == IDLE

    @property
    def stream(self) -> Flow:
        """Where its connections go."""
        return Flow("tcp", self.lane.destination, PORT)

    @property
    def is_flooded(self) -> bool:
        """Whether TCP has datagrams beside it."""
        return self.traffic.is_stream and self.traffic.udp_frame_bytes > 0

    def course(self) -> Course:
        """Return how its datagrams are sent."""
        percent = self.traffic.udp_percent
        if self.rate_bits <= SLOW_BITS:
            # A bucket of a frame or two, full at the start, is to be used up by the warm-up.
            percent = max(percent, SLOW_PERCENT)
        return Course(
            self.stream.target,
            self.traffic.udp_frame_bytes,
            0 if self.rate_bits == UNLIMITED_BITS else self.rate_bits * percent // 100,
            # What a flood does to a connection is asked, not what it does to connecting.
            int(FLOOD_DELAY_S * NS_PER_SECOND) if self.is_flooded else 0,
        )


def warm_up_s(seconds: float) -> float:
    """Return how much of a measurement does not count as the steady state."""
    return min(MAX_WARM_UP_S, WARM_UP_S * seconds)


class MeasurementTrial:
    """One measurement under way.

    Args:
        pair: host and peer.
        jobs: one for each lane that takes part.
        seconds: for how long is sent.
        turn: called about ten times a second with the share of the time that is over.

    """

    def __init__(self, pair: Pair, jobs: Sequence[Job], seconds: float, turn=None) -> None:
        self._pair = pair
        self._jobs = jobs
        self._seconds = seconds
        self._turn = turn or (lambda _share: None)
        self._rings: dict[int, Ring] = {}
        self._caught: dict[int, list[Caught]] = defaultdict(list)
        self._counted: list[tuple[float, dict[str, Counters]]] = []
        self._emptied = Emptied([], 0.0)
        self._echoes: dict[int, Echoes] = {}
        self._own_s: dict[str, float] = {}
        self._end_ns = 0

    def run(self) -> list[Measurement]:
        """Set every shaper up, send, and return what was measured, a result for each job."""
        with contextlib.ExitStack() as stack:
            for job in self._jobs:
                stack.callback(job.shaper.release, job.lane)
                job.shaper.shape(job.lane, job.rate_bits)
            self._open(stack)
            spent = self._send()
            return [self._result(at, job, spent) for at, job in enumerate(self._jobs)]

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Have rings on the lanes that are captured, and somebody to take the datagrams."""
        block_bytes = BLOCK_BYTES if len(self._jobs) == 1 else BLOCK_BYTES_AMONG_MANY
        peer = self._pair.peer
        for at, job in enumerate(self._jobs):
            if job.is_captured:
                program = assemble(Wanted(job.lane.destination), SNAP_BYTES)
                with peer.enter():
                    self._rings[at] = Ring(job.lane.nic, program, block_bytes=block_bytes)
                stack.callback(self._rings[at].close)
            if job.traffic.udp_frame_bytes:
                stack.callback(Pit(peer, job.stream.target).close)

    def _send(self) -> Spent:
        """Run all the traffic and return what it cost."""
        host, peer = self._pair.host, self._pair.peer
        watched = {name: pid for job in self._jobs for name, pid in job.shaper.processes().items()}
        streams = [job for job in self._jobs if job.traffic.is_stream]
        courses = [job.course() for job in self._jobs if job.traffic.udp_frame_bytes]
        with contextlib.ExitStack() as stack:
            begin = stack.enter_context
            slacks_s = {job.stream: self._slack_s(job) for job in streams}
            receiver = begin(Task(peer, Receiver(slacks_s))) if streams else None
            meter = Meter(watched)
            pingers = {
                at: begin(Task(host, pinger))
                for at, job in enumerate(self._jobs)
                if (pinger := self._pinger(job))
            }
            flows = [job.stream for job in streams for _ in range(job.traffic.tcp_flows)]
            sources = {"TCP sender": Filler(flows, Load(self._seconds))} if flows else {}
            if courses:
                sources["UDP sender"] = Datagrams(courses, flooding(self._seconds))
            senders = {name: begin(Task(host, source)) for name, source in sources.items()}
            self._wait()
            self._end_ns = time.monotonic_ns()
            spent = meter.spent()
            self._own_s = {name: sender.result(1.0).cpu_s for name, sender in senders.items()}
            if receiver:
                self._emptied = receiver.stop()
                self._own_s["TCP receiver"] = self._emptied.cpu_s
            self._echoes = {at: pinger.result(1.0) for at, pinger in pingers.items()}
        time.sleep(FLUSH_S)
        self._collect()
        return spent

    def _slack_s(self, job: Job) -> float:
        """Return how long TCP gets to find its speed before the receiver counts.

        Where a lost segment takes long to come again, what waited for it arrives with it. So at
        low rates all is counted, from the first byte on; but a flood has to have begun.
        """
        is_warmed = job.rate_bits >= FAST_BITS or job.is_flooded
        return warm_up_s(self._seconds) if is_warmed else 0.0

    def _collect(self) -> None:
        """Read the rings. A measurement that has the machine to itself waits until it is over."""
        for at, ring in self._rings.items():
            self._caught[at] += ring.read()

    def _pinger(self, job: Job) -> Pinger | None:
        """Return what takes round trips: beside TCP and on an idle link, if there is time.

        Hardly any are taken where a ping is a good part of the rate.
        """
        affordable_s = PING_BYTES * 8 * 100 / (PING_PERCENT * job.rate_bits)
        interval_s = max(PING_INTERVAL_S, affordable_s)
        is_datagrams = job.traffic.udp_frame_bytes > 0 and not job.traffic.is_stream
        is_wanted = job.traffic.is_pinged and not is_datagrams
        delay_s = min(1.0, PING_DELAY_S * self._seconds) if job.traffic.is_stream else 0.0
        pinger = Pinger(job.lane.destination, self._seconds, interval_s, delay_s)
        return pinger if is_wanted and interval_s * 20 < self._seconds else None

    def _wait(self) -> None:
        """Let the time go by, and read the counters when the steady state begins and ends."""
        start_s = time.monotonic()
        marks_s = [warm_up_s(self._seconds), self._seconds - END_S]
        while (elapsed_s := time.monotonic() - start_s) < self._seconds or marks_s:
            if marks_s and elapsed_s >= marks_s[0]:
                marks_s.pop(0)
                self._counted.append((time.monotonic(), self._pair.peer.counters()))
                continue
            self._turn(min(1.0, elapsed_s / self._seconds))
            if len(self._jobs) > 1:
                self._collect()
            next_s = min([self._seconds, *marks_s])
            time.sleep(max(0.0, min(TURN_S, next_s - elapsed_s)))

    def _result(self, at: int, job: Job, spent: Spent) -> Measurement:
        """Put together what was measured of one job."""
        streams = [s for s in self._emptied.streams if s.flow.address == job.lane.destination]
        measurement = Measurement(
            shaper=job.shaper.name,
            rate_bits=job.rate_bits,
            traffic=job.traffic.name,
            method="capture" if job.is_captured else "count",
            is_wire=job.lane.is_wire,
            seconds=self._seconds,
            steal_percent=spent.steal_percent,
        )
        if job.is_captured:
            ring = self._rings[at]
            warm_s = warm_up_s(self._seconds)
            judge.judge_frames(measurement, self._caught[at], ring.lost(), warm_s)
        else:
            judge.judge_counters(measurement, *self._between(job.lane))
        judge.judge_streams(measurement, streams)
        if job.is_flooded:
            measurement.goodput_bits = share_bits(streams, self._end_ns)
        judge.judge_echoes(measurement, self._echoes.get(at))
        if len(self._jobs) == 1:
            judge.judge_cost(measurement, spent, self._own_s)
        return measurement

    def _between(self, lane: Lane) -> tuple[Counters, float]:
        """Return what the lane's counters rose by during the steady state, and its length."""
        (start_s, first), (end_s, last) = self._counted
        before, after = first[lane.nic], last[lane.nic]
        risen = (end - start for start, end in zip(before, after, strict=True))
        return Counters(*risen), end_s - start_s
