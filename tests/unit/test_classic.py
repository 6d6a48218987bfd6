"""The classic discipline does what the driver of 1996 did: by tables, and by an oracle."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaper.discipline.classic import Classic
from shaper.packet.frame import Frame
from tests.unit.oracles.driver_1996 import Driver

FULL = 1514


def frame(wire_bytes: int = FULL, *, name: int = 0, packets: int = 1) -> Frame:
    """Return a frame that can be recognised by its name."""
    return Frame(name.to_bytes(4, "big"), wire_bytes, packets)


def name_of(one: Frame) -> int:
    """Return the name a frame was made with."""
    return int.from_bytes(one.data, "big")


def classic(rate_bits: int = 64_000, *, hz: int = 100) -> Classic:
    """Return a queue at jiffy 0, by default at 80 bytes a tick."""
    return Classic(rate_bits=rate_bits, hz=hz, now=0)


def leaving(queue: Classic, now: int) -> list[int]:
    """Return the names of the frames that leave at jiffy `now`."""
    return [name_of(one) for one in iter(lambda: queue.dequeue(now=now), None)]


@pytest.mark.parametrize(
    ("rate_bits", "hz", "wire_bytes", "cost"),
    [
        (64_000, 100, FULL, 18),  # 80 bytes a tick
        (64_000, 1024, FULL, 216),  # 62.5, so 62 bits, so 7 bytes
        (9_600, 100, FULL, 126),  # 12 bytes
        (9_600, 1000, FULL, FULL),  # 9.6, so 9 bits, so 1 byte
        (256_000, 100, FULL, 4),  # 320 bytes
        (799, 100, 400, 400),  # 0 bytes, so 1
        (8, 100, 400, 400),
    ],
)
def test_cost_is_length_over_bytes_per_tick_without_remainders(
    rate_bits: int, hz: int, wire_bytes: int, cost: int
) -> None:
    """A frame keeps the next one waiting for its cost in whole ticks."""
    queue = classic(rate_bits, hz=hz)
    queue.enqueue(frame(wire_bytes, name=1), now=0)
    queue.enqueue(frame(name=2), now=0)
    assert leaving(queue, 0) == [1]
    assert queue.deadline() == cost


def test_a_frame_smaller_than_a_tick_is_free() -> None:
    """At 80 bytes a tick any number of 40-byte frames leaves at once: the known fault."""
    queue = classic()
    for name in range(1000):
        queue.enqueue(frame(40, name=name), now=0)
    assert leaving(queue, 0) == list(range(1000))
    assert queue.busy_ns(40_000) == 0


def test_the_window_is_a_fiftieth_of_a_second() -> None:
    """At HZ 100 a frame may leave two ticks before its clock, and not three."""
    queue = classic()
    queue.enqueue(frame(name=1), now=0)
    queue.enqueue(frame(name=2), now=0)
    assert leaving(queue, 15) == [1]
    assert queue.overlimits == 1
    assert leaving(queue, 16) == [2]


def test_the_timer_is_armed_for_the_clock_of_the_head() -> None:
    """The deadline is past while a frame has been let go, then the head's clock, then None."""
    queue = classic()
    assert queue.deadline() is None
    queue.enqueue(frame(name=1), now=5)
    queue.enqueue(frame(name=2), now=5)
    assert queue.deadline() == 5
    assert leaving(queue, 6) == [1]
    assert queue.deadline() == 5 + 18
    assert leaving(queue, 23) == [2]
    assert queue.deadline() is None


@pytest.mark.parametrize(("wire_bytes", "dropped"), [(40_000, 0), (40_079, 0), (40_080, 1)])
def test_a_clock_more_than_five_seconds_ahead_is_latency(wire_bytes: int, dropped: int) -> None:
    """At 80 bytes a tick 40000 bytes are 500 ticks of HZ 100: bearable, and 501 are not."""
    queue = classic()
    queue.enqueue(frame(wire_bytes, name=1), now=0)
    queue.enqueue(frame(name=2), now=0)
    assert queue.dropped == {"latency": dropped, "collision": 0}


def test_the_eleventh_frame_pushes_out_the_head() -> None:
    """Ten wait; one more drops the first of them, and the others keep the clocks they had."""
    queue = classic()
    for name in range(12):
        assert queue.room > 0
        queue.enqueue(frame(name=name), now=0)
    assert queue.dropped == {"latency": 0, "collision": 1}
    assert leaving(queue, 0) == [0]
    assert queue.backlog_packets == 10
    assert queue.backlog_bytes == 10 * FULL
    assert queue.deadline() == 2 * 18
    assert leaving(queue, 10**6) == list(range(2, 12))


def test_a_free_frame_at_the_tail_still_counts_as_a_place() -> None:
    """Frames without cost fill the ten places as others do once the head has to wait."""
    queue = classic()
    queue.enqueue(frame(name=0), now=0)
    for name in range(1, 14):
        queue.enqueue(frame(40, name=name), now=0)
    assert queue.dropped["collision"] == 3
    assert leaving(queue, 16) == [0, *range(4, 14)]


def test_saturation_reports_the_rate_the_driver_really_had() -> None:
    """1514 bytes cost 18 ticks of 80: a configured 64000 bit/s is 67288 in truth."""
    queue = classic()
    sent = 0
    for now in range(18 * 100):
        queue.enqueue(frame(), now=now)
        sent += len(leaving(queue, now))
    assert queue.busy_ns(sent * FULL) == sent * 18 * 10**7
    assert sent * FULL * 8 * 10**9 // queue.busy_ns(sent * FULL) == 67_288


def test_idle_time_is_not_busy_time() -> None:
    """Two frames an hour apart were on the wire for 18 ticks each."""
    queue = classic()
    for now in (0, 360_000):
        queue.enqueue(frame(), now=now)
        assert len(leaving(queue, now)) == 1
    assert queue.busy_ns(2 * FULL) == 2 * 18 * 10**7


@pytest.mark.parametrize("rate_bits", [8_000, 10_000_000])
def test_a_change_of_rate_keeps_what_waits_and_prices_what_comes(rate_bits: int) -> None:
    """Frames that wait leave when promised, slower or faster; the next pays the new price."""
    queue = classic()
    for name in range(4):
        queue.enqueue(frame(name=name), now=0)
    assert leaving(queue, 0) == [0]
    queue.set_rate(rate_bits, now=1)
    assert queue.busy_ns(0) == 0
    assert [leaving(queue, now) for now in (1, 15, 16, 34, 52)] == [[], [], [1], [2], [3]]
    queue.enqueue(frame(name=4), now=72)
    queue.enqueue(frame(name=5), now=72)
    assert leaving(queue, 72) == ([4] if rate_bits == 8_000 else [4, 5])
    assert queue.deadline() == (72 + 151 if rate_bits == 8_000 else None)
    assert queue.dropped == {"latency": 0, "collision": 0}


def test_an_offload_frame_is_one_place_and_one_cost() -> None:
    """45 segments take one of the ten places, cost their sum, and are 45 frames when lost."""
    queue = classic(10_000_000)
    train = frame(68_130, name=1, packets=45)
    queue.enqueue(train, now=0)
    for name in range(2, 13):
        queue.enqueue(train._replace(data=name.to_bytes(4, "big")), now=0)
    assert queue.dropped == {"latency": 0, "collision": 45}
    assert leaving(queue, 0) == [1]
    assert queue.backlog_packets == 10 * 45
    assert queue.deadline() == 2 * (68_130 // 12_500)


def test_flush_counts_everything_under_its_reason() -> None:
    """What waits and what was let go is lost, counted in wire frames, and nothing remains."""
    queue = classic()
    for name in range(3):
        queue.enqueue(frame(name=name, packets=2), now=0)
    queue.flush("flush")
    assert queue.dropped == {"latency": 0, "collision": 0, "flush": 6}
    assert (queue.backlog_bytes, queue.backlog_packets, queue.deadline()) == (0, 0, None)
    assert leaving(queue, 100) == []


def test_drain_gives_back_everything_in_order() -> None:
    """What was let go comes first, then what waits; a later frame finds an empty queue."""
    queue = classic()
    for name in range(5):
        queue.enqueue(frame(name=name), now=0)
    assert [name_of(one) for one in queue.drain()] == [0, 1, 2, 3, 4]
    assert (queue.backlog_bytes, queue.backlog_packets, queue.deadline()) == (0, 0, None)
    queue.enqueue(frame(name=9), now=18)
    assert leaving(queue, 18) == [9]


RATES = st.sampled_from([8, 9_600, 64_000, 128_000, 256_000, 10**6, 10**7]) | st.integers(8, 10**9)
SIZES = st.sampled_from([40, 60, FULL]) | st.integers(1, 9_014)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 2]) | st.integers(0, 700),  # jiffies that pass before
        st.lists(SIZES, max_size=14),  # frames that arrive together
        st.none() | RATES,  # a change of rate after them
    ),
    max_size=25,
)


class ClassicPair:
    """The discipline and the oracle under the same traffic."""

    def __init__(self, rate_bits: int, hz: int) -> None:
        self.queue = classic(rate_bits, hz=hz)
        self.driver = Driver(hz=hz, bits_per_second=rate_bits)
        self.sent: list[tuple[int, int]] = []
        self.lengths: dict[int, int] = {}
        self.rated_at = 0  # frames sent before the last change of rate

    def fetch(self, now: int) -> None:
        """Let both send what may leave at jiffy `now`."""
        self.driver.timer(now)
        self.sent += [(now, name) for name in leaving(self.queue, now)]

    def arrive(self, sizes: list[int], now: int) -> None:
        """Frames arrive; the discipline is asked for nothing in between."""
        for size in sizes:
            name = len(self.lengths)
            self.lengths[name] = size
            self.queue.enqueue(frame(size, name=name), now=now)
            self.driver.send(name, size, now)

    def set_rate(self, rate_bits: int, now: int) -> None:
        """Change the rate of both."""
        self.queue.set_rate(rate_bits, now=now)
        self.driver.bits_per_second = rate_bits
        self.driver.busy.clear()
        self.rated_at = len(self.sent)

    def pass_time(self, until: int, lateness: int) -> None:
        """Let the timers fire, `lateness` jiffies late, up to jiffy `until`."""
        while (due := self.driver.timer_at) is not None and due + lateness < until:
            assert self.queue.deadline() == due
            self.fetch(due + lateness)

    def compare(self) -> None:
        """Both must have done the same, and nothing may be unaccounted for."""
        queue, driver = self.queue, self.driver
        assert self.sent == driver.sent
        assert queue.dropped == {"latency": len(driver.late), "collision": len(driver.collided)}
        assert queue.deadline() == driver.timer_at
        waiting = [entry["name"] for entry in driver.queue]
        assert queue.backlog_packets == len(waiting)
        assert queue.backlog_bytes == sum(self.lengths[name] for name in waiting)
        assert len(self.lengths) == len(self.sent) + sum(queue.dropped.values()) + len(waiting)
        recent = self.sent[self.rated_at :]
        sent_bytes = sum(self.lengths[name] for _, name in recent)
        assert queue.busy_ns(sent_bytes) == len(driver.busy) * 10**9 // driver.hz


@pytest.mark.no_cover  # three times as long beside coverage
@settings(max_examples=300, deadline=None)
@given(
    rate_bits=RATES,
    hz=st.sampled_from([10, 100, 1000, 1024]),
    steps=STEPS,
    lateness=st.integers(0, 3),
)
def test_every_frame_fares_as_in_the_driver(
    rate_bits: int,
    hz: int,
    steps: list[tuple[int, list[int], int | None]],
    lateness: int,
) -> None:
    """Sent in the same jiffy, dropped for the same reason, under any traffic and rate changes."""
    pair = ClassicPair(rate_bits, hz)
    now = 0
    for passed, sizes, new_rate in steps:
        now += passed
        pair.pass_time(now, lateness)
        pair.arrive(sizes, now)
        pair.fetch(now)
        pair.compare()
        if new_rate is not None:
            pair.set_rate(new_rate, now)
    pair.pass_time(now + 100_000, lateness)
    pair.compare()
