"""When a bell is set, what a ring costs, and when it is given up."""

from __future__ import annotations

import pytest

from shaper.forwarder.bell_pull import BellPull
from shaper.model import RING_ROW_BYTES, RingWord

MS = 1_000_000


@pytest.fixture
def row() -> memoryview:
    """Return the words of a ring."""
    return memoryview(bytearray(RING_ROW_BYTES)).cast("Q")


def test_the_bell_is_set_where_there_is_one_and_mute_otherwise(row: memoryview) -> None:
    """A predecessor may have left it set."""
    row[RingWord.BELL] = 1
    without = BellPull(row, is_there=False)
    assert row[RingWord.BELL] == 0
    assert not without.set(0)
    assert row[RingWord.BELL] == 0
    bell = BellPull(row, is_there=True)
    assert bell.set(0)
    assert row[RingWord.BELL] == 1
    bell.mute()
    assert row[RingWord.BELL] == 0


def test_rings_are_earned_by_departures(row: memoryview) -> None:
    """Sixteen are saved at most, and each departure earns a half."""
    bell = BellPull(row, is_there=True)
    rung = 0
    while bell.set(0):
        bell.rang(0, 0)
        rung += 1
    assert rung == 16
    bell.departed()
    assert not bell.set(0)
    bell.departed()
    assert bell.set(0)


def ring(bell: BellPull, *late_ns: int) -> None:
    """Ring, each time so late, and earn the next by two departures."""
    for each in late_ns:
        bell.rang(0, each)
        bell.departed()
        bell.departed()


def test_a_bell_that_rings_late_is_not_waited_for(row: memoryview) -> None:
    """For ten seconds: where half a millisecond passes until it wakes, a frame waits as long."""
    bell = BellPull(row, is_there=True)
    ring(bell, *[MS, MS // 2] * 100, *[MS // 2] * 10)  # as many in time, and then more
    assert bell.set(0)
    ring(bell, *[MS] * 9)
    assert not bell.set(9999 * MS)
    assert bell.set(10_001 * MS)


def test_a_bell_that_rings_late_from_the_first_is_soon_given_up(row: memoryview) -> None:
    """As on a kernel that has no interrupts for it; and then tried anew as briefly."""
    bell = BellPull(row, is_there=True)
    for now_ns in (0, 10_003 * MS):
        assert bell.set(now_ns)
        bell.rang(now_ns, now_ns + MS)
        assert bell.set(now_ns + MS)
        bell.rang(now_ns + MS, now_ns + 2 * MS)
        assert not bell.set(now_ns + 2 * MS)
