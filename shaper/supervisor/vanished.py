"""Routes through shapers that are there no longer, though their device is: told once.

The kernel removes a route together with the address that is its source (`src`), when a lease is
renewed or an address is set anew, and says nothing of it. What it carried then leaves unshaped. A
route without a source is gone because it was removed, and no command can be told for that.

What is remembered is bounded: so many shapers are looked at, and so many routes kept of each.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from shaper.desired.ip_route import format_route
from shaper.events import Event, Kind, tell
from shaper.kernel.route_messages import BY_ROUTERS
from shaper.kernel.routing import Routing
from shaper.network import PROTOCOL, Route

# Chosen.
_MAX_SHAPERS = 64
_MAX_ROUTES = 256


class KnownShaper(Protocol):
    """What has to be known of a shaper."""

    @property
    def ifname(self) -> str:
        """Its name."""

    @property
    def ifindex(self) -> int | None:
        """Its index; None while it has no device."""

    @property
    def is_up(self) -> bool:
        """As an administrator sets it; without that the kernel keeps no route through it."""


class Vanished:
    """Remembers the routes that others than we have put through shapers.

    Args:
        routing: requests to the kernel.
    """

    def __init__(self, routing: Routing) -> None:
        self._routing = routing
        self._known: dict[int, frozenset[Route]] = {}

    def look(self, shapers: Collection[KnownShaper]) -> None:
        """Tell of routes that are gone since the last look. Raises ShaperError."""
        known, self._known = self._known, {}
        if len(shapers) > _MAX_SHAPERS:
            return
        for shaper in shapers:
            if shaper.ifindex is not None and shaper.is_up:
                routes = self._routes(shaper.ifindex)
                self._known[shaper.ifindex] = routes
                _tell(shaper.ifname, known.get(shaper.ifindex, frozenset()), routes)

    def _routes(self, ifindex: int) -> frozenset[Route]:
        seen = self._routing.routes_through(ifindex)
        others = [each.route for each in seen if each.protocol not in (PROTOCOL, *BY_ROUTERS)]
        return frozenset(others if len(others) <= _MAX_ROUTES else ())


def _tell(ifname: str, before: frozenset[Route], now: frozenset[Route]) -> None:
    present = {(each.destination, each.table) for each in now}
    for route in before - now:
        if (route.destination, route.table) in present:
            continue  # it was replaced by another through the same shaper
        words = format_route(route)
        if route.source is not None:
            tell(
                Event(Kind.ROUTE, ifname),
                "%s: route %s is gone, maybe with the address %s, and what it carried is not "
                "shaped (ip %sroute add %s dev %s)",
                ifname,
                words,
                route.source,
                "-6 " if route.version == 6 else "",
                words,
                ifname,
            )
        else:
            tell(Event(Kind.ROUTE, ifname), "%s: route %s was removed", ifname, words)
