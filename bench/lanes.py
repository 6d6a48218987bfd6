"""Cables between the same two namespaces, each with a network of its own beyond it.

Lane number n joins `up<n>` of the host, 10.64.n.1, and `down<n>` of the peer, 10.64.n.2. The peer
is also 10.65.n.2, to which all traffic of the benchmark goes: by the master itself where that has
a qdisc, or by the shaper. Nothing but the route tells the two apart.

Slow rates need long measurements and load nothing, so they are measured on many lanes at once.
Fast ones have the machine for themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from bench.lab.namespaces import Namespace
from bench.lab.offload import set_wire_frames
from bench.lab.topology import Pair, accept_detours, lay_cable


@dataclass(frozen=True)
class Lane:
    """One cable.

    Attributes:
        number: which.
        is_wire: every frame that crosses it is one that a wire could carry; otherwise a frame
            may be as large as 64 kB, as it would be handed to a NIC that cuts it.

    """

    number: int
    is_wire: bool = True

    @property
    def master(self) -> str:
        """The host's end."""
        return f"up{self.number}"

    @property
    def nic(self) -> str:
        """The peer's end."""
        return f"down{self.number}"

    @property
    def shaper(self) -> str:
        """The shaper's device, where there is one."""
        return f"shaper{self.number}"

    @property
    def source(self) -> str:
        """The host's address."""
        return f"10.64.{self.number}.1"

    @property
    def network(self) -> str:
        """What lies beyond the peer's end."""
        return f"10.65.{self.number}.0/24"

    @property
    def destination(self) -> str:
        """Where the traffic goes."""
        return f"10.65.{self.number}.2"

    def route(self, device: str) -> str:
        """Return the `ip` command that sends the lane's traffic to a device."""
        return f"route replace {self.network} dev {device} src {self.source}"


def lay(pair: Pair, lane: Lane) -> None:
    """Lay the cable of a lane, with addresses on both ends and the route over its master."""
    lay_cable(pair.host, lane.master, pair.peer, lane.nic)
    if lane.is_wire:
        set_wire_frames(pair.host, lane.master)
        set_wire_frames(pair.peer, lane.nic)
    pair.peer.ip(
        f"address add 10.64.{lane.number}.2/24 dev {lane.nic}",
        f"address add {lane.destination}/24 dev {lane.nic}",
    )
    pair.host.ip(f"address add {lane.source}/24 dev {lane.master}", lane.route(lane.master))


@contextlib.contextmanager
def make_stage() -> Iterator[Pair]:
    """Build the two namespaces, without a cable."""
    with Namespace() as host, Namespace() as peer:
        for namespace in (host, peer):
            accept_detours(namespace)
        yield Pair(host, peer)
