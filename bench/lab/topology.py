"""The networks of the lab.

    pair:    host eth1 10.0.0.1 ───────── eth0 10.0.0.100 peer, 10.1.0.2
    router:  lan eth0 10.2.0.2 ───────── 10.2.0.1 eth2 host, eth1 as above

10.0.0.0/24 is the link itself. 10.1.0.0/24 lies beyond it: nothing reaches it until a route is
added, over shaper0. The host's address and the sixteen around it stay clear of the peer's, so
that the netmask of 1996 (255.255.255.240) on shaper0 leaves the link itself unshaped. Each
network has an IPv6 counterpart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from pyroute2.ethtool.ioctl import IoctlEthtool

from bench.lab.namespaces import Namespace

MASTER = "eth1"  # of the host, towards the peer
INSIDE = "eth2"  # of the host, towards the LAN
NIC = "eth0"  # of the peer, and of the LAN

HOST = "10.0.0.1"
HOST6 = "fd00::1"
PEER = "10.0.0.100"
PEER6 = "fd00::100"

REMOTE_NETWORK = "10.1.0.0/24"
REMOTE_NETWORK6 = "fd00:1::/64"
REMOTE = "10.1.0.2"
REMOTE6 = "fd00:1::2"

LAN_NETWORK = "10.2.0.0/24"
LAN_NETWORK6 = "fd00:2::/64"
LAN_GATEWAY = "10.2.0.1"
LAN_GATEWAY6 = "fd00:2::1"
LAN = "10.2.0.2"
LAN6 = "fd00:2::2"

AGGREGATION = {"rx-gro", "rx-gro-list", "rx-lro", "rx-udp-gro-forwarding"}  # as ethtool(8) says


@dataclass(frozen=True)
class Pair:
    """The host, where the shaper runs, and the peer that receives."""

    host: Namespace
    peer: Namespace


@dataclass(frozen=True)
class Router(Pair):
    """A pair whose host forwards for a LAN."""

    lan: Namespace


def lay_cable(
    left: Namespace, left_name: str, right: Namespace, right_name: str, *, is_wire: bool = False
) -> None:
    """Join two namespaces by a veth pair, both ends up, that cuts offload frames if told to."""
    other = f"netns /proc/self/fd/{right.descriptor}"
    left.ip(
        f"link add {left_name} type veth peer name {right_name} {other}",
        f"link set {left_name} up",
        pass_fds=(right.descriptor,),
    )
    right.ip(f"link set {right_name} up")
    if is_wire:
        set_wire_frames(left, left_name)
        set_wire_frames(right, right_name)


def _address(namespace: Namespace, interface: str, *addresses: str) -> None:
    """Give an interface addresses that are usable at once."""
    namespace.ip(*(f"address add {address} dev {interface} nodad" for address in addresses))


def is_segmentation(name: str) -> bool:
    """Whether a feature makes the device, not the stack, cut large frames to size."""
    return name == "tx-gso-list" or (
        name.startswith("tx-")
        and name.endswith("-segmentation")
        and name != "tx-generic-segmentation"
    )


def set_wire_frames(namespace: Namespace, interface: str) -> None:
    """Make every frame that crosses an interface, either way, one that a wire could carry.

    The sender's device passes no offload frames on whole, the receiver's glues none together.
    """
    with namespace.enter():
        handle = IoctlEthtool(interface)
    with contextlib.closing(handle.sock):
        features = handle.get_features()
        for name, is_active, is_available, *_ in features:
            if is_active and is_available and (is_segmentation(name) or name in AGGREGATION):
                features[name] = False
        handle.set_features(features)


def accept_detours(namespace: Namespace) -> None:
    """Accept replies that arrive on another interface than their route leaves by.

    What goes out by shaper0 is answered on its master.
    """
    for scope in ("all", "default"):
        namespace.sysctl(f"net/ipv4/conf/{scope}/rp_filter", 0)


def connect(pair: Pair, *, wire_frames: bool = True) -> None:
    """Lay the cable of a pair (again), with addresses on both ends."""
    lay_cable(pair.host, MASTER, pair.peer, NIC, is_wire=wire_frames)
    _address(pair.host, MASTER, f"{HOST}/24", f"{HOST6}/64")
    _address(pair.peer, NIC, f"{PEER}/24", f"{PEER6}/64", f"{REMOTE}/24", f"{REMOTE6}/64")


@contextlib.contextmanager
def make_stage() -> Iterator[Pair]:
    """Build host and peer, without a cable."""
    with Namespace() as host, Namespace() as peer:
        for namespace in (host, peer):
            accept_detours(namespace)
        yield Pair(host, peer)


@contextlib.contextmanager
def make_pair(*, wire_frames: bool = True) -> Iterator[Pair]:
    """Build host and peer.

    Args:
        wire_frames: cut offload frames on the host's end, as a capture of single frames needs;
            False leaves veth as it is, which passes them whole and so is faster.

    """
    with make_stage() as pair:
        connect(pair, wire_frames=wire_frames)
        yield pair


@contextlib.contextmanager
def make_router(*, wire_frames: bool = True) -> Iterator[Router]:
    """Build LAN, host and peer; the host forwards and the peer knows the way back."""
    with make_pair(wire_frames=wire_frames) as pair, Namespace() as lan:
        host, peer = pair.host, pair.peer
        lay_cable(host, INSIDE, lan, NIC)
        _address(host, INSIDE, f"{LAN_GATEWAY}/24", f"{LAN_GATEWAY6}/64")
        _address(lan, NIC, f"{LAN}/24", f"{LAN6}/64")
        lan.ip(f"route add default via {LAN_GATEWAY}", f"route add ::/0 via {LAN_GATEWAY6}")
        peer.ip(f"route add {LAN_NETWORK} via {HOST}", f"route add {LAN_NETWORK6} via {HOST6}")
        host.sysctl("net/ipv4/ip_forward", 1)
        host.sysctl("net/ipv6/conf/all/forwarding", 1)
        yield Router(host, peer, lan)
