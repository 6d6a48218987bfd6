"""Which devices the packets of a tunnel leave by: asked now and then, and remembered between."""

from __future__ import annotations

import time
from collections.abc import Callable

from shaper.kernel import tunnels
from shaper.model import Link
from shaper.network import IpAddress

Ways = list[tuple[IpAddress, int]]

# Chosen: soon enough for `show` after a route was added; a tenth of the time at most.
_REMEMBERED_S = 2.0
_WINDOW_S = 0.1
_MOST_S = 0.01  # of each window, however many tunnels there are


class TunnelWays:
    """Remembers where tunnels lead.

    Args:
        ask: returns the far ends of a tunnel, each with the index of the device that leads there.
        clock: the time in seconds.
    """

    def __init__(
        self,
        ask: Callable[[Link], Ways] = tunnels.ways,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._known: dict[int, tuple[float, Ways]] = {}
        self._window = -_WINDOW_S
        self._spent = 0.0

    def of(self, link: Link) -> Ways:
        """Return what is known of a tunnel: two seconds old at most, unless there are many."""
        now = self._clock()
        until, ways = self._known.get(link.ifindex, (0.0, []))
        if now < until or not self._may_ask(now):
            return ways
        ways = self._ask(link)
        after = self._clock()
        self._spent += after - now
        self._known[link.ifindex] = (after + _REMEMBERED_S, ways)
        return ways

    def forget(self, indices: set[int]) -> None:
        """Forget devices that changed or are gone."""
        for ifindex in indices & self._known.keys():
            del self._known[ifindex]

    def _may_ask(self, now: float) -> bool:
        if now - self._window >= _WINDOW_S:
            self._window, self._spent = now, 0.0
        return self._spent < _MOST_S
