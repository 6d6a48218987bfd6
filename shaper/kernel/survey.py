"""Everything about routing and queueing that `shapecfg doctor` looks at, asked for once.

Nothing here needs a right. What the kernel does not answer is left out.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2.netlink.rtnl import (
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
)
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from shaper.errors import ShaperError
from shaper.kernel.links import parse_link
from shaper.kernel.netlink import ask, filled
from shaper.kernel.netlink_messages import Message
from shaper.kernel.qdiscs import Qdisc, roots
from shaper.kernel.route_messages import FAMILIES, RTPROT_KERNEL
from shaper.kernel.routing import Routing
from shaper.kernel.wire import DUMP, REQUEST, Wire
from shaper.model import Link
from shaper.network import IpAddress, IpNetwork, Rule

# Specified: include/uapi/linux/rtnetlink.h, neighbour.h.
_RTN_UNICAST = 1
_RTN_LOCAL = 2
_RT_TABLE_LOCAL = 255
_RTM_F_LOOKUP_TABLE = 0x1000
_RTM_F_FIB_MATCH = 0x2000
_NUD_FAILED = 0x20
_NUD_STATES = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
_REFUSALS = {
    errno.EINVAL: "blackhole",
    errno.EHOSTUNREACH: "unreachable",
    errno.EACCES: "prohibited",
    errno.ENETUNREACH: "no route",
}
_NO_ADDRESS = ("0.0.0.0", "::")
_RTA_NH_ID = 30
_HEADER = struct.Struct("=IHHII")
_RTMSG = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_ATTRIBUTES = {
    "RTA_DST": (1, ""),
    "RTA_SRC": (2, ""),
    "RTA_IIF": (3, "=I"),
    "RTA_MARK": (16, "=I"),
    "RTA_UID": (25, "=I"),
    "RTA_IP_PROTO": (27, "=B"),
    "RTA_DPORT": (29, "!H"),
}


class _Question(dict[str, Any]):
    """An RTM_GETROUTE for one packet; pyroute2 does not know all of its attributes."""

    def __init__(self, destination: IpAddress, flags: int, picked: dict[str, int | bytes]) -> None:
        super().__init__(header={})
        bits = 8 * len(destination.packed)
        source_bits = 8 * len(picked["RTA_SRC"]) if "RTA_SRC" in picked else 0  # type: ignore[arg-type]
        family = FAMILIES[destination.version]
        self._payload = _RTMSG.pack(family, bits, source_bits, 0, 0, 0, 0, 0, flags)
        for name, value in {"RTA_DST": destination.packed, **picked}.items():
            kind, shape = _ATTRIBUTES[name]
            packed = value if isinstance(value, bytes) else struct.pack(shape, value)
            header = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), kind)
            self._payload += header + packed + bytes(-len(packed) % _ATTRIBUTE.size)
        self.data = b""

    def encode(self) -> None:
        """Lay it out behind its header."""
        header = self["header"]
        values = (header["type"], header["flags"], header["sequence_number"], 0)
        self.data = _HEADER.pack(_HEADER.size + len(self._payload), *values) + self._payload


class Survey:
    """Questions about routes, neighbours and qdiscs of this network namespace. Close it."""

    def __init__(self) -> None:
        self._wire = Wire()

    def close(self) -> None:
        """Close the socket."""
        self._wire.close()

    def links(self) -> list[Link]:
        """Return every device."""
        return [parse_link(each) for each in self._dump(RTM_GETLINK, ifinfmsg())]

    def routes_through(self, ifindex: int) -> list[dict[str, Any]]:
        """Return the unicast routes of all tables through a device, but for link-local ones."""
        found = []
        for family in FAMILIES.values():
            request = filled(rtmsg(), family=family, RTA_OIF=ifindex)
            found += [_route(each) for each in self._dump(RTM_GETROUTE, request) if _leads(each)]
        return found

    def rules(self) -> tuple[Rule, ...]:
        """Return all policy rules, in order, but for those of actions that are not known."""
        try:
            return tuple(each.rule for each in Routing(self._wire).rules())
        except ShaperError:
            return ()

    def own_addresses(self) -> list[IpNetwork]:
        """Return what the machine itself answers to."""
        found = []
        for family in FAMILIES.values():
            request = filled(
                rtmsg(), family=family, table=_RT_TABLE_LOCAL, RTA_TABLE=_RT_TABLE_LOCAL
            )
            for each in self._dump(RTM_GETROUTE, request):
                if each["type"] != _RTN_UNICAST:
                    found.append(_destination(each))
        return found

    def way(self, destination: IpAddress, **picked: int | bytes) -> dict[str, Any]:
        """Return the route that a packet takes; with `refusal` where it takes none.

        Args:
            destination: where it goes.
            picked: what else is known of it, as attributes RTA_*.
        """
        matched = _RTM_F_FIB_MATCH
        if destination.version == 4:
            matched |= _RTM_F_LOOKUP_TABLE
        try:
            (taken,) = self._one(_Question(destination, 0, picked))
            (match,) = self._one(_Question(destination, matched, picked))
        except OSError as error:
            number = error.errno or 0
            return {"refusal": _REFUSALS.get(number, os.strerror(number)), "errno": number}
        source = taken.get_attr("RTA_PREFSRC")
        return {
            **_route(match),
            "device": taken.get_attr("RTA_OIF"),
            "is_local": taken["type"] == _RTN_LOCAL,
            "source": None if source in (None, *_NO_ADDRESS) else ip_address(source),
        }

    def qdiscs(self) -> dict[int, Qdisc]:
        """Return the root qdisc of each device that has one."""
        return roots(self._dump)

    def neighbours(self, ifindex: int) -> dict[str, tuple[str, str]]:
        """Return state and link-layer address of the neighbours of a device."""
        found = {}
        for each in self._dump(RTM_GETNEIGH, filled(ndmsg(), NDA_IFINDEX=ifindex)):
            state = _NUD_STATES.get(each["state"], "none")
            found[str(each.get_attr("NDA_DST"))] = (state, each.get_attr("NDA_LLADDR") or "")
        return found

    def _one(self, request: Message) -> list[Message]:
        return self._wire.ask(RTM_GETROUTE, REQUEST, request)

    def _dump(self, kind: int, request: Message) -> Iterable[Message]:
        try:
            return ask(self._wire, "look around", kind, DUMP, request)
        except ShaperError:
            return []


def _leads(message: Message) -> bool:
    destination = message.get_attr("RTA_DST") or ""
    return message["type"] == _RTN_UNICAST and not destination.startswith(("fe80:", "ff00:"))


def _destination(message: Message) -> IpNetwork:
    empty = "0.0.0.0" if message["family"] == socket.AF_INET else "::"
    network = message.get_attr("RTA_DST") or empty
    return ip_network(f"{network}/{message['dst_len']}", strict=False)


def _route(message: Message) -> dict[str, Any]:
    hops = message.get_attr("RTA_MULTIPATH") or []
    device = message.get_attr("RTA_OIF")
    gateway = message.get_attr("RTA_GATEWAY")
    return {
        "destination": _destination(message),
        "table": message.get_attr("RTA_TABLE") or message["table"],
        "devices": tuple(each["oif"] for each in hops) or ((device,) if device else ()),
        "metric": message.get_attr("RTA_PRIORITY"),
        "gateway": ip_address(gateway) if gateway else None,
        "is_kernels": message["proto"] == RTPROT_KERNEL,
        "has_nexthop_object": _has_nexthop_object(message),
        "protocol": message["proto"],
    }


def _has_nexthop_object(message: Message) -> bool:
    for name, value in message["attrs"]:
        if name == "UNKNOWN" and value["header"]["type"] == _RTA_NH_ID:
            return True
    return False
