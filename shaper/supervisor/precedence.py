"""Which shapers a daemon takes over first from the one before it: those that are in use.

Their forwarder goes on until all is ready for the next one. So what is sent by a device while the
daemon starts tells whether it is in use now, and what ever was sent, whether it was.
"""

from __future__ import annotations

from collections.abc import Iterable

from shaper.kernel.netlink import Netlink
from shaper.model import Spec
from shaper.supervisor.together import FEW_AT_ONCE, MANY_AT_ONCE


class Precedence:
    """Looks at the devices twice. Every method raises ShaperError.

    Args:
        netlink: where requests go.
        is_needed: there is a daemon to take over from; else all stays in its order.

    Attributes:
        at_once: how many are taken over at once.
    """

    def __init__(self, netlink: Netlink, *, is_needed: bool) -> None:
        self.at_once = FEW_AT_ONCE if is_needed else MANY_AT_ONCE
        self._netlink = netlink
        self._is_needed = is_needed
        self._before: dict[str, int] = {}

    def look(self) -> None:
        """Look for the first time."""
        if self._is_needed:
            self._before = self._netlink.sent_packets()

    def order(self, specs: Iterable[Spec]) -> list[Spec]:
        """Look again; return shapers as they are to be taken over, those alike as they were."""
        if not self._is_needed:
            return [*specs]
        now = self._netlink.sent_packets()

        def rank(spec: Spec) -> tuple[bool, bool]:
            sent = now.get(spec.ifname, 0)
            return sent == self._before.get(spec.ifname, 0), not sent

        return sorted(specs, key=rank)
