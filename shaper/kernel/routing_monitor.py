"""Tells that addresses, routes or rules have changed; what they are now has to be asked.

A router with a full table changes it hundreds of times a second, and hardly any of that concerns a
shaper. So a route's event is looked at before anyone is woken: only the fixed header and two
attributes are read.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Container

from shaper.kernel.event_socket import EventSocket
from shaper.kernel.netlink_messages import attributes, split_datagram
from shaper.network import PROTOCOL

# Specified: include/uapi/linux/rtnetlink.h.
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV4_ROUTE = 0x40
_RTMGRP_IPV4_RULE = 0x80
_RTMGRP_IPV6_IFADDR = 0x100
_RTMGRP_IPV6_ROUTE = 0x400
_RTNLGRP_IPV6_RULE = 19
_GROUPS = (
    _RTMGRP_IPV4_IFADDR
    | _RTMGRP_IPV4_ROUTE
    | _RTMGRP_IPV4_RULE
    | _RTMGRP_IPV6_IFADDR
    | _RTMGRP_IPV6_ROUTE
    | 1 << (_RTNLGRP_IPV6_RULE - 1)
)
_RTM_NEWROUTE = 24
_RTM_DELROUTE = 25
_RTA_OIF = 4
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, lengths, tos, table, protocol, scope, type, flags

# Chosen: a few thousand events; more are made up for by looking at everything.
_RECEIVE_BUFFER_BYTES = 4 << 20
_DATAGRAMS_A_ROUND = 256


class RoutingMonitor:
    """Calls back when something changed that may concern a shaper.

    Args:
        on_change: is called at most once for all that has happened by then.
        devices: returns the indices of the devices whose routes matter.
    """

    def __init__(
        self, on_change: Callable[[], None], devices: Callable[[], Container[int]]
    ) -> None:
        self._on_change = on_change
        self._devices = devices
        self._events = EventSocket(_GROUPS, _RECEIVE_BUFFER_BYTES, self.hear)

    def close(self) -> None:
        """Stop listening."""
        self._events.close()

    def hear(self) -> None:
        """Take in what has happened; events that were lost count as one that matters."""
        matters = False
        for _ in range(_DATAGRAMS_A_ROUND):
            data = self._events.receive()
            if data is None:
                break
            matters = matters or not data or self._matters(data)
        if matters:
            self._on_change()

    def _matters(self, data: bytes) -> bool:
        devices = self._devices()
        return any(
            kind not in (_RTM_NEWROUTE, _RTM_DELROUTE) or _concerns(devices, data, start, end)
            for kind, _, start, end in split_datagram(data)
        )


def _concerns(devices: Container[int], data: bytes, start: int, end: int) -> bool:
    """Whether a route is ours, a default route, or leads through one of these devices."""
    _, prefix_bits, _, _, _, protocol, _, _, _ = _RTMSG.unpack_from(data, start)
    if protocol == PROTOCOL or prefix_bits == 0:
        return True
    return any(
        kind == _RTA_OIF and int.from_bytes(value, sys.byteorder) in devices
        for kind, value in attributes(data, start + _RTMSG.size, end)
    )
