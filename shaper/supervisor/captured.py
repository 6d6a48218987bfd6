"""Traffic that is taken from a device to one shaper: the programs, kept as the plan says.

The shaper is brought up, once, when its traffic is first taken. Whoever takes it down afterwards
wants it to be down, so the programs are then removed and the master works as without us.
"""

from __future__ import annotations

import contextlib
import socket

from shaper.desired import captures
from shaper.desired.plan import Plan
from shaper.errors import KernelRefused
from shaper.kernel.captor import Captor, Taken, WantedCapture
from shaper.kernel.netlink import Netlink
from shaper.model import Capture, Framing, Group, Link

_IFF_UP = 0x1  # specified: include/uapi/linux/if.h


class CapturedTraffic:
    """What is taken to one shaper.

    Args:
        captor: the programs of this daemon.
        netlink: where requests go.
        ifindex: the shaper.
    """

    def __init__(self, captor: Captor, netlink: Netlink, ifindex: int) -> None:
        self._captor = captor
        self._netlink = netlink
        self._ifindex = ifindex
        self._wanted: WantedCapture | None = None
        self._taken: Taken | None = None
        self._group: Group | None = None
        self._has_raised = False
        self._was_up = False

    @property
    def is_in_force(self) -> bool:
        """Whether traffic is taken now."""
        return self._taken is not None

    @property
    def is_in_place(self) -> bool:
        """Whether nothing but we have taken away what takes traffic, if there is anything."""
        return self._taken is None or self._taken.is_in_place()

    def prepare(self, plan: Plan) -> None:
        """Bring the shaper up, the first time that something is to be taken.

        Raises NotPermitted or KernelRefused when this kernel does not allow it.
        """
        if not plan.is_capturing:
            self._has_raised &= plan.capture is not Capture.ROUTE
            return
        self._captor.check()
        if not self._has_raised:
            self._netlink.set_link(self._ifindex, flags=_IFF_UP, change=_IFF_UP)
            self._has_raised, self._was_up = True, False

    def realize(self, plan: Plan, own: Link, master: Link | None) -> None:
        """Make true what a plan says of capture. Raises as `prepare` does."""
        is_downed = self._was_up and not own.is_up
        self._was_up |= own.is_up
        if master is None or is_downed or not plan.is_capturing:
            self.release()
        else:
            self._take(plan, master)

    def put_group(self, group: Group) -> None:
        """Take what a new group sends, at once; a plan follows, which says where it belongs."""
        if self._taken is not None and group != self._group:
            with contextlib.suppress(KernelRefused):  # it is gone again
                self._set_group(self._taken, group)

    def trust(self, sock: socket.socket | None, *, is_own: bool = False) -> None:
        """Know what the shaper sends by this socket; None: it sends nothing any more.

        Args:
            sock: the socket.
            is_own: no other shaper sends by it.
        """
        self._captor.trust(self._ifindex, sock, is_own=is_own)

    def release(self) -> None:
        """Take nothing any more."""
        if self._taken is not None:
            self._taken.close()
        self._taken = self._wanted = None

    def _take(self, plan: Plan, master: Link) -> None:
        before = self._wanted
        rank = captures.rank(plan.capture, plan.group, before.rank if before is not None else 0)
        wanted = WantedCapture(
            plan.capture, self._ifindex, master.ifindex, plan.framing is Framing.ETHERNET, rank
        )
        if before is None or before._replace(rank=rank) != wanted:
            self.release()
        if self._taken is None or wanted != self._wanted:
            self._place(wanted, plan.group)
        elif plan.group != self._group:
            self._set_group(self._taken, plan.group)

    def _place(self, wanted: WantedCapture, group: Group | None) -> None:
        """Put the programs where they belong; those at another place go when these are there."""
        taken = self._captor.take(wanted)
        try:
            self._set_group(taken, group)
        finally:
            self.release()
            self._taken, self._wanted = taken, wanted

    def _set_group(self, taken: Taken, group: Group | None) -> None:
        self._group = None
        taken.set_group(group.path if group is not None else None)
        self._group = group
