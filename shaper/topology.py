"""Which device a shaper's frames come out of, and whether they would ever come out. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from shaper.model import Link


def would_loop(
    own_index: int,
    master_index: int,
    links: Mapping[int, Link],
    masters: Mapping[int, int],
) -> bool:
    """Whether binding a shaper to this master would lead its frames back to itself.

    Args:
        own_index: the shaper.
        master_index: the device it is to be bound to.
        links: every device, by index; it names what it is on top of (vlan, macvlan) or a port of
            (bridge, bond).
        masters: the master of every attached shaper, by the shaper's index.
    """
    seen: set[int] = set()
    waiting = [master_index]
    while waiting:
        index = waiting.pop()
        if index == own_index:
            return True
        if index in seen:
            continue
        seen.add(index)
        link = links.get(index)
        below = [masters.get(index), link.lower if link is not None else None]
        below += [each.ifindex for each in links.values() if each.upper == index]
        waiting.extend(each for each in below if each is not None)
    return False
