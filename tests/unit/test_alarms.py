"""An alarm is raised for each fault within five seconds, and never where nothing is wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from shaper.desired.alarms import FAULTS, Alarm, Alarms, Change, Observation

SECOND = 1_000_000_000
RATE = 10_000_000


@dataclass
class WrittenShaper:
    """A shaper whose seconds a test writes."""

    alarms: Alarms = field(default_factory=Alarms)
    now_ns: int = 0
    rate_bits: int = RATE
    busy_ns: int = 0
    busy_bytes: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def second(
        self,
        percent: float = 100,
        share: float = 100,
        *,
        is_stalled: bool = False,
        bypass: str = "",
        **drops: int,
    ) -> list[Change]:
        """Let a second pass: busy for a share of it, and achieving a percentage meanwhile."""
        busy_ns = int(SECOND * share / 100)
        self.now_ns += SECOND
        self.busy_ns += busy_ns
        self.busy_bytes += int(self.rate_bits * busy_ns / SECOND / 8 * percent / 100)
        for reason, count in drops.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        seen = Observation(
            self.now_ns,
            self.rate_bits,
            self.busy_ns,
            self.busy_bytes,
            dict(self.dropped),
            is_stalled=is_stalled,
            bypass=bypass,
        )
        return self.alarms.observe(seen)


@pytest.fixture
def shaper() -> WrittenShaper:
    """A shaper that was observed once."""
    shaper = WrittenShaper()
    assert shaper.second(share=0) == []
    return shaper


def test_five_slow_seconds_are_an_alarm_and_one_good_ends_it(shaper: WrittenShaper) -> None:
    """It is told once when it begins, with what was achieved, and once when it ends."""
    for _ in range(4):
        assert shaper.second(97.0) == []
    (raised,) = shaper.second(97.0)
    assert (raised.alarm, raised.is_raised) == (Alarm.SLOW, True)
    assert "9.70Mbit" in raised.sentence
    assert "10Mbit" in raised.sentence
    assert shaper.second(97.0) == []
    assert shaper.second(99.0) == [Change(Alarm.SLOW, False, raised.sentence)]
    assert shaper.alarms.raised == {}


def test_a_slow_shaper_that_falls_idle_is_in_alarm_no_longer(shaper: WrittenShaper) -> None:
    """Five seconds later nothing is known that would be wrong."""
    for _ in range(5):
        shaper.second(50)
    assert [len(shaper.second(share=0)) for _ in range(5)] == [0, 0, 0, 0, 1]


def test_a_slow_second_now_and_then_is_none(shaper: WrittenShaper) -> None:
    """The machine may stutter."""
    for _ in range(100):
        for percent in (90, 90, 90, 90, 100):
            assert shaper.second(percent) == []


@pytest.mark.parametrize("rate_bits", [8, 300, 9600, 64_000, 1_000_000])
@pytest.mark.parametrize("percent", [50, 100])
def test_a_slow_line_is_judged_by_whole_frames(rate_bits: int, percent: int) -> None:
    """At 9600 bit/s a frame takes more than a second, and leaves in one of them."""
    shaper = WrittenShaper(rate_bits=rate_bits)
    frame_ns = 1514 * 8 * SECOND // rate_bits * 100 // percent
    changes: list[Change] = []
    for _ in range(60 + 20 * frame_ns // SECOND):
        shaper.now_ns += SECOND
        frames = shaper.now_ns // frame_ns
        shaper.busy_bytes = frames * 1514
        shaper.busy_ns = frames * frame_ns
        changes += shaper.alarms.observe(
            Observation(shaper.now_ns, rate_bits, shaper.busy_ns, shaper.busy_bytes)
        )
    assert [change.is_raised for change in changes] == ([True] if percent == 50 else [])


def test_a_stall_is_an_alarm_at_once(shaper: WrittenShaper) -> None:
    """And ends at once."""
    assert [change.is_raised for change in shaper.second(is_stalled=True)] == [True]
    assert shaper.second(is_stalled=True) == []
    assert [change.is_raised for change in shaper.second()] == [False]


@pytest.mark.parametrize("reason", FAULTS)
def test_a_drop_that_is_a_fault_is_an_alarm(shaper: WrittenShaper, reason: str) -> None:
    """It names reason and count, and ends after five seconds without another."""
    (raised,) = shaper.second(**{reason: 3})
    assert raised.alarm is Alarm.FAULTS
    assert f"3 for {reason}" in raised.sentence
    assert [len(shaper.second()) for _ in range(5)] == [0, 0, 0, 0, 1]


def test_traffic_that_passes_by_is_an_alarm_after_three_seconds(shaper: WrittenShaper) -> None:
    """A route that is changed and changed back is none."""
    for _ in range(2):
        assert shaper.second(share=0, bypass="10.1.0.0/24 leaves by eth1") == []
    assert shaper.second(share=0) == []
    told = [shaper.second(share=0, bypass="10.1.0.0/24 leaves by eth1") for _ in range(3)]
    assert [len(each) for each in told] == [0, 0, 1]
    assert "10.1.0.0/24" in told[-1][0].sentence
    assert [change.is_raised for change in shaper.second()] == [False]


def test_another_speed_or_forwarder_begins_anew(shaper: WrittenShaper) -> None:
    """Sums of two rates are not compared; nor are those of a new forwarder with the old one's."""
    for _ in range(4):
        shaper.second(50)
    shaper.rate_bits = 2 * RATE
    assert shaper.second(50) == []
    for _ in range(4):
        assert shaper.second(50) == []
    shaper.busy_ns = shaper.busy_bytes = 0
    assert shaper.second(50) == []


def test_an_observer_that_stood_still_raises_nothing(shaper: WrittenShaper) -> None:
    """A minute without a look is not sixty seconds of whatever came out."""
    shaper.now_ns += 60 * SECOND
    for _ in range(4):
        assert shaper.second(50) == []


@pytest.mark.parametrize("seed", range(5))
def test_an_hour_of_good_traffic_raises_nothing(seed: int) -> None:
    """Idle, half busy, overloaded, bursts, limit and codel drops, a stutter: no alarm."""
    random.seed(seed)
    shaper = WrittenShaper()
    stutter = 0
    for _ in range(3600):
        percent = random.uniform(98.2, 100.0)
        if stutter == 0 and random.random() < 0.01:
            stutter = random.randint(1, 4)
        if stutter:
            stutter -= 1
            percent = random.uniform(10, 97)
        share = random.choice((0, 1, 30, 89, 95, 100))
        drops = {"limit": random.randint(0, 1000), "codel": random.randint(0, 9), "flush": 1}
        assert shaper.second(percent, share, **drops) == []
        # A stutter is over when a second was good; a random one may follow at once.
        if not stutter:
            assert shaper.second(99.5, 100) == []
