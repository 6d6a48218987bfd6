"""Whose call is next, what callers may use of the processor, and what is logged of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.control.complaints import Complaints
from shaper.control.turns import Share, Turns


def test_root_comes_first_and_the_others_in_turn() -> None:
    """However many a user has waiting, another's first comes after one of them."""
    turns: Turns[str] = Turns()
    for name in ("a1", "a2", "a3"):
        turns.add(1, name)
    turns.add(2, "b1")
    turns.add(0, "root")
    taken = [turns.take(only_root=False) for _ in range(6)]
    assert taken == ["root", "a1", "b1", "a2", "a3", None]


def test_only_root_is_served_when_the_rest_is_spent() -> None:
    """Nothing else is taken, and it is not lost."""
    turns: Turns[str] = Turns()
    turns.add(1, "a")
    turns.add(0, "root")
    assert turns.has_root
    assert turns.take(only_root=True) == "root"
    assert turns.take(only_root=True) is None
    assert turns.take(only_root=False) == "a"
    assert turns.is_empty


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans())))
def test_what_is_discarded_is_not_taken(added: list[tuple[int, bool]]) -> None:
    """Everything that waits is taken once, and nothing of what left."""
    turns: Turns[int] = Turns()
    for number, (uid, _) in enumerate(added):
        turns.add(uid, number)
    for number, (uid, has_left) in enumerate(added):
        if has_left:
            turns.discard(uid, number)
            turns.discard(uid, number)
    taken = []
    while (each := turns.take(only_root=False)) is not None:
        taken.append(each)
    assert sorted(taken) == [number for number, (_, has_left) in enumerate(added) if not has_left]
    assert turns.is_empty


def test_a_share_is_earned_before_more_is_spent() -> None:
    """A quarter of a second's work takes a second to earn, and no more than a bit is saved."""
    share = Share(0.25, 1_000_000)
    assert share.wait(0.0) == 0
    share.spend(251_000_000)
    assert share.wait(0.0) == pytest.approx(1.0)
    assert share.wait(0.5) == pytest.approx(0.5)
    assert share.wait(1.1) == 0
    assert share.wait(100.0) == 0
    share.spend(1_000_001)
    assert share.wait(100.0) > 0


def test_one_line_a_minute_for_each_user() -> None:
    """What is left out is counted, and told with the next line."""
    complaints = Complaints()
    assert complaints.admit(1, 0.0) == 0
    assert [complaints.admit(1, 1.0) for _ in range(5)] == [None] * 5
    assert complaints.admit(2, 1.0) == 0
    assert complaints.admit(1, 60.0) == 5
    assert complaints.admit(1, 60.0) is None


def test_many_users_do_not_fill_the_log() -> None:
    """A thousand users have seventeen lines a minute between them, and memory stays flat."""
    complaints = Complaints()
    for minute in range(3):
        lines = [complaints.admit(uid, 60.0 * minute) for uid in range(1000)]
        assert sum(each is not None for each in lines) <= 17
    assert len(vars(complaints)["_until"]) <= 17
