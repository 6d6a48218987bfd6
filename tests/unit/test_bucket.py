"""The token bucket keeps its law, exactly, over every window."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shaper.discipline.bucket import Bucket
from shaper.model import Queue, Settings

FRAME = 1514


def bucket(rate_bits: int, *, ticks_per_second: int = 1000, burst_bytes: int = FRAME) -> Bucket:
    """Return a bucket for full Ethernet frames at jiffy 0."""
    return Bucket(
        rate_bits=rate_bits,
        ticks_per_second=ticks_per_second,
        unit_bytes=FRAME,
        burst_bytes=burst_bytes,
        now=0,
    )


def test_first_frame_leaves_at_once_and_is_paid_for_afterwards() -> None:
    """At 64 kbit/s and HZ 1000 a jiffy is 8 bytes: 1514 bytes are paid for after 190 of them."""
    one = bucket(64_000)
    assert one.is_open
    one.charge(FRAME)
    assert not one.is_open
    assert one.opens_at() == 190
    one.accrue(189)
    assert not one.is_open
    one.accrue(190)
    assert one.is_open


def test_a_rate_below_one_byte_a_jiffy_is_exact() -> None:
    """At 8 bit/s a byte takes a whole second of jiffies, with nothing rounded away."""
    one = bucket(8)
    one.charge(10)
    assert one.opens_at() == 10_000


def test_idleness_saves_nothing() -> None:
    """After an hour of rest one frame leaves, and the next waits as if there had been no hour."""
    one = bucket(64_000, burst_bytes=FRAME + 10_000)
    one.rest(3_600_000)
    one.charge(FRAME)
    assert one.opens_at() == 3_600_000 + 190


def test_lateness_is_caught_up_to_the_surplus_and_no_further() -> None:
    """A wake-up 100 jiffies late finds the credit of 100 jiffies, and never above the bucket."""
    one = bucket(64_000, burst_bytes=FRAME + 400)
    one.charge(800)
    one.accrue(200)
    one.charge(400)
    assert one.is_open
    one.charge(1)
    assert not one.is_open
    assert one.busy_ns(800 + 400 + 1) == (800 + 400 + 1 + 400) * 8 * 10**9 // 64_000


def settings(rate_bits: int, *, ticks_per_second: int, burst_bytes: int = FRAME) -> Settings:
    """Return settings for full Ethernet frames."""
    return Settings(
        rate_bits=rate_bits,
        unit_bytes=FRAME,
        burst_bytes=burst_bytes,
        queue=Queue.FIFO,
        limit_packets=1,
        ticks_per_second=ticks_per_second,
    )


def test_an_idle_bucket_saves_what_it_may_and_no_more() -> None:
    """With 100 bytes to save, frames of 100 bytes and of one leave after a pause; no third."""
    one = Bucket.make(
        replace(settings(64_000, ticks_per_second=1000, burst_bytes=2000), idle_bytes=100), now=0
    )
    one.rest(10**6)
    for wire_bytes in (100, 1):
        assert one.is_open
        one.charge(wire_bytes)
    assert not one.is_open


def test_what_comes_to_an_idle_bucket_is_admitted_as_far_as_it_may_leave() -> None:
    """Nothing saved: the first frame, and no second before it is paid for; a refusal is free."""
    one = bucket(64_000, burst_bytes=FRAME + 800)
    assert not one.admit(1600, 800, 10**6, has_waited=False)
    assert one.admit(800, 800, 10**6, has_waited=False)
    assert not one.admit(800, 800, 10**6 + 99, has_waited=False)
    assert one.admit(800, 800, 10**6 + 100, has_waited=False)


def test_frames_that_waited_elsewhere_have_earned_the_surplus() -> None:
    """As if they had been queued: up to the surplus, and the rest is lost and counted."""
    one = bucket(64_000, burst_bytes=FRAME + 800)
    assert one.admit(1600, 800, 150, has_waited=True)
    assert not one.admit(1, 1, 150, has_waited=True)
    assert one.busy_ns(1600) == (1600 + 400) * 8 * 10**9 // 64_000


def test_successor_takes_the_debt_along_and_not_the_credit() -> None:
    """A new rate pays an old debt at the new speed, and a saved surplus is not carried over."""
    indebted = bucket(64_000)
    indebted.charge(800)
    after = indebted.successor(settings(128_000, ticks_per_second=500), now=7)
    assert after.opens_at() == 7 + 25
    rich = bucket(64_000, burst_bytes=FRAME + 400)
    rich.accrue(100)
    after = rich.successor(settings(64_000, ticks_per_second=1000, burst_bytes=FRAME + 400), now=0)
    after.charge(1)
    assert not after.is_open


def test_a_successor_does_not_earn_again_what_was_earned_ahead() -> None:
    """After frames that left late, at jiffy 8, a change at jiffy 3 starts at 8 as well."""
    one = bucket(64_000, burst_bytes=FRAME + 400)
    one.charge(800)
    one.left_late(800, 8)
    after = one.successor(settings(64_000, ticks_per_second=1000), now=3)
    assert after.opens_at() == one.opens_at()


def test_frames_that_left_late_are_granted_no_credit_twice() -> None:
    """The time until they left counts only as far as the bucket had room before they did.

    Open with the surplus full, 800 bytes are charged and leave 100 jiffies later: what was earned
    meanwhile did not fit, so after them the balance is the surplus less 800 bytes.
    """
    one = bucket(64_000, burst_bytes=FRAME + 800)
    one.charge(1)
    one.accrue(1000)
    one.charge(800)
    one.left_late(800, 1100)
    one.charge(1)
    assert not one.is_open
    in_time = bucket(64_000, burst_bytes=FRAME + 800)
    in_time.charge(1)
    in_time.accrue(1000)
    in_time.charge(800)
    in_time.accrue(1100)
    in_time.charge(1)
    assert in_time.is_open


@given(
    rate_bits=st.integers(8, 10**11),
    ticks_per_second=st.sampled_from([100, 250, 1000, 1024, 10_000]),
    surplus_bytes=st.integers(0, 100_000),
    steps=st.lists(
        st.tuples(st.integers(0, 50), st.booleans(), st.lists(st.integers(1, FRAME), max_size=5)),
        max_size=60,
    ),
)
def test_law(
    rate_bits: int,
    ticks_per_second: int,
    surplus_bytes: int,
    steps: list[tuple[int, bool, list[int]]],
) -> None:
    """Whatever the wake-ups and the frames: bytes in (t1, t2] <= B + R * (t2 - t1)."""
    burst_bytes = FRAME + surplus_bytes
    one = bucket(rate_bits, ticks_per_second=ticks_per_second, burst_bytes=burst_bytes)
    now = 0
    sent: list[tuple[int, int]] = []
    for pause, was_waiting, lengths in steps:
        now += pause
        (one.accrue if was_waiting else one.rest)(now)
        for length in lengths:
            if one.is_open:
                one.charge(length)
                sent.append((now, length))
    for first in range(len(sent)):
        total = 0
        for now, length in sent[first:]:
            total += length
            assert (
                total * 8 * ticks_per_second
                <= burst_bytes * 8 * ticks_per_second + rate_bits * (now - sent[first][0])
            )


def test_time_off_the_processor_is_lost_beyond_the_surplus() -> None:
    """A frame found after 300 jiffies of which 300 were off: the surplus of 100 is not lost."""
    one = bucket(64_000, burst_bytes=FRAME + 800)
    assert one.admit(800, 800, 300, has_waited=False)
    one.missed(300 * 10**6)
    assert one.busy_ns(800) == 100 * 10**6 + 200 * 10**6


def test_a_pause_makes_up_for_time_off_the_processor() -> None:
    """A late wake-up now and then, with pauses longer than that between, loses nothing."""
    one = bucket(64_000, burst_bytes=FRAME + 800)
    for round_number in range(1, 11):
        assert one.admit(8, 8, 200 * round_number, has_waited=False)
        one.missed(80 * 10**6)
    assert one.busy_ns(80) == 10 * 10**6


def test_a_pause_that_was_none_adds_up() -> None:
    """Off for 180 of 200 jiffies, again and again: beyond the surplus of 100, 160 are lost."""
    one = bucket(64_000, burst_bytes=FRAME + 800)
    for round_number in range(1, 12):
        assert one.admit(8, 8, 200 * round_number, has_waited=False)
        one.missed(180 * 10**6)
    lost = 160 + 10 * 161 - 100  # each pause but the first begins with a jiffy of debt
    assert one.busy_ns(88) == (lost + 11) * 10**6


def test_time_without_a_master_is_not_lost() -> None:
    """What waits for a master earns credit as ever, of which none counts as lost."""
    one = bucket(64_000, burst_bytes=FRAME + 800)
    one.charge(800)
    one.excuse(10_000)
    assert one.is_open
    assert one.busy_ns(800) == 100 * 10**6


def test_a_change_of_the_bucket_alone_keeps_what_was_lost() -> None:
    """Busy time starts anew with another rate only."""
    one = bucket(64_000, burst_bytes=FRAME)
    one.accrue(1000)
    assert one.successor(settings(64_000, ticks_per_second=500), now=500).busy_ns(0) == 10**9
    assert one.successor(settings(128_000, ticks_per_second=1000), now=1000).busy_ns(0) == 0
