"""Netlink: requests through pyroute2, and a monitor socket of our own that pyroute2 decodes.

The monitor is a plain socket because its overflow must be survivable: ENOBUFS says that events
were lost, after which the owner asks for everything anew and carries on. (pyroute2's own receiving
socket has to be thrown away then.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_SETNEIGHTBL
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from shaper.errors import KernelRefused, NotPermitted

# Specified: include/uapi/linux/rtnetlink.h, netlink.h, asm-generic/socket.h.
_RTMGRP_LINK = 0x1
_RTMGRP_NEIGH = 0x4
_SO_RCVBUFFORCE = 33
_NLM_F_REQUEST_ACK = 0x5
_RTN_UNICAST = 1
_RT_SCOPE_LINK = 253
_IFA_F_TENTATIVE = 0x40
_IFAPROT_KERNEL_LL = 2  # include/uapi/linux/if_addr.h

# Chosen: a link message is about 2 kB in the kernel's accounting, so this is a few thousand.
_RECEIVE_BUFFER_BYTES = 8 << 20
_DATAGRAM_BYTES = 1 << 16
_MESSAGES_A_ROUND = 64

Message = Any  # a decoded pyroute2 nlmsg: a mapping with get_attr


class Monitor:
    """Calls back for every link and neighbour event of this network namespace.

    Args:
        on_message: is given each decoded message.
        on_overflow: is told that events were lost.
    """

    def __init__(
        self, on_message: Callable[[Message], None], on_overflow: Callable[[], None]
    ) -> None:
        self._on_message = on_message
        self._on_overflow = on_overflow
        self._marshal = MarshalRtnl()
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        # Without CAP_NET_ADMIN no shaper can be made either, and making one says so in words.
        with contextlib.suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_NEIGH))
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _on_readable(self) -> None:
        for _ in range(_MESSAGES_A_ROUND):
            try:
                data = self._socket.recv(_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._on_overflow()
                return
            for message in self._marshal.parse(data):
                self._on_message(message)


class Netlink:
    """Requests to the kernel's rtnetlink. Use as an asynchronous context manager.

    Every method raises KernelRefused (with the kernel's errno) or NotPermitted.
    """

    def __init__(self) -> None:
        # Strict checking lets the kernel filter a dump, so that a large routing table is not read.
        self._route = AsyncIPRoute(strict_check=True)

    async def __aenter__(self) -> Netlink:
        """Open the socket."""
        await self._route.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the socket."""
        await self._route.__aexit__(*exc_info)

    async def links(self) -> list[Message]:
        """Return a message for every device."""
        return await self._ask("list the devices", self._route.get_links())

    async def link(self, ifindex: int) -> list[Message]:
        """Return a message for one device."""
        what = f"look at device {ifindex}"
        return await self._ask(what, self._route.link("get", index=ifindex))

    async def neighbours(self, ifindex: int) -> list[Message]:
        """Return a message for every neighbour entry of a device."""
        return await self._ask(
            f"list the neighbours of device {ifindex}", self._route.get_neighbours(ifindex=ifindex)
        )

    async def neighbour_entry(self, ifindex: int, family: int, destination: str) -> Message | None:
        """Return the entry of a device for one address, or None when it has none."""
        request = self._route.neigh("get", ifindex=ifindex, family=family, dst=destination)
        try:
            entries = await self._ask(f"look up {destination}", request)
        except KernelRefused as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return entries[0] if entries else None

    async def has_route_through(self, ifindex: int) -> bool:
        """Whether a unicast route, of any table and family, leaves through a device.

        The kernel's own fe80::/64 and ff00::/8 are no such route.
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            what = f"list the routes through device {ifindex}"
            messages = await self._ask(what, self._route.get_routes(family=family, oif=ifindex))
            if any(_leads_somewhere(message) for message in messages):
                return True
        return False

    async def set_link(self, ifindex: int, **attributes: object) -> None:
        """Change attributes of a device, in one request."""
        what = f"set {', '.join(attributes)} of device {ifindex}"
        await self._ask(what, self._route.link("set", index=ifindex, **attributes))

    async def replace_neighbour(self, **attributes: object) -> None:
        """Add or change a neighbour entry."""
        await self._ask("set a neighbour", self._route.neigh("replace", **attributes))

    async def has_link_local(self, ifindex: int) -> bool:
        """Whether a device has a link-local IPv6 address that is not tentative any more."""
        what = f"list the addresses of device {ifindex}"
        request = self._route.get_addr(family=socket.AF_INET6, index=ifindex)
        return any(
            message["scope"] == _RT_SCOPE_LINK and not message["flags"] & _IFA_F_TENTATIVE
            for message in await self._ask(what, request)
        )

    async def remove_kernel_link_local(self, ifindex: int) -> None:
        """Remove the link-local addresses that the kernel itself gave a device."""
        what = f"list the addresses of device {ifindex}"
        request = self._route.get_addr(family=socket.AF_INET6, index=ifindex)
        for message in await self._ask(what, request):
            if message.get_attr("IFA_PROTO") == _IFAPROT_KERNEL_LL:
                address = message.get_attr("IFA_ADDRESS")
                await self._ask(
                    f"remove {address} from device {ifindex}",
                    self._route.addr(
                        "del", index=ifindex, address=address, prefixlen=message["prefixlen"]
                    ),
                )

    async def set_neighbour_table(self, family: int, ifindex: int, **probes: int) -> None:
        """Set how often a device probes for neighbours: app_probes, ucast_probes, mcast_probes.

        By netlink and not by /proc/sys, which is read-only for a hardened service.
        """
        request = ndtmsg()
        request["family"] = family
        parameters = [("NDTPA_IFINDEX", ifindex)]
        parameters += [(f"NDTPA_{name.upper()}", value) for name, value in probes.items()]
        table = "arp_cache" if family == socket.AF_INET else "ndisc_cache"
        request["attrs"] = [("NDTA_NAME", table), ("NDTA_PARMS", {"attrs": parameters})]
        await self._ask(
            f"set the neighbour probes of device {ifindex}",
            self._route.nlm_request(
                request, msg_type=RTM_SETNEIGHTBL, msg_flags=_NLM_F_REQUEST_ACK
            ),
        )

    async def _ask(self, what: str, request: Any) -> list[Message]:
        try:
            answer = await request
            return [message async for message in answer] if _is_stream(answer) else list(answer)
        except NetlinkError as error:
            if error.code == errno.EPERM:
                raise NotPermitted(f"may not {what}: CAP_NET_ADMIN is needed") from error
            reason = error.args[1] if len(error.args) > 1 else str(error)
            raise KernelRefused(f"cannot {what}: {reason}", error.code) from error


def _leads_somewhere(message: Message) -> bool:
    destination = message.get_attr("RTA_DST") or ""
    is_link_local = destination.startswith(("fe80:", "ff00:"))
    return message["type"] == _RTN_UNICAST and not is_link_local


def _is_stream(answer: Any) -> bool:
    return hasattr(answer, "__aiter__")
