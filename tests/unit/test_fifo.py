"""The fifo behind its gate keeps the law through anything that may happen to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from shaper.discipline import ticks
from shaper.model import Queue, Settings
from shaper.packet.frame import Frame
from tests.unit.gates import SteppedGate, fifo

FRAME_BYTES = 1514
SETTINGS = Settings(
    rate_bits=64_000,
    unit_bytes=FRAME_BYTES,
    burst_bytes=FRAME_BYTES,
    queue=Queue.FIFO,
    limit_packets=10,
    ticks_per_second=1000,
)


def frame(wire_bytes: int = FRAME_BYTES) -> Frame:
    """Return a frame of this length on the wire; its contents are of no concern here."""
    return Frame(bytes(10), wire_bytes, 1)


def filled(settings: Settings, *lengths: int) -> SteppedGate:
    """Return a fifo at jiffy 0 in which frames of these lengths wait."""
    queue = fifo(settings)
    for length in lengths:
        queue.enqueue(frame(length), now=0)
    return queue


def departures(queue: SteppedGate) -> list[tuple[int, int]]:
    """Return (jiffy, bytes) of everything that waits, woken exactly at each deadline."""
    sent = []
    while (now := queue.deadline()) is not None:
        while (leaving := queue.dequeue(now=now)) is not None:
            sent.append((now, leaving.wire_bytes))
    return sent


def test_frames_leave_in_order_at_the_rate() -> None:
    """At 64 kbit/s 800 bytes take 100 ms: a frame leaves at once, each next 100 jiffies on."""
    assert departures(filled(SETTINGS, 800, 800, 800)) == [(0, 800), (100, 800), (200, 800)]


def test_the_frame_over_the_limit_is_dropped_and_counted() -> None:
    """The eleventh frame of a limit of ten is lost as `limit`, and the ten are not."""
    queue = filled(SETTINGS, *[100] * 11)
    assert queue.room <= 0
    assert queue.dropped == {"limit": 1}
    assert (queue.backlog_packets, queue.backlog_bytes) == (10, 1000)
    assert len(departures(queue)) == 10


def test_overlimits_count_the_times_a_frame_had_to_wait() -> None:
    """Asking while the bucket is closed counts once an asking; asking an empty queue does not."""
    queue = filled(SETTINGS, 800, 800)
    assert queue.dequeue(now=0) is not None
    assert queue.dequeue(now=1) is None
    assert queue.overlimits == 1
    assert queue.dequeue(now=100) is not None
    assert queue.dequeue(now=101) is None
    assert queue.overlimits == 1


def test_a_gate_says_when_there_is_no_use_in_asking_again() -> None:
    """The bucket closed and more waits: counted then. Not where a limit or an end came first."""
    queue = filled(SETTINGS, 800, 800)
    assert len(queue.dequeue_batch(now=0, limit=64)) == 1
    assert (queue.is_spent, queue.overlimits) == (True, 1)
    assert queue.dequeue_batch(now=99, limit=64) == []
    assert (queue.is_spent, queue.overlimits) == (False, 2)
    assert len(queue.dequeue_batch(now=100, limit=64)) == 1
    assert (queue.is_spent, queue.overlimits) == (False, 2)
    queue = filled(SETTINGS, 800, 800)
    assert len(queue.dequeue_batch(now=0, limit=1)) == 1
    assert (queue.is_spent, queue.overlimits) == (False, 0)


def test_a_new_rate_applies_to_what_waits_and_loses_nothing() -> None:
    """Twice the rate in mid-wait: the debt left is paid twice as fast, in the same order."""
    queue = filled(SETTINGS, 800, 801)
    queue.dequeue(now=0)
    queue.configure(replace(SETTINGS, rate_bits=128_000), now=50)
    assert departures(queue) == [(75, 801)]
    assert queue.dropped == {"limit": 0}


def test_another_hz_keeps_the_moment_of_departure() -> None:
    """A change of HZ alone moves no frame: 100 jiffies of 1 ms are 10 of 10 ms."""
    queue = filled(SETTINGS, 800, 801)
    queue.dequeue(now=0)
    queue.configure(replace(SETTINGS, ticks_per_second=100), now=50)
    assert departures(queue) == [(10, 801)]


def test_a_lower_limit_drops_nothing_that_waits() -> None:
    """The queue drains to a new limit; until then new frames are refused."""
    queue = filled(SETTINGS, *[100] * 10)
    queue.configure(replace(SETTINGS, limit_packets=2), now=0)
    assert queue.room <= 0
    assert len(departures(queue)) == 10
    assert queue.room > 0


def test_flush_counts_what_it_drops() -> None:
    """What is flushed is counted under the reason given, and nothing waits any more."""
    queue = filled(SETTINGS, 100, 100)
    queue.flush("flush")
    assert queue.dropped["flush"] == 2
    assert queue.deadline() is None
    assert (queue.backlog_packets, queue.backlog_bytes) == (0, 0)


def test_achieved_rate_counts_only_the_time_in_use() -> None:
    """A second of idleness in the middle leaves the achieved rate at the configured one."""
    queue = filled(SETTINGS, 800, 800)
    departures(queue)
    queue.enqueue(frame(800), now=1200)
    assert queue.dequeue(now=1200) is not None
    assert 2400 * 8 * 10**9 // queue.busy_ns(2400) == 64_000


@dataclass
class SentBytes:
    """What left, with the settings in force and the jiffy in nanoseconds."""

    at_ns: int
    wire_bytes: int


LENGTHS = st.integers(42, FRAME_BYTES)
RATES = st.one_of(st.integers(8, 10**11), st.sampled_from([8, 9600, 64_000, 10**9, 10**11]))
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.lists(LENGTHS, max_size=8)),
        st.tuples(st.just("late"), st.integers(0, 200_000_000)),
        st.tuples(st.just("pause"), st.integers(0, 2_000_000_000)),
        st.tuples(st.just("rate"), RATES),
        st.tuples(st.just("ticks_per_second"), st.sampled_from([100, 250, 1000, 1024, 10_000])),
    ),
    max_size=40,
)


@given(rate_bits=RATES, ticks_per_second=st.sampled_from([100, 1000, 10_000]), events=EVENTS)
def test_law_through_rate_changes_and_late_wake_ups(
    rate_bits: int, ticks_per_second: int, events: list[tuple[str, object]]
) -> None:
    """Over every window bytes <= B + the rate's integral + the jiffies at its two ends.

    Frames arrive at random, wake-ups are late at random, rate and HZ change in mid-flight; and
    every frame is either sent, in order, or counted, or still waiting.
    """
    settings = replace(
        SETTINGS,
        rate_bits=rate_bits,
        ticks_per_second=ticks_per_second,
        burst_bytes=FRAME_BYTES + 3000,
    )
    queue = fifo(settings)
    now_ns, offered = 0, 0
    sent: list[SentBytes] = []
    rates: list[tuple[int, int]] = [(0, rate_bits)]
    slack_bits = 0
    for kind, value in events:
        if kind in ("late", "pause"):
            assert isinstance(value, int)
            now_ns += value
        now = ticks.from_ns(now_ns, settings.ticks_per_second)
        if kind == "arrive":
            assert isinstance(value, list)
            offered += len(value)
            for length in value:
                queue.enqueue(frame(length), now=now)
        elif kind in ("rate", "ticks_per_second"):
            name = "rate_bits" if kind == "rate" else "ticks_per_second"
            # A jiffy that had begun under the old settings may be counted under the new as well.
            slack_bits += settings.rate_bits // settings.ticks_per_second + 1
            settings = replace(settings, **{name: value})
            slack_bits += settings.rate_bits // settings.ticks_per_second + 1
            queue.configure(settings, now=now)
            rates.append((now_ns, settings.rate_bits))
            now = ticks.from_ns(now_ns, settings.ticks_per_second)
        while (leaving := queue.dequeue(now=now)) is not None:
            sent.append(SentBytes(now_ns, leaving.wire_bytes))
    assert offered == len(sent) + queue.dropped["limit"] + queue.backlog_packets
    jiffy_bits = max(rate for _, rate in rates) // min(100, ticks_per_second) + 1
    _assert_law(sent, rates, settings.burst_bytes * 8 + slack_bits + jiffy_bits)


def _assert_law(sent: list[SentBytes], rates: list[tuple[int, int]], allowance_bits: int) -> None:
    for first in range(len(sent)):
        total_bits = 0
        for last in sent[first:]:
            total_bits += last.wire_bytes * 8
            granted = _integral(rates, sent[first].at_ns, last.at_ns)
            assert total_bits * 10**9 <= allowance_bits * 10**9 + granted


def _integral(rates: list[tuple[int, int]], start_ns: int, end_ns: int) -> int:
    """Return the bits that the rate in force grants from start to end, times 10**9."""
    ends = [at_ns for at_ns, _ in rates[1:]] + [end_ns]
    return sum(
        rate * max(0, min(end, end_ns) - max(begin, start_ns))
        for (begin, rate), end in zip(rates, ends, strict=True)
    )


def test_delays_are_told_through_changes() -> None:
    """What waited is known of each frame that leaves, also after a change of rate and of ticks."""
    queue = filled(SETTINGS, *[800] * 3)
    queue.enqueue(frame(800), now=150)
    departed = []
    for now in (0, 100, 200):
        queue.dequeue(now=now)
        departed.append(queue.delay_now)
    assert departed == [0, 100, 200]
    queue.configure(replace(SETTINGS, rate_bits=128_000, ticks_per_second=2000), now=200)
    assert queue.delay_now == 400
    while queue.dequeue(now=(queue.deadline() or 0)) is None:
        pass
    assert queue.delay_now == 2 * (250 - 150)
    assert queue.delay_percentile(99, now=700) == 2 * (250 - 150)


@given(st.lists(st.integers(1, 4), max_size=20), st.integers(1, 9))
def test_each_frame_has_its_own_arrival(batches: list[int], step: int) -> None:
    """Frames that came in batches are taken in any portions, each with the time that it came."""
    queue = fifo(replace(SETTINGS, limit_packets=1000)).queue
    came = []
    for now, count in enumerate(batches):
        queue.enqueue_batch([frame(60)] * count, now=now)
        came += [now] * count
    while queue.backlog_packets:
        queue.take(10**9, now=100, limit=step)
        taken, came = came[:step], came[step:]
        assert queue.delay_now == 100 - taken[-1]


def fragment(offset: int, identification: int = 1, *, has_more: bool = True) -> Frame:
    """Return a fragment of an IPv4 datagram, the offset in units of eight bytes."""
    header = b"\x45\0" + (1500).to_bytes(2) + identification.to_bytes(2)
    header += (offset | (0x2000 if has_more else 0)).to_bytes(2) + bytes([64, 17, 0, 0])
    data = bytes(10 + 12) + b"\x08\x00" + header + bytes(8) + bytes(1480)
    return Frame(data, FRAME_BYTES, 1)


def test_a_datagram_joins_as_a_whole() -> None:
    """Fragments that follow one another go beyond the limit; what comes next is dropped."""
    queue = fifo(SETTINGS)
    datagram = [fragment(185 * each, has_more=each < 44) for each in range(45)]
    for each in (*datagram, fragment(0, 2), fragment(185, 2), frame()):
        queue.enqueue(each, now=0)
    assert queue.backlog_packets == 45
    assert queue.dropped == {"limit": 3}


def test_only_what_continues_the_last_datagram_goes_beyond_the_limit() -> None:
    """Neither another datagram's fragments, nor the same ones again, nor more than 64 kB."""
    queue = fifo(SETTINGS)
    for each in [frame()] * 8 + [fragment(0), fragment(185)]:
        queue.enqueue(each, now=0)
    for stray in (fragment(0), fragment(185), fragment(370, 2), frame()):
        queue.enqueue(stray, now=0)
    assert queue.backlog_packets == 10
    for offset in range(186, 400):
        queue.enqueue(fragment(offset), now=0)
    assert queue.backlog_packets == 10 + 69_000 // FRAME_BYTES


def test_a_datagram_in_ipv6_joins_as_a_whole() -> None:
    """Its fragments bear a header of their own for that."""
    queue = fifo(SETTINGS)
    for each in range(20):
        header = b"\x60" + bytes(5) + bytes([44, 64]) + bytes(32)
        header += bytes([17, 0]) + (8 * 181 * each | (each < 19)).to_bytes(2) + b"abcd"
        data = bytes(10 + 12) + b"\x86\xdd" + header + bytes(1448)
        queue.enqueue(Frame(data, FRAME_BYTES, 1), now=0)
    assert (queue.backlog_packets, queue.dropped) == (20, {"limit": 0})
