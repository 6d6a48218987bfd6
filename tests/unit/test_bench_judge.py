"""The arithmetic of the benchmark, with numbers that can be checked by hand."""

from __future__ import annotations

import pytest

from bench import judge, ping
from bench.lab import datagrams, law
from bench.lab.flow import Flow
from bench.lab.law import NS_PER_SECOND
from bench.lab.pump import ReceivedStream, goodput_bits, share_bits
from bench.lab.ring import Caught
from bench.results import Measurement

MS = 10**6


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1), (10, 1), (11, 2), (50, 5), (99, 10), (100, 10)]
)
def test_a_percentile_is_the_nearest_rank(percent: float, expected: int) -> None:
    """It is a value that was measured, and at least so many are not above it."""
    assert judge.percentile([10, 1, 9, 2, 8, 3, 7, 4, 6, 5], percent) == expected


def test_the_fitted_rate_of_a_steady_link_is_exact() -> None:
    """A thousand bytes a millisecond are 8 Mbit/s."""
    frames = [(at * MS, 1000) for at in range(50)]
    assert law.fitted_rate_bits(frames) == pytest.approx(8e6, rel=1e-12)


def test_a_late_frame_at_the_end_hardly_moves_the_fitted_rate() -> None:
    """A tick too late at the end is 0.1 % of a second; the line through all shows a fraction."""
    frames = [(at * 10 * MS, 1000) for at in range(100)]
    frames[-1] = (frames[-1][0] + MS, 1000)
    assert abs(law.fitted_rate_bits(frames) / 800_000 - 1) < 0.0001


def test_too_few_frames_have_no_rate() -> None:
    """One frame, or several in one instant, are refused."""
    for frames in ([], [(1, 1)], [(1, 1), (1, 1)]):
        with pytest.raises(ValueError, match="have no rate"):
            law.fitted_rate_bits(frames)


def test_a_late_frame_is_the_burst_of_its_stretch_alone() -> None:
    """A frame a millisecond, but those of 5 ms of the third of ten stretches come at once."""
    times_ms = [225 if 220 <= at < 225 else at for at in range(1001)]
    frames = [(at * MS, 1000) for at in times_ms]
    assert law.stretch_bursts(frames, 8_000_000, 100 * MS) == [1000] * 2 + [6000] + [1000] * 7


def test_a_stretch_begins_from_nothing_and_ends_before_the_next() -> None:
    """What a stretch left in the bucket's debt is not held against the next one."""
    frames = [(0, 500), (99 * MS, 500), (99 * MS, 500), (100 * MS, 500), (150 * MS, 500)]
    frames += [(200 * MS, 500), (299 * MS, 500)]
    assert law.stretch_bursts(frames, 80_000, 100 * MS) == [1000, 500]


def test_silence_is_no_merit() -> None:
    """Stretches that carried less than half of the rate, or that are cut off, do not count."""
    full = [(at * MS, 1000) for at in range(200)]
    thin = [(at * MS, 1000) for at in range(200, 400, 3)]
    rest = [(at * MS, 1000) for at in range(700, 860)]
    bursts = law.stretch_bursts(full + thin + rest, 8_000_000, 100 * MS)
    assert bursts == [1000, 1000, 1000]
    assert law.stretch_bursts([], 8_000_000, 100 * MS) == []


@pytest.mark.parametrize(
    ("rate_bits", "expected_ms"), [(10_000_000, 100), (1_211_200, 100), (605_600, 200)]
)
def test_a_stretch_holds_ten_of_the_largest_frames(rate_bits: int, expected_ms: int) -> None:
    """It is 100 ms where the rate carries so many in that time, and longer below."""
    assert law.stretch_ns([(0, 60), (1, 1514)], rate_bits) == expected_ms * MS


def tcp_header(options_bytes: int = 12, protocol: int = 6) -> bytes:
    """Return the first bytes of a frame of TCP over IPv4 over Ethernet."""
    offset = (20 + options_bytes) // 4 << 4
    network = bytes([0x45, *bytes(8), protocol, *bytes(10)])
    return bytes(12) + b"\x08\x00" + network + bytes(12) + bytes([offset]) + bytes(33)


@pytest.mark.parametrize(
    ("payload", "count"), [(1, 1), (1448, 1), (1449, 2), (2896, 2), (14480, 10), (14481, 11)]
)
def test_an_offload_frame_counts_as_its_segments(payload: int, count: int) -> None:
    """Each segment carries 1448 bytes and 66 of headers, with timestamps."""
    expected = (count, payload + 66 * count)
    assert judge.wire_frames(tcp_header(), 66 + payload) == expected


def test_options_of_tcp_make_segments_smaller() -> None:
    """Without timestamps a segment carries 1460 bytes."""
    assert judge.wire_frames(tcp_header(0), 54 + 2920) == (2, 2920 + 108)


def test_what_is_no_offload_frame_is_one_frame() -> None:
    """UDP, and whatever else, is taken as it came."""
    assert judge.wire_frames(tcp_header(protocol=17), 9000) == (1, 9000)
    assert judge.wire_frames(bytes(80), 9000) == (1, 9000)


def test_recorded_frames_are_put_in_order() -> None:
    """Two processors may hand them over in the other order."""
    caught = [Caught(2, 100, bytes(80)), Caught(1, 66 + 2896, tcp_header())]
    assert judge.to_wire(caught, is_wire=False) == (3, [(1, 3028), (2, 100)])
    assert judge.to_wire(caught, is_wire=True) == (2, [(1, 2962), (2, 100)])


def measurement(rate_bits: int = 8_000_000) -> Measurement:
    """Return one that nothing is known of yet."""
    return Measurement("shaper", rate_bits, "UDP 1000 B", "capture", True, 2.0)


def test_a_steady_recording_is_judged() -> None:
    """A frame a millisecond at its rate: no error, one frame of burst, nothing above 105 %."""
    found = measurement()
    judge.judge_frames(found, [Caught(at * MS, 1000, b"") for at in range(2000)], 0, 0.5)
    assert found.error_percent == pytest.approx(0, abs=1e-9)
    assert found.ends_error_percent == pytest.approx(0, abs=1e-9)
    assert found.burst_bytes == 1000
    assert (found.stretches, found.stretch_ms) == (19, 100)
    assert (found.typical_burst_bytes, found.high_burst_bytes) == (1000, 1000)
    assert found.above_percent == {"10": 0.0, "100": 0.0}
    assert (found.first_second_percent, found.first_second_excess_bytes) == (100.0, 0)
    assert found.frames_per_second == pytest.approx(1000)


def test_the_typical_burst_is_that_of_the_median_stretch() -> None:
    """One stretch of twenty is 20 ms late, two 5 ms: half are on time, nine of ten within 5 ms."""
    found = measurement()
    late = {400: 20, 800: 5, 1200: 5}
    times_ms = list(range(2001))
    for begin, length in late.items():
        times_ms[begin : begin + length] = [begin + length] * length
    judge.judge_frames(found, [Caught(at * MS, 1000, b"") for at in times_ms], 0, 0.5)
    assert found.burst_bytes == 21_000
    assert found.typical_burst_bytes == 1000
    assert found.high_burst_bytes == 6000


def test_few_stretches_have_no_typical_burst() -> None:
    """Four say less than the worst of all, which stays."""
    found = measurement()
    judge.judge_frames(found, [Caught(at * MS, 1000, b"") for at in range(450)], 0, 0.1)
    assert (found.stretches, found.burst_bytes) == (4, 1000)
    assert found.typical_burst_bytes is None


def test_round_trips_are_told_by_their_percentiles() -> None:
    """Ten of a hundred are within p10, fifty within p50, all but one within p99."""
    found = measurement()
    judge.judge_echoes(found, ping.Echoes([at * 1000 for at in range(100, 0, -1)], 2))
    assert (found.ping_p10_us, found.ping_p50_us, found.ping_p99_us) == (10, 50, 99)
    assert found.lost_pings == 2


def test_a_recording_with_losses_is_not_judged() -> None:
    """Its rate would be too low and its burst too small, so they stay unknown."""
    found = measurement()
    judge.judge_frames(found, [Caught(at * MS, 1000, b"") for at in range(2000)], 7, 0.5)
    assert found.lost_frames == 7
    assert found.error_percent is None
    assert found.burst_bytes is None


def test_a_bucket_that_was_full_shows_in_the_first_second_and_not_in_the_error() -> None:
    """A hundred frames at once, then the rate: that is burst, and no rate error."""
    burst = [Caught(0, 1000, b"") for _ in range(100)]
    found = measurement()
    judge.judge_frames(
        found, burst + [Caught(at * MS, 1000, b"") for at in range(1, 2000)], 0, 0.5
    )
    assert found.burst_bytes == 100_000
    assert found.first_second_excess_bytes == 99_000
    assert found.error_percent == pytest.approx(0, abs=1e-9)


def test_goodput_counts_what_came_after_the_first_read() -> None:
    """The first read starts the clock; two streams are taken over the time of both."""
    one, other = (
        ReceivedStream(Flow("tcp", "10.0.0.1", 1)),
        ReceivedStream(Flow("tcp", "10.0.0.1", 1)),
    )
    for second in range(3):
        one.add((10 + second) * NS_PER_SECOND, 1000)
    for second in range(2):
        other.add((11 + second) * NS_PER_SECOND, 500)
    assert goodput_bits([one]) == 8000
    assert goodput_bits([one, other]) == 8 * 2500 / 2
    assert goodput_bits([ReceivedStream(Flow("tcp", "10.0.0.1", 1))]) == 0


def test_silence_counts_against_a_starved_stream() -> None:
    """A stream that got nothing in its last second had half of what it began with."""
    starved = ReceivedStream(Flow("tcp", "10.0.0.1", 1), since_ns=10 * NS_PER_SECOND)
    for second in range(2):
        starved.add((10 + second) * NS_PER_SECOND, 1000)
    assert share_bits([starved], 12 * NS_PER_SECOND) == 4000
    assert share_bits([ReceivedStream(Flow("tcp", "10.0.0.1", 1), since_ns=5)], 5) == 0


def test_a_course_keeps_its_pace() -> None:
    """A frame of 125 bytes at 1 Mbit/s is due every millisecond, the first one at once."""
    course = datagrams.Course(("10.0.0.1", 1), 125, 1_000_000)
    assert [course.due(elapsed) for elapsed in (0, MS - 1, MS, 10 * MS)] == [1, 1, 2, 11]
    assert [course.due_ns(count) for count in (0, 1, 10)] == [0, MS, 10 * MS]
