"""The scheduler does what RFC 8290 says, and its rule 4, step by step."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.discipline.codel import setpoints
from shaper.model import Queue, Settings
from tests.unit.gates import fq_codel
from tests.unit.oracles.rfc8290 import Scheduler
from tests.unit.simulation.stamped_frames import make_frame, read_frame

# What it runs is covered by other tests; beside coverage it takes three times as long.
pytestmark = pytest.mark.no_cover

FULL = 1514

STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),  # jiffies that pass
        st.lists(st.tuples(st.integers(0, 4), st.integers(40, FULL), st.booleans()), max_size=5),
        st.integers(0, 3),  # how often a frame is asked for
    ),
    max_size=80,
)


@given(steps=STEPS, limit_packets=st.integers(1, 40), has_ecn=st.booleans())
def test_step_by_step_as_the_rfc(
    steps: list[tuple[int, list[tuple[int, int, bool]], int]], limit_packets: int, has_ecn: bool
) -> None:
    """Five flows, any times: the same frame leaves next, and the same ones are lost or marked."""
    twin = Twin(limit_packets)
    for passed, arrivals, asked in steps:
        twin.now += passed
        for flow, size, can_be_marked in arrivals:
            twin.enqueue(flow, size, can_be_marked and has_ecn)
        for _ in range(asked):
            twin.dequeue()


@given(seed=st.integers(0, 2**32), limit_packets=st.sampled_from([20, 60, 10_000]))
def test_long_loads_go_as_the_rfc(seed: int, limit_packets: int) -> None:
    """Through overload, drop state, overflow and back to idle, twice: the same again."""
    chance = random.Random(seed)
    twin = Twin(limit_packets)
    for step in range(300):
        twin.now += 1
        is_busy = step % 150 < 110
        for _ in range(chance.choice([0, 1, 3] if is_busy else [0, 0, 1])):
            flow = min(chance.randrange(8), chance.randrange(8))
            twin.enqueue(flow, chance.choice([60, 600, FULL]), chance.random() < 0.3)
        twin.dequeue()
        twin.dequeue()
    assert twin.queue.dropped["codel"] == twin.oracle.dropped


def test_a_flow_that_lost_all_it_had_starts_anew() -> None:
    """What was seen of its delay does not count against what it sends after that."""
    twin = Twin(limit_packets=3)
    for _ in range(3):
        twin.enqueue(1, FULL, False)
    twin.now = 3
    twin.dequeue()
    for _ in range(3):
        twin.enqueue(2, 40, False)
    for twin.now in range(4, 12):
        if twin.now % 2:
            twin.enqueue(2, FULL, False)
        twin.dequeue()
    assert (twin.queue.flows, twin.queue.backlog_packets) == (1, 0)
    twin.now = 20
    for _ in range(3):
        twin.enqueue(1, FULL, False)
    for twin.now in range(22, 30):
        twin.dequeue()
    assert twin.queue.dropped == {"limit": 2, "codel": 0}


class Twin:
    """The discipline and its oracle, told the same and compared.

    At HZ 100 and 1.3 Mbit/s a full frame leaves in a jiffy, and the interval has only eleven, so
    that little traffic is enough to reach every state.
    """

    def __init__(self, limit_packets: int) -> None:
        settings = Settings(
            rate_bits=1_300_000,
            unit_bytes=FULL,
            burst_bytes=FULL,
            queue=Queue.FIFO,
            limit_packets=limit_packets,
            ticks_per_second=100,
        )
        points = setpoints(settings)
        self.queue = fq_codel(settings)
        self.oracle = Scheduler(*points, quantum=FULL, limit=limit_packets)
        self.now = 1
        self._name = 0

    def enqueue(self, flow: int, size: int, can_be_marked: bool) -> None:
        """Give both a frame."""
        self._name += 1
        made = make_frame(flow, self._name, now=self.now, wire_bytes=size, has_ecn=can_be_marked)
        self.queue.enqueue(made, now=self.now)
        self.oracle.enqueue(str(flow), self._name, size, self.now, can_be_marked)
        assert self.queue.dropped["limit"] == len(self.oracle.overflowed)

    def dequeue(self) -> None:
        """Take the next frame from both, if the bucket lets it go."""
        deadline = self.queue.deadline()
        if deadline is not None and deadline > self.now:
            return
        leaving = self.queue.dequeue(now=self.now)
        expected = self.oracle.dequeue(self.now)
        assert (leaving and read_frame(leaving).sequence) == (expected and expected.name)
        assert self.queue.dropped["codel"] == self.oracle.dropped
        assert self.queue.ecn_marks == self.oracle.marked
        assert self.queue.flows == len({*self.oracle.new, *self.oracle.old})
        waiting = [each for queue in self.oracle.queues.values() for each in queue.packets]
        assert self.queue.backlog_packets == len(waiting)
        assert self.queue.backlog_bytes == sum(packet.size for packet in waiting)
