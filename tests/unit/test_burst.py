"""The largest burst is the least bucket for which the law held, over every window."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shaper.discipline.burst import Burst, make_burst
from shaper.model import Queue
from shaper.trace import Playback, Trace
from tests.unit.path_rig import FRAME, MS, SETTINGS, PathRig

SECOND = 10**9
RATE = 8_000_000  # a byte a microsecond
RUNS = st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 70_000)), min_size=1)


def worst(runs: list[tuple[int, int]], rate_bits: int) -> int:
    """Return the most beyond the rate that left in any window, by looking at all of them."""
    windows = [
        sum(sent for _, sent in runs[first : last + 1]) * 8 * SECOND
        - (runs[last][0] - runs[first][0]) * rate_bits
        for first in range(len(runs))
        for last in range(first, len(runs))
    ]
    return -(-max(windows) // (8 * SECOND))


@given(steps=RUNS, rate_bits=st.sampled_from([9600, RATE, 10**10]))
def test_it_is_the_least_bucket_that_holds_in_every_window(
    steps: list[tuple[int, int]], rate_bits: int
) -> None:
    """One number kept from run to run says what a search of all windows does."""
    burst, now_ns, runs = Burst(rate_bits), 5 * SECOND, []
    for pause_ns, sent in steps:
        now_ns += pause_ns
        burst.sent(sent, now_ns)
        runs.append((now_ns, sent))
        assert burst.lately_bytes(now_ns) == worst(runs, rate_bits)


def test_frames_that_left_late_are_held_against_that_time() -> None:
    """What left at the end of a run that was interrupted, and what followed, left together."""
    burst = Burst(RATE)
    burst.sent(1000, SECOND)
    burst.left_late(1000, SECOND + 10 * MS)
    burst.sent(1000, SECOND + 10 * MS)
    assert burst.lately_bytes(SECOND + 10 * MS) == 2000
    burst.left_late(1000, SECOND + 10 * MS + 400_000)
    burst.sent(500, SECOND + 11 * MS)
    assert burst.lately_bytes(SECOND + 11 * MS) == 2000  # 1600 left then, paid for by 600


def test_only_the_last_ten_seconds_count() -> None:
    """A burst is told for nine to ten seconds, however seldom anything is asked."""
    burst = Burst(RATE)
    burst.sent(9000, 5 * SECOND)
    assert burst.lately_bytes(5 * SECOND) == 9000
    burst.sent(2000, 7 * SECOND)
    assert burst.lately_bytes(14 * SECOND) == 9000
    assert burst.lately_bytes(15 * SECOND) == 2000
    assert burst.lately_bytes(1000 * SECOND) == 0


def test_a_trace_is_held_against_what_it_offers() -> None:
    """A second at 8 Mbit/s and one without anything, which earns nothing."""
    trace = Trace((0, 1_000_000), (RATE, 0), 2_000_000)
    burst = make_burst(replace(SETTINGS, playback=Playback(trace, 1_000_000)))
    burst.sent(3000, SECOND)
    burst.sent(3000, SECOND + 1 * MS)  # 1000 of the first were earned
    assert burst.lately_bytes(SECOND + 1 * MS) == 5000
    burst.sent(900_000, 2 * SECOND)
    burst.left_late(900_000, 2 * SECOND + 400 * MS)
    burst.sent(1000, 2 * SECOND + 900 * MS)
    assert burst.lately_bytes(2 * SECOND + 900 * MS) == 901_000


def test_a_path_tells_its_burst_for_ten_seconds() -> None:
    """Of frames that wait as of those that bypass the queue, and by itself when all is over."""
    rig = PathRig()
    rig.source.frames.extend([FRAME] * 3)
    rig.run(20 * SECOND)
    rig.run_to(21 * SECOND)
    assert rig.count("lately_burst_bytes") == 800
    assert rig.count("second_delay_p99_ns") > 0
    rig.run_to(40 * SECOND)
    assert rig.count("lately_burst_bytes") == 0
    assert rig.count("second_delay_p99_ns") == 0
    assert rig.wants.deadline_ns is None


def test_another_rate_forgets_the_bursts_of_the_old() -> None:
    """What was a burst at 64 kbit/s says nothing of 1 Mbit/s."""
    rig = PathRig(replace(SETTINGS, burst_bytes=8000, idle_bytes=6000, queue=Queue.FIFO))
    rig.source.frames.extend([FRAME] * 6)
    rig.run(20 * SECOND)
    rig.run_to(21 * SECOND)
    assert rig.count("lately_burst_bytes") > 800
    rig.path.configure(replace(SETTINGS, rate_bits=10**6), 21 * SECOND)
    rig.run(21 * SECOND)
    assert rig.count("lately_burst_bytes") == 0
