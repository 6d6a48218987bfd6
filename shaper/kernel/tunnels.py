"""Where a tunnel's packets go: its far ends, and the devices that lead there.

The kernel's own tunnels tell it. A program's (tun) does not, nor one whose routes or forwarding
entries name the far end of each packet.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice

from pyroute2.netlink.rtnl import RTM_GETLINK

from shaper.errors import ShaperError
from shaper.kernel import generic
from shaper.kernel.glance import Glance
from shaper.kernel.netlink import ask
from shaper.kernel.netlink_messages import Message, attributes
from shaper.kernel.requests import link_request
from shaper.kernel.wire import REQUEST, Wire
from shaper.model import Link
from shaper.network import IpAddress

# Specified: include/uapi/linux/if_tunnel.h, if_link.h.
_IFLA_GRE_LINK, _IFLA_GRE_REMOTE, _IFLA_GRE_FWMARK = 1, 7, 20
_IFLA_IPTUN_LINK, _IFLA_IPTUN_REMOTE, _IFLA_IPTUN_FWMARK = 1, 3, 20
_IFLA_VTI_LINK, _IFLA_VTI_REMOTE, _IFLA_VTI_FWMARK = 1, 5, 6
_IFLA_VXLAN_GROUP, _IFLA_VXLAN_LINK, _IFLA_VXLAN_GROUP6 = 2, 3, 16
_IFLA_GENEVE_REMOTE, _IFLA_GENEVE_REMOTE6 = 2, 7
# Specified: include/uapi/linux/wireguard.h.
_WG_CMD_GET_DEVICE = 0
_WGDEVICE_A_IFINDEX = 1
_WGDEVICE_A_FWMARK = 7
_WGDEVICE_A_PEERS = 8
_WGPEER_A_ENDPOINT = 4
_INET_OFFSETS = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}  # of a sockaddr

# Chosen: a concentrator has thousands of peers; a loop by one of the others is found by frames.
_MOST_FAR_ENDS = 64


@dataclass(frozen=True)
class _Shape:
    """Attributes of a kind of tunnel, inside IFLA_INFO_DATA."""

    remotes: tuple[int, ...]
    link: int = 0
    mark: int = 0


_GRE = _Shape((_IFLA_GRE_REMOTE,), _IFLA_GRE_LINK, _IFLA_GRE_FWMARK)
_IPTUN = _Shape((_IFLA_IPTUN_REMOTE,), _IFLA_IPTUN_LINK, _IFLA_IPTUN_FWMARK)
_VTI = _Shape((_IFLA_VTI_REMOTE,), _IFLA_VTI_LINK, _IFLA_VTI_FWMARK)
_SHAPES = {
    **dict.fromkeys(("gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan"), _GRE),
    **dict.fromkeys(("ipip", "sit", "ip6tnl"), _IPTUN),
    **dict.fromkeys(("vti", "vti6"), _VTI),
    "vxlan": _Shape((_IFLA_VXLAN_GROUP, _IFLA_VXLAN_GROUP6), _IFLA_VXLAN_LINK),
    "geneve": _Shape((_IFLA_GENEVE_REMOTE, _IFLA_GENEVE_REMOTE6)),
}


@dataclass(frozen=True)
class FarEnd:
    """Where a tunnel sends packets to.

    Attributes:
        address: of the far end.
        mark: of the packets, by which a rule may route them.
        device: the index of the device that they are bound to; 0: they are routed.
    """

    address: IpAddress
    mark: int = 0
    device: int = 0


Look = Callable[[Link], Message]
DumpGeneric = Callable[[str, int, int, bytes], list[dict[int, bytes]]]


def _look(link: Link) -> Message:
    with contextlib.closing(Wire()) as wire:
        (message,) = ask(wire, "look", RTM_GETLINK, REQUEST, link_request(link.ifindex))
    return message


def far_ends(link: Link, look: Look = _look, dump: DumpGeneric = generic.dump) -> list[FarEnd]:
    """Return the far ends of a tunnel, as far as the kernel tells; never an error.

    Args:
        link: the tunnel.
        look: asks for what rtnetlink tells of a device.
        dump: asks a generic family.
    """
    with contextlib.suppress(OSError, ShaperError, struct.error):
        found = _peers(link, dump) if link.kind == "wireguard" else _remotes(link, look)
        return list(islice(dict.fromkeys(found), _MOST_FAR_ENDS))
    return []


def ways(link: Link) -> list[tuple[IpAddress, int]]:
    """Return the far ends of a tunnel, with the index of the device that leads there."""
    found = far_ends(link)
    if not found:
        return []
    with contextlib.closing(Glance()) as glance:
        told = ((each, each.device or glance.way_to(each.address, each.mark)) for each in found)
        return [(each.address, device) for each, device in told if device]


def _remotes(link: Link, look: Look) -> Iterator[FarEnd]:
    shape = _SHAPES.get(link.kind)
    if shape is None:
        return
    told = dict(_inside(look(link).get_attr("IFLA_INFO_DATA") or b""))
    for kind in shape.remotes:
        address = _address(told.get(kind, b""))
        if address is not None:
            yield FarEnd(address, _number(told.get(shape.mark)), _number(told.get(shape.link)))


def _peers(link: Link, dump: DumpGeneric) -> Iterator[FarEnd]:
    index = struct.pack("=I", link.ifindex)
    device = dump("wireguard", _WG_CMD_GET_DEVICE, _WGDEVICE_A_IFINDEX, index)
    mark = max((_number(each.get(_WGDEVICE_A_FWMARK)) for each in device), default=0)
    for told in device:
        for _, peer in _inside(told.get(_WGDEVICE_A_PEERS, b"")):
            endpoint = dict(_inside(peer)).get(_WGPEER_A_ENDPOINT, b"")
            span = _INET_OFFSETS.get(_number(endpoint[:2]))  # type: ignore[call-overload]
            address = _address(endpoint[span]) if span is not None else None
            if address is not None:
                yield FarEnd(address, mark)


def _inside(value: bytes) -> Iterator[tuple[int, bytes]]:
    return attributes(value, 0, len(value))


def _address(value: bytes) -> IpAddress | None:
    """Return the address of a single host; None for groups, and where a packet's route has it."""
    if len(value) not in (4, 16):
        return None
    address = ip_address(value)
    return None if address.is_unspecified or address.is_multicast else address


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", sys.byteorder)
