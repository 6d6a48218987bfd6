"""One shaper device: makes plans true, in the kernel and in the forwarder.

Nothing is decided here. Each attribute is set when the plan for it has changed, so that an
administrator's own settings (an MTU of the device, say) are left alone until the master's change.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
from collections.abc import Callable
from dataclasses import fields, replace

from shaper.channel import messages
from shaper.desired.plan import ALIAS_PREFIX, ETHERNET_HEADER_BYTES, Plan
from shaper.errors import KernelRefused, ShaperError
from shaper.events import Event, Kind, tell
from shaper.kernel.neighbours import NO_IPV6, Neighbours
from shaper.kernel.netlink import Netlink
from shaper.kernel.sysctl import set_ipv6_mtu
from shaper.kernel.tap import Tap
from shaper.model import MAX_LIMIT_PACKETS, Capture, Framing, Link, Queue, Spec
from shaper.supervisor.captured import CapturedTraffic
from shaper.supervisor.master_sockets import MasterSockets
from shaper.supervisor.path_handle import PathHandle
from shaper.supervisor.process import Forwarder
from shaper.supervisor.ring_cap import RingCap

# Specified: include/uapi/linux/if.h, if_link.h.
_IFF_NOARP = 0x80
_ADDR_GEN_MODE_NONE = 1
_IPV6_MIN_MTU = 1280  # RFC 8200, section 5; below it the kernel gives a device no IPv6

# Chosen: with offload off the kernel's stack still builds frames up to gso_max_size and cuts them
# up itself; this makes it hand over about one at a time. It takes no 0.
_SMALLEST_GSO_BYTES = 2048
_BINDING = {"has_carrier", "framing", "capture", "is_tunnel"}  # fields of a plan
_PLAN_FIELDS = frozenset(each.name for each in fields(Plan))

_log = logging.getLogger(__name__)


class Device:
    """A shaper's TAP and what has been made true of it.

    Args:
        spec: what the shaper should be.
        tap: its open TAP.
        ifindex: the TAP's index.
        slot: its row on the board, by which the forwarder knows it.
        netlink: where requests go.
        neighbours: resolves its neighbours.
        sockets: where its master's socket is lent.
        captured: what is taken to it from a device.
        ring_cap: keeps flows from filling its ring.
    """

    def __init__(
        self,
        spec: Spec,
        tap: Tap,
        ifindex: int,
        slot: int,
        netlink: Netlink,
        neighbours: Neighbours,
        sockets: MasterSockets,
        set_speed: Callable[[str, int | None], None],
        captured: CapturedTraffic,
        ring_cap: RingCap,
    ) -> None:
        self.spec = spec
        self.ifindex = ifindex
        self.slot = slot
        self.last_refusal = ""  # what was last logged of it, so that trying again is not
        self._alias: str | None = None  # as a predecessor left it
        self.was_kept = False  # it outlived a restart, with its carrier and its routes
        self.was_adopted = False  # an earlier daemon made the device, and it may have routes
        self.last_obstacle: str | None = None  # the same of why its master cannot be used
        self.master_since = -math.inf  # when the master was found by its name, if it was
        self.master_index: int | None = None
        self.master_name: str | None = None
        self.plan: Plan | None = None
        self._done: Plan | None = None  # the plan, once all of it is true
        self._mtu: int | None = None  # what we set last; it may have been changed since
        # Lengths of the ring that events still under way may show, and that we are about to set.
        self._outdated_ring_frames: set[int] = set()
        self.captured, self._tap = captured, tap
        self._netlink, self._neighbours = netlink, neighbours
        self._sockets, self._set_speed = sockets, set_speed
        self._path = PathHandle(slot, ring_cap)
        self._had_carrier = self._was_up = False

    async def prepare(self) -> None:
        """Silence the device: no address of its own, no solicitation, no carrier.

        One that outlived a restart is as it should be, and stays so: it has carrier and routes.
        """
        if self.was_kept:
            self._had_carrier = True
            for seen in self._netlink.link(self.ifindex):
                self._alias = seen.get_attr("IFLA_IFALIAS")
            self._neighbours.prepare(self.ifindex)
            return
        self._tap.set_carrier(is_on=False)
        self._silence(ifalias=ALIAS_PREFIX)

    def _silence(self, **others: object) -> None:
        """Take from the device what it would send by itself, and set other attributes with it."""
        try:
            self._netlink.set_link(self.ifindex, addr_gen_mode=_ADDR_GEN_MODE_NONE, **others)
        except KernelRefused as error:
            if error.errno not in NO_IPV6:
                raise
            if others:
                self._netlink.set_link(self.ifindex, **others)
        self._neighbours.prepare(self.ifindex)

    async def hand_over(self, forwarder: Forwarder) -> None:
        """Let this forwarder carry the frames; everything it has to know is told anew."""
        plan, self._done = self._done, None
        await self._path.hand_over(forwarder, self._tap.lend())
        if plan is not None:
            await self._path.configure(plan.settings)
            await self._bind(plan, None)
            self._done = plan

    def holds_frames(self) -> bool:
        """Whether frames wait for its forwarder."""
        return self._tap.holds_frames()

    async def realize(self, plan: Plan, own: Link, master: Link | None) -> None:
        """Make a plan true.

        Raises KernelRefused when the kernel refuses a part of it; it can be tried again.
        """
        changed = _changed(self._done, plan)
        if plan.mtu == self._mtu:
            changed.discard("mtu")
        self._done = None
        await self._path.open(self._tap.lend())  # where the forwarder refused it
        await self._flush_if_downed(own)
        if self.plan is not None and self.plan.state is not plan.state:
            name = master.ifname if master is not None else ""
            event = Event(Kind.STATE, self.spec.ifname, name)
            tell(event, "%s: %s, was %s", event.ifname, plan.state, self.plan.state)
        self.plan = plan
        await self._realize_link(plan, changed, own)
        await self._realize_queue(plan, changed, own)
        self.captured.prepare(plan)
        await self._realize_binding(plan, changed, master)
        self.captured.realize(plan, own, master)
        self._done = plan
        self.last_refusal = ""

    async def _realize_link(self, plan: Plan, changed: set[str], own: Link) -> None:
        """Make the device look as it should."""
        if "ring_frames" in changed:
            self._outdated_ring_frames |= {own.txqueuelen, plan.ring_frames}
        self._set_link(plan, changed, own)
        self._mtu = plan.mtu
        regains_ipv6 = "mtu" in changed and own.mtu < _IPV6_MIN_MTU <= plan.mtu
        if regains_ipv6 or (own.is_up and own.makes_link_local):
            # The kernel has given the device IPv6 anew, with the defaults of any other. (Of a
            # device that is down it makes no address, and tells no change of the mode.)
            self._silence()
            self._netlink.remove_kernel_link_local(self.ifindex)
        if plan.ipv6_mtu is not None and changed & {"mtu", "ipv6_mtu"}:
            set_ipv6_mtu(self._tap.name, plan.ipv6_mtu)  # a service may not: findings then say so
        if "speed_mbit" in changed:
            self._show_speed(plan.speed_mbit)

    async def _realize_queue(self, plan: Plan, changed: set[str], own: Link) -> None:
        """Make frames wait where, and be as large, as they should."""
        if changed & {"offload_bytes", "framing"}:
            leaves_checksums = plan.framing is not Framing.COOKED
            self._tap.set_offload(is_on=plan.offload_bytes > 0, leaves_checksums=leaves_checksums)
        if "settings" in changed:
            await self._path.configure(plan.settings)
        if "ring_frames" in changed and self._may_hold_frames:
            await self._set_ring(plan.ring_frames, own)

    async def _realize_binding(self, plan: Plan, changed: set[str], master: Link | None) -> None:
        """Lead frames to the master, if it can take them, and show carrier only then."""
        master_index = master.ifindex if master is not None else None
        is_moved = self.master_index != master_index
        self.master_index = master_index
        self.master_name = master.ifname if master is not None else None
        if not is_moved and not changed & _BINDING:
            if changed & {"has_arp", "port_of"}:
                self._neighbours.resolve_all(self.ifindex)
            return
        await self._bind(plan, master)
        if "has_carrier" in changed:
            self._had_carrier |= plan.has_carrier
            self._tap.set_carrier(is_on=plan.has_carrier)
        self._neighbours.resolve_all(self.ifindex)

    def follow(self, own: Link) -> None:
        """Take over what was changed with `ip link`: the name, and txqueuelen as the limit.

        A length that we have set ourselves and not yet seen confirmed is no such change; and the
        classic queue has a limit of its own.
        """
        if own.ifname != self.spec.ifname:
            self.spec = replace(self.spec, ifname=own.ifname)
        if self.plan is None or self.spec.options.queue is Queue.CLASSIC:
            return
        if own.txqueuelen == self.plan.ring_frames:
            self._outdated_ring_frames.clear()
        elif own.txqueuelen not in self._outdated_ring_frames:
            limit = min(own.txqueuelen, MAX_LIMIT_PACKETS) or None
            options = replace(self.spec.options, limit_packets=limit)
            self.spec = replace(self.spec, options=options)

    async def flush(self) -> None:
        """Drop what waits, and count it."""
        await self._path.tell(messages.Flush(self.slot))

    async def remove(self) -> None:
        """Remove the device."""
        await self._close_path()
        self._tap.remove()

    async def remove_or_tell(self) -> None:
        """Remove the device; one that resists does not save others from it."""
        try:
            await self.remove()
        except (ShaperError, OSError) as error:
            _log.warning("%s: cannot be removed: %s", self.spec.ifname, error)

    async def rest(self) -> None:
        """Let go of a device that the service manager holds, for a successor or until it ends."""
        await self._close_path()
        self._tap.rest()

    async def abandon(self) -> None:
        """Let go of a device that is gone already, or that is left for a successor to adopt."""
        await self._close_path()
        self._tap.close()

    async def let_go(self) -> Tap:
        """Stop carrying frames; return the open TAP, which shows no carrier any more."""
        await self._close_path()
        self._path.release_ring()
        with contextlib.suppress(KernelRefused):
            self._tap.set_carrier(is_on=False)
            self._tap.persist(is_on=True)  # the service manager keeps it no more
        return self._tap

    def is_deleted(self) -> bool:
        """Whether the device is gone, rather than in another network namespace."""
        return self._tap.name() is None

    async def _close_path(self) -> None:
        self.captured.release()
        self.captured.trust(None)
        self._neighbours.release(self.ifindex)
        with contextlib.suppress(KernelRefused):
            await self._path.tell(messages.Close(self.slot))
        self._sockets.give_back(self.slot)

    async def _flush_if_downed(self, own: Link) -> None:
        """Flush what waits when the device is taken down, as closing the 1996 device did."""
        if self._was_up and not own.is_up:
            await self.flush()
        self._was_up = own.is_up

    def _set_link(self, plan: Plan, changed: set[str], own: Link) -> None:
        attributes: dict[str, object] = {}
        if "mtu" in changed:
            attributes["mtu"] = plan.mtu
        if plan.address is not None and plan.address != own.address:
            attributes["address"] = plan.address
        if "alias" in changed and plan.alias != self._alias:  # the same again would be an event
            attributes["ifalias"] = plan.alias
            self._alias = None
        if "offload_bytes" in changed:
            attributes["gso_max_size"] = plan.offload_bytes or _SMALLEST_GSO_BYTES
        if "ring_frames" in changed and not self._may_hold_frames:
            attributes["txqlen"] = plan.ring_frames
        if own.is_noarp == plan.has_neighbours:
            attributes["flags"] = 0 if plan.has_neighbours else _IFF_NOARP
            attributes["change"] = _IFF_NOARP
        if attributes:
            self._netlink.set_link(self.ifindex, **attributes)

    @property
    def _may_hold_frames(self) -> bool:
        """Whether something may wait in the ring; nothing can before there was carrier."""
        return self.was_adopted or self._had_carrier

    async def _set_ring(self, ring_frames: int, own: Link) -> None:
        """Change the ring's length, after the queue: the one before may be full and read nothing.

        The kernel frees, uncounted, what fits no longer, so the ring should be as good as empty.
        """
        if ring_frames == own.txqueuelen:
            return
        if ring_frames < own.txqueuelen:
            await self._path.tell(messages.Absorb(self.slot))
        self._netlink.set_link(self.ifindex, txqlen=ring_frames)

    def _show_speed(self, speed_mbit: int | None) -> None:
        try:
            self._set_speed(self._tap.name() or self.spec.ifname, speed_mbit)
        except OSError as error:
            _log.warning("%s: cannot show its speed: %s", self.spec.ifname, error.strerror)

    async def _bind(self, plan: Plan, master: Link | None) -> None:
        """Lend the master's socket to the forwarder, or take it away."""
        master_index = master.ifindex if master is not None else self.master_index
        if not plan.has_carrier or master_index is None or self.spec.master is None:
            self._neighbours.release(self.ifindex)
            await self._path.unbind()
            self._sockets.give_back(self.slot)
            self.captured.trust(None)
            return
        if plan.has_neighbours:
            self._neighbours.delegate(self.ifindex, master_index)
        is_received = plan.capture is Capture.INGRESS
        is_headerless = plan.framing is not Framing.ETHERNET
        order = messages.Bind(
            self.slot,
            Framing.ETHERNET if is_received else plan.framing,
            is_captured=plan.capture is not Capture.ROUTE,
            is_tunnel=plan.is_tunnel,
            removed_bytes=ETHERNET_HEADER_BYTES if is_received and is_headerless else 0,
        )
        name = self.master_name or self.spec.master
        sock = self._lend(plan, order.framing, name, master_index)
        await self._path.bind(order, sock.fileno())

    def _lend(self, plan: Plan, framing: Framing, master: str, master_index: int) -> socket.socket:
        """Return the socket by which frames leave, and have the programs know it."""
        if plan.capture is Capture.INGRESS:  # back to the master, by the shaper's own egress
            master, master_index = self.spec.ifname, self.ifindex
        is_own = plan.capture in (Capture.EGRESS, Capture.INGRESS)
        purpose = (plan.capture, self.ifindex) if is_own else None
        sock = self._sockets.lend(self.slot, master, master_index, framing, purpose)
        self.captured.trust(sock, is_own=is_own)
        return sock


def _changed(before: Plan | None, plan: Plan) -> set[str]:
    """Return the fields in which a plan differs from the one before; all if there was none."""
    if before is None:
        return set(_PLAN_FIELDS)
    return {name for name in _PLAN_FIELDS if getattr(before, name) != getattr(plan, name)}
