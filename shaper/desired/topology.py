"""Which device a shaper's frames come out of, and whether they would ever come out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


def would_loop(own_index: int, master_index: int, below: Callable[[int], Iterable[int]]) -> bool:
    """Whether binding a shaper to this master would lead its frames back to itself.

    Args:
        own_index: the shaper.
        master_index: the device it is to be bound to.
        below: tells where the frames of a device go: the master of a shaper, what a vlan or
            macvlan is on top of, the ports of a bridge or bond.
    """
    return leads_to(master_index, lambda index: index == own_index, below)


def leads_to(
    start: int, is_wanted: Callable[[int], bool], below: Callable[[int], Iterable[int]]
) -> bool:
    """Whether a device, or one that its frames go on to, is wanted."""
    return any(map(is_wanted, reached(start, below)))


def reached(start: int, below: Callable[[int], Iterable[int]]) -> Iterator[int]:
    """Return a device and all that its frames go on to, each once."""
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        index = waiting.pop()
        if index not in seen:
            seen.add(index)
            yield index
            waiting.extend(below(index))
