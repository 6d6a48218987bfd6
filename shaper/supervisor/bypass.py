"""Finds traffic that passes a shaper by: what was routed through it leaves by another device.

Of each shaper that takes what is routed to it, some destinations are remembered that did lead
through it. While its count stands still, the kernel is asked for the way to them. Where that is
another device, which is no shaper and goes on sending, they pass by. A route that was there for
marked or forwarded packets only never led there by itself, so it is no reason for an alarm.

A look costs some 20 microseconds a destination, and a list of routes much more where tables are
large, so both have a share of the time: `_LOOKS_NS` a second, and one list for 500 times as long
as it took, 5000 times where the shaper sends nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address

from shaper.errors import ShaperError
from shaper.kernel.glance import Glance
from shaper.kernel.netlink import Netlink
from shaper.network import IpAddress, IpNetwork

# Chosen.
_LOOK_NS = 1_500_000_000  # between two looks at one shaper that is not under suspicion
_LOOKS_NS = 500_000
_LEARN_NS = 5_000_000_000  # between two lists of the routes of one shaper
_LISTS_SHARE = 500
_IDLE_LISTS_SHARE = 5000  # of shapers that send nothing
_MOST_TARGETS = 4  # of a shaper; a look is at all of them
# Some address that is neither local nor private, for a default route: RFC 5737, RFC 3849.
_ANYWHERE4, _ANYWHERE6 = ip_address("198.51.100.1"), ip_address("2001:db8::1")


@dataclass
class KnownWay:
    """What is known of where a shaper's traffic goes.

    Attributes:
        targets: destinations that led through it.
        bypass: how traffic passes by, in words; empty where it does not.
    """

    targets: list[IpAddress] = field(default_factory=list)
    bypass: str = ""
    learned_ns: int | None = None
    looked_ns: int = 0
    suspect: tuple[int, int] | None = None  # the device it leaves by, and how much that had sent

    def clear(self) -> None:
        """Forget that anything passes by."""
        self.bypass, self.suspect = "", None


class Bypasses:
    """Looks at shapers in turn.

    Args:
        glance: what is asked for ways and counts.
        netlink: what is asked for routes.
        name_of: returns the name of a device.
        shapers: the indices of all shapers; what leaves by one of them is shaped.

    Attributes:
        suspects: shapers whose destinations do not lead through them.
    """

    def __init__(
        self,
        glance: Glance,
        netlink: Netlink,
        name_of: Callable[[int], str],
        shapers: Callable[[], Collection[int]],
    ) -> None:
        self._glance = glance
        self._netlink = netlink
        self._name_of = name_of
        self._shapers = shapers
        self._ways: dict[int, KnownWay] = {}
        self._queue: deque[int] = deque()  # indices of shapers, the next one first
        self.suspects: set[int] = set()
        self._lists_at_ns = 0  # when routes may be listed again

    def of(self, ifindex: int) -> str:
        """Return how traffic passes a shaper by; empty where it does not."""
        if ifindex not in self.suspects:
            return ""
        way = self._ways.get(ifindex)
        return way.bypass if way is not None else ""

    def targets(self, ifindex: int) -> list[IpAddress]:
        """Return destinations that led through a shaper."""
        way = self._ways.get(ifindex)
        return list(way.targets) if way is not None else []

    def forget(self, ifindex: int) -> None:
        """Forget a shaper that is gone, or that takes nothing by route any more."""
        self._ways.pop(ifindex, None)
        self.suspects.discard(ifindex)

    def keep(self, routed: set[int]) -> None:
        """Forget all shapers but these."""
        for ifindex in self._ways.keys() - routed:
            self.forget(ifindex)

    def sent(self, ifindex: int, now_ns: int) -> None:
        """Note that a shaper has sent: nothing passes by, and it has routes."""
        way = self._way(ifindex)
        way.clear()
        self.suspects.discard(ifindex)
        self._learn(ifindex, way, now_ns)

    def look(self, still: Collection[int], now_ns: int) -> None:
        """Look at shapers whose counts stand still, those under suspicion first."""
        until_ns = time.monotonic_ns() + _LOOKS_NS
        standing = set(still)
        for ifindex in self.suspects & standing:
            self._look_at(ifindex, self._way(ifindex), now_ns)
        for ifindex in standing - self._ways.keys():
            self._way(ifindex)
        for number in range(len(self._queue)):
            way = self._ways.get(self._queue[0])
            is_recent = way is not None and now_ns - way.looked_ns < _LOOK_NS
            if is_recent or (number and time.monotonic_ns() > until_ns):
                return  # those behind it have been looked at later
            ifindex = self._queue.popleft()
            if way is None:
                continue
            self._queue.append(ifindex)
            if ifindex in standing and ifindex not in self.suspects:
                self._look_at(ifindex, way, now_ns)
            way.looked_ns = now_ns

    def _way(self, ifindex: int) -> KnownWay:
        way = self._ways.get(ifindex)
        if way is None:
            way = self._ways[ifindex] = KnownWay()
            if ifindex not in self._queue:
                self._queue.appendleft(ifindex)
        return way

    def _look_at(self, ifindex: int, way: KnownWay, now_ns: int) -> None:
        self.suspects.discard(ifindex)
        if not way.targets or way.suspect is None:
            self._learn(ifindex, way, now_ns, _IDLE_LISTS_SHARE)
        if not way.targets:
            return
        found = self._elsewhere(ifindex, way)
        if found is None:
            way.clear()
            return
        target, leaving = found
        sent = self._glance.sent_packets(leaving) or 0
        before, way.suspect = way.suspect, (leaving, sent)
        self.suspects.add(ifindex)
        if way.bypass:
            return
        if before is not None and before[0] == leaving and sent > before[1]:
            way.bypass = f"what goes to {target} leaves by {self._name_of(leaving)}"

    def _elsewhere(self, ifindex: int, way: KnownWay) -> tuple[IpAddress, int] | None:
        """Return a destination that leaves by a device that is no shaper, and that device."""
        shapers = self._shapers()
        for target in way.targets:
            leaving = self._glance.way_to(target)
            if leaving is not None and leaving != ifindex and leaving not in shapers:
                return target, leaving
        return None

    def _learn(self, ifindex: int, way: KnownWay, now_ns: int, share: int = _LISTS_SHARE) -> None:
        """Remember destinations that lead through a shaper; keep the old where there are none."""
        is_fresh = way.learned_ns is not None and now_ns - way.learned_ns < _LEARN_NS
        if is_fresh or now_ns < self._lists_at_ns:
            return
        way.learned_ns = now_ns
        began_ns = time.monotonic_ns()
        try:
            networks = self._netlink.networks_through(ifindex)
        except ShaperError:
            return
        self._lists_at_ns = now_ns + share * (time.monotonic_ns() - began_ns)
        if not networks:
            return
        kept = [each for each in way.targets if any(_holds(some, each) for some in networks)]
        for network in sorted(networks, key=lambda each: -each.prefixlen):
            target = _address_in(network)
            if len(kept) == _MOST_TARGETS:
                break
            if target not in kept and self._glance.way_to(target) == ifindex:
                kept.append(target)
        way.targets = kept


def _holds(network: IpNetwork, address: IpAddress) -> bool:
    return network.version == address.version and address in network


def _address_in(network: IpNetwork) -> IpAddress:
    """Return an address that a packet may go to."""
    if network.prefixlen == 0:
        return _ANYWHERE4 if isinstance(network, IPv4Network) else _ANYWHERE6
    if network.num_addresses <= 2:
        return network.network_address
    return network.network_address + 1
