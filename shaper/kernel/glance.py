"""Quick questions to the kernel: by which device a packet would leave, and what a device has sent.

They are asked again and again of many shapers, so both are laid out and read by hand; pyroute2
would take ten times as long. Nothing here raises: what cannot be told is None.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from shaper.kernel.netlink_messages import attributes, split_datagram
from shaper.network import IpAddress

# Specified: include/uapi/linux/netlink.h, rtnetlink.h, if_link.h.
_HEADER = struct.Struct("=IHHII")
_RTMSG = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_MARK = struct.Struct("=HHI")
_STATS_MESSAGE = struct.Struct("=BBHII")
_NLM_F_REQUEST = 1
_RTM_NEWROUTE = 24
_RTM_GETROUTE = 26
_RTM_NEWSTATS = 92
_RTM_GETSTATS = 94
_RTA_DST = 1
_RTA_OIF = 4
_RTA_MARK = 16
_RTN_UNICAST = 1
_IFLA_STATS_LINK_64 = 1
_LINK_STATS = struct.Struct("=8xQ")  # struct rtnl_link_stats64: received frames, then sent ones

# Chosen.
_ANSWER_BYTES = 8192
_ANSWER_SECONDS = 0.2  # it is there at once, or something is wrong


class Glance:
    """A netlink socket for questions that have one short answer."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._serial = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def way_to(self, address: IpAddress, mark: int = 0) -> int | None:
        """Return the index of the device that a packet to an address would leave by."""
        packed = address.packed
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        route = _RTMSG.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
        destination = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _RTA_DST) + packed
        marked = _MARK.pack(_MARK.size, _RTA_MARK, mark) if mark else b""
        answer = self._ask(_RTM_GETROUTE, route + destination + marked, _RTM_NEWROUTE)
        if answer is None:
            return None
        data, start, end = answer
        if _RTMSG.unpack_from(data, start)[7] != _RTN_UNICAST:
            return None
        for kind, value in attributes(data, start + _RTMSG.size, end):
            if kind == _RTA_OIF:
                (ifindex,) = struct.unpack("=I", value)
                return int(ifindex)
        return None

    def sent_packets(self, ifindex: int) -> int | None:
        """Return how many frames a device has sent."""
        request = _STATS_MESSAGE.pack(0, 0, 0, ifindex, 1 << (_IFLA_STATS_LINK_64 - 1))
        answer = self._ask(_RTM_GETSTATS, request, _RTM_NEWSTATS)
        if answer is None:
            return None
        data, start, end = answer
        for kind, value in attributes(data, start + _STATS_MESSAGE.size, end):
            if kind == _IFLA_STATS_LINK_64:
                (packets,) = _LINK_STATS.unpack_from(value)
                return int(packets)
        return None

    def _ask(self, kind: int, payload: bytes, wanted: int) -> tuple[bytes, int, int] | None:
        self._serial += 1
        length = _HEADER.size + len(payload)
        header = _HEADER.pack(length, kind, _NLM_F_REQUEST, self._serial, 0)
        with contextlib.suppress(OSError):
            self._socket.send(header + payload)
            while True:
                data = self._socket.recv(_ANSWER_BYTES)
                for told, serial, start, end in split_datagram(data):
                    if serial == self._serial:  # else of a question that was given up
                        return (data, start, end) if told == wanted else None
        return None
