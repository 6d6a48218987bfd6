"""Cables between the same two namespaces, each with a network of its own beyond it.

Lane number n joins `up<n>` of the host, 10.64.n.1, and `down<n>` of the peer, 10.64.n.2. The peer
is also 10.65.n.2, to which all traffic of the benchmark goes: by the master itself where that has
a qdisc, or by the shaper. Nothing but the route tells the two apart.

Slow rates need long measurements and load nothing, so they are measured on many lanes at once.
Fast ones have the machine for themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.lab.topology import Pair, lay_cable


@dataclass(frozen=True)
class Lane:
    """One cable, and what lies beyond it."""

    master: str  # the host's end
    nic: str  # the peer's end
    shaper: str  # the shaper's device, where there is one
    source: str  # the host's address
    network: str  # beyond the peer's end
    destination: str  # where the traffic goes
    # Every frame that crosses it is one that a wire could carry; otherwise one may be as large as
    # 64 kB, as it would be handed to a NIC that cuts it.
    is_wire: bool = True

    @classmethod
    def numbered(cls, number: int, *, is_wire: bool = True) -> Lane:
        """Return one of those of the benchmark."""
        names = f"up{number}", f"down{number}", f"shaper{number}"
        beyond = f"10.65.{number}"
        return cls(*names, f"10.64.{number}.1", f"{beyond}.0/24", f"{beyond}.2", is_wire)

    def route(self, device: str) -> str:
        """Return the `ip` command that sends the lane's traffic to a device."""
        return f"route replace {self.network} dev {device} src {self.source}"


def lay(pair: Pair, lane: Lane) -> None:
    """Lay the cable of a lane, with addresses on both ends and the route over its master."""
    lay_cable(pair.host, lane.master, pair.peer, lane.nic, is_wire=lane.is_wire)
    near = lane.source.removesuffix("1") + "2"
    pair.peer.ip(*(f"address add {each}/24 dev {lane.nic}" for each in (near, lane.destination)))
    pair.host.ip(f"address add {lane.source}/24 dev {lane.master}", lane.route(lane.master))
