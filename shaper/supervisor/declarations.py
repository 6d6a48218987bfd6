"""What is declared for a shaper beside what the kernel has of it and of its master."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_interface

from shaper.desired.declared import MasterNetwork, NextHop, Presence, presence
from shaper.desired.inventory import Seen, inventory
from shaper.kernel.route_messages import BY_ROUTERS, RTPROT_KERNEL, SeenAddress
from shaper.kernel.routing import Routing
from shaper.network import DEFAULT_METRICS, PROTOCOL, IpInterface, Network, Route, Rule
from shaper.supervisor.subjects import Subject


class Declarations:
    """Looks at what a declaration depends on. Every method raises ShaperError.

    Args:
        routing: requests to the kernel.
    """

    def __init__(self, routing: Routing) -> None:
        self._routing = routing

    def presence(self, subject: Subject) -> Presence:
        """Return what should be in the kernel because of a shaper."""
        network, master = subject.network, MasterNetwork()
        follows = network.follows_master or any(route.follows_master for route in network.routes)
        if follows and subject.master_index is not None:
            master = self._master_network(subject.master_index)
        return presence(network, master)

    def inventory(self, subjects: Iterable[Subject]) -> dict[str, Network]:
        """Return for each shaper a declaration of everything that concerns it now, for `save`."""
        rules = tuple(
            seen.rule for seen in self._routing.rules() if seen.protocol != RTPROT_KERNEL
        )
        found = {}
        for subject in subjects:
            wanted = self.presence(subject)
            seen = self._seen(subject, rules)
            found[subject.ifname] = inventory(subject.ifname, subject.network, wanted, seen)
            # A rule that concerns two shapers is saved with the first.
            rules = tuple(rule for rule in rules if rule not in found[subject.ifname].rules)
        return found

    def _seen(self, subject: Subject, rules: tuple[Rule, ...]) -> Seen:
        if subject.ifindex is None:
            return Seen(is_up=False, addresses=(), routes=(), rules=())
        addresses = [
            each
            for each in self._routing.addresses(subject.ifindex)
            if not each.address.is_link_local
        ]
        routes = self._routing.routes_through(subject.ifindex)
        return Seen(
            is_up=subject.is_up,
            addresses=tuple(map(_written, addresses)),
            routes=(
                *(each.route for each in routes if each.protocol not in BY_ROUTERS),
                *_to_far_ends(addresses),
            ),
            rules=rules,
        )

    def _master_network(self, ifindex: int) -> MasterNetwork:
        seen = [each for each in self._routing.addresses(ifindex) if each.is_lasting]
        defaults = [
            each.route for each in self._routing.default_hops(ifindex) if each.protocol != PROTOCOL
        ]
        sources = {each.address.version: each.address.ip for each in reversed(seen)}
        hops = {}
        for route in sorted(defaults, key=_metric, reverse=True):
            source = sources.get(4) if route.version == 4 else None
            hops[route.version] = NextHop(route.gateway, route.source or source)
        return MasterNetwork(tuple(each.address for each in seen), hops)


def _written(seen: SeenAddress) -> IpInterface:
    """Return an address that brings no other route with it than the one there is."""
    is_plain = seen.onlink == seen.address.network
    return seen.address if is_plain else ip_interface(seen.address.ip)


def _to_far_ends(addresses: Iterable[SeenAddress]) -> Iterator[Route]:
    """Yield the routes that addresses with a far end (`peer`) bring, which ours have not."""
    for seen in addresses:
        if seen.onlink not in (None, seen.address.network):
            yield Route(seen.onlink)


def _metric(route: Route) -> int:
    return route.metric or DEFAULT_METRICS[route.version] or 0
