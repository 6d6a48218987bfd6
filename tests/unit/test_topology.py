"""A shaper whose frames would come back to it is recognised, however long the way round."""

from __future__ import annotations

from shaper.model import Link
from shaper.topology import would_loop


def link(ifindex: int, lower: int | None = None) -> Link:
    """Return a device, on top of another if `lower` is given."""
    return Link(ifindex, f"dev{ifindex}", 1500, b"", 1, True, True, "UP", lower=lower)


ETH, ONE, TWO, MACVLAN = 2, 3, 4, 5
LINKS = {each: link(each) for each in (ETH, ONE, TWO)} | {MACVLAN: link(MACVLAN, lower=ONE)}


def test_a_plain_master_is_no_loop() -> None:
    """A real device, or another shaper that ends at one, is a good master."""
    assert not would_loop(ONE, ETH, LINKS, {})
    assert not would_loop(TWO, ONE, LINKS, {ONE: ETH})


def test_its_own_master() -> None:
    """The shortest ring has one member."""
    assert would_loop(ONE, ONE, LINKS, {})


def test_a_ring_of_two() -> None:
    """Two shapers that are each other's master send for ever."""
    assert would_loop(TWO, ONE, LINKS, {ONE: TWO})


def test_a_ring_through_a_device_on_top() -> None:
    """A macvlan on a shaper leads back to it."""
    assert would_loop(ONE, MACVLAN, LINKS, {})
    assert would_loop(TWO, MACVLAN, LINKS, {ONE: TWO})


def test_somebody_elses_ring_ends_the_search() -> None:
    """A ring that this shaper is not part of is not followed for ever."""
    assert not would_loop(ETH, ONE, LINKS, {ONE: TWO, TWO: ONE})
