"""A shaper whose frames would come back to it is recognised, however long the way round."""

from __future__ import annotations

from collections.abc import Callable

from shaper.desired.topology import would_loop

ETH, ONE, TWO, MACVLAN, BRIDGE = 2, 3, 4, 5, 6
BELOW = {MACVLAN: [ONE], BRIDGE: [ETH, ONE]}


def attached(masters: dict[int, int]) -> Callable[[int], list[int]]:
    """Return where frames go when shapers have these masters."""
    return lambda index: [*BELOW.get(index, []), *filter(None, [masters.get(index)])]


def test_a_plain_master_is_no_loop() -> None:
    """A real device, or another shaper that ends at one, is a good master."""
    assert not would_loop(ONE, ETH, attached({}))
    assert not would_loop(TWO, ONE, attached({ONE: ETH}))


def test_its_own_master() -> None:
    """The shortest ring has one member."""
    assert would_loop(ONE, ONE, attached({}))


def test_a_ring_of_two() -> None:
    """Two shapers that are each other's master send for ever."""
    assert would_loop(TWO, ONE, attached({ONE: TWO}))


def test_a_ring_through_a_device_on_top() -> None:
    """A macvlan on a shaper leads back to it."""
    assert would_loop(ONE, MACVLAN, attached({}))
    assert would_loop(TWO, MACVLAN, attached({ONE: TWO}))


def test_a_ring_through_a_port() -> None:
    """One port of a bridge is enough, and the others do not matter."""
    assert would_loop(ONE, BRIDGE, attached({}))
    assert would_loop(TWO, BRIDGE, attached({ONE: TWO}))
    assert not would_loop(TWO, BRIDGE, attached({ONE: ETH}))


def test_somebody_elses_ring_ends_the_search() -> None:
    """A ring that this shaper is not part of is not followed for ever."""
    assert not would_loop(ETH, ONE, attached({ONE: TWO, TWO: ONE}))
