"""What was achieved lately, told from sums, and not told where there was too little work."""

from __future__ import annotations

from dataclasses import replace

from shaper.desired.history import Achieved, History, Sample

SECOND = 1_000_000_000
RATE = 10_000_000


def after(start: Sample, *, seconds: int = 1, percent: int = 100, share: int = 100) -> Sample:
    """Return the sums after some time of full frames.

    Args:
        start: the sums before it.
        seconds: how long.
        percent: of the rate that was achieved while busy.
        share: percent of the time that was busy.
    """
    busy_ns = seconds * SECOND * share // 100
    sent = RATE * busy_ns * percent // 100 // 8 // SECOND
    return Sample(
        start.now_ns + seconds * SECOND,
        start.busy_ns + busy_ns,
        start.busy_bytes + sent,
        start.packets + sent // 1250,
    )


def run(history: History, sample: Sample, *percents: int, share: int = 100) -> Sample:
    """Let a second pass for each percentage."""
    for percent in percents:
        sample = after(sample, percent=percent, share=share)
        history.add(sample)
    return sample


START = Sample(5 * SECOND, 0, 0, 0)


def test_the_last_ten_seconds_forget_what_was_before() -> None:
    """Twenty bad seconds and ten good ones are good."""
    history = History(START)
    sample = run(history, START, *[10] * 20)
    assert history.lately().bits == RATE // 10
    run(history, sample, *[100] * 10)
    assert history.lately().bits == RATE


def test_idle_time_does_not_count_against_a_shaper() -> None:
    """Busy for a fifth of the time at the full rate is the full rate."""
    history = History(START)
    run(history, START, *[100] * 10, share=20)
    assert history.lately().bits == RATE


def test_too_little_work_is_told_as_such() -> None:
    """One ping at any rate says nothing, and neither do drops alone."""
    history = History(START)
    history.add(Sample(START.now_ns + SECOND, 800, 98, 1))
    assert history.lately() == Achieved(None, 1)
    history.add(Sample(START.now_ns + 2 * SECOND, 3 * SECOND, 98, 1))
    assert history.lately() == Achieved(None, 1)


def test_the_worst_second_of_an_hour_is_kept_for_an_hour() -> None:
    """And only seconds count that were busy for the better part."""
    history = History(START)
    sample = run(history, START, 100, 40, 100)
    sample = run(history, sample, 5, share=10)
    assert history.worst_bits(sample.now_ns) == RATE * 40 // 100
    sample = run(history, sample, *[90] * 3590)
    assert history.worst_bits(sample.now_ns) == RATE * 40 // 100
    sample = run(history, sample, *[90] * 90)
    assert history.worst_bits(sample.now_ns) == RATE * 90 // 100


def test_other_sums_begin_anew() -> None:
    """A new forwarder or a new speed starts from nothing, and nothing is negative."""
    history = History(START)
    sample = run(history, START, 50, 50)
    fresh = Sample(sample.now_ns + SECOND, 0, 0, 0)
    history.add(fresh)
    assert history.since_ns == fresh.now_ns
    assert history.lately() == Achieved(None, 0)
    assert history.worst_bits(fresh.now_ns) is None


def test_the_largest_burst_and_delay_of_an_hour_are_kept_for_an_hour() -> None:
    """And since the speed was set for ever; what the first ten seconds tell may be older."""
    history, sample = History(START), START
    for second in range(1, 3700):
        told = 9000 if second < 10 else 5000 if 100 <= second < 110 else 3000
        sample = replace(after(sample), burst_bytes=told, delay_ns=2 * told)
        history.add(sample)
        if second == 9:
            assert history.bursts.of_hour(sample.now_ns) is None
        if second == 3690:
            assert history.bursts.of_hour(sample.now_ns) == 5000
            assert history.delays.of_hour(sample.now_ns) == 10_000
    sample = replace(after(sample, seconds=70), burst_bytes=3000, delay_ns=6000)
    history.add(sample)
    assert history.bursts.of_hour(sample.now_ns) == 3000
    assert history.bursts.ever == 5000
    assert history.delays.ever == 10_000
    assert history.delays.of_hour(sample.now_ns + 4000 * SECOND) is None
