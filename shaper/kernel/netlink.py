"""Netlink: what is asked of the kernel by `wire`, and what it tells by `event_socket`."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import random
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_NEWNEIGH,
    RTM_SETLINK,
    RTM_SETNEIGHTBL,
)
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from shaper.errors import KernelRefused, NotPermitted
from shaper.kernel.event_socket import EventSocket
from shaper.kernel.netlink_messages import Message, decode_events
from shaper.kernel.requests import (
    address_request,
    addresses_request,
    link_request,
    neighbour_table_request,
    neighbours_request,
)
from shaper.kernel.wire import DUMP, REQUEST, Wire
from shaper.network import IpNetwork

# Specified: include/uapi/linux/rtnetlink.h, netlink.h, if_addr.h.
_RTMGRP_LINK = 0x1
_RTMGRP_NEIGH = 0x4
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV6_IFADDR = 0x100
_RTMGRP_IPV6_IFINFO = 0x800
_GROUPS = (
    _RTMGRP_LINK | _RTMGRP_NEIGH | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR | _RTMGRP_IPV6_IFINFO
)
_NLM_F_REPLACE = 0x100
_NLM_F_CREATE = 0x400
_RTN_UNICAST = 1
_RT_SCOPE_LINK = 253
_IFA_F_DADFAILED = 0x08
_IFA_F_TENTATIVE = 0x40
_IFAPROT_KERNEL_LL = 3

# Chosen: a link message is about 2 kB in the kernel's accounting, so this is a few thousand.
_RECEIVE_BUFFER_BYTES = 8 << 20
_DATAGRAMS_A_ROUND = 64
_MOST_DATAGRAMS = 1 << 20  # to drain while more arrive; as many as never fit the buffer


class Monitor:
    """Calls back for every event of links, neighbours and addresses in this network namespace.

    Args:
        on_message: is given each decoded message.
        on_overflow: is told that events were lost.
    """

    def __init__(
        self, on_message: Callable[[Message], None], on_overflow: Callable[[], None]
    ) -> None:
        self._on_message = on_message
        self._on_overflow = on_overflow
        self._events = EventSocket(_GROUPS, _RECEIVE_BUFFER_BYTES, self.hear)

    def close(self) -> None:
        """Stop listening."""
        self._events.close()

    def hear(self) -> None:
        """Call back for what has happened by now; the event loop does so by itself, a bit later.

        What a request of ours changes has happened when it is answered, but for carrier.
        """
        for _ in range(_DATAGRAMS_A_ROUND):
            data = self._events.receive()
            if data is None:
                return
            if not data:
                self._on_overflow()
                return
            for message in decode_events(data):
                self._on_message(message)

    def drain(self) -> None:
        """Throw away what has happened by now.

        After an overflow the events that are left are older than those that were lost. A dump
        asked for after this is newer than all of them.
        """
        for _ in range(_MOST_DATAGRAMS):
            if self._events.receive() is None:
                return


class Netlink:
    """Requests to the kernel's rtnetlink. Use as an asynchronous context manager.

    Every method raises KernelRefused (with the kernel's errno) or NotPermitted.
    """

    def __init__(self) -> None:
        self._wire = Wire()

    def __enter__(self) -> Netlink:
        """Return itself."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the socket."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._wire.close()

    def links(self) -> list[Message]:
        """Return a message for every device."""
        return self._ask("list the devices", RTM_GETLINK, DUMP, ifinfmsg())

    def sent_packets(self) -> dict[str, int]:
        """Return for every device how many packets the kernel has sent by it."""
        return {
            message.get_attr("IFLA_IFNAME"): message.get_attr("IFLA_STATS64") or 0
            for message in self.links()
        }

    def link(self, ifindex: int) -> list[Message]:
        """Return a message for one device."""
        what = f"look at device {ifindex}"
        return self._ask(what, RTM_GETLINK, REQUEST, link_request(ifindex))

    def neighbours(self, ifindex: int | None) -> list[Message]:
        """Return a message for every neighbour entry of a device, or of all devices."""
        return self._ask("list the neighbours", RTM_GETNEIGH, DUMP, neighbours_request(ifindex))

    def neighbour_entry(self, ifindex: int, family: int, destination: str) -> Message | None:
        """Return the entry of a device for one address, or None when it has none."""
        request = filled(ndmsg(), ifindex=ifindex, family=family, NDA_DST=destination)
        try:
            entries = self._ask(f"look up {destination}", RTM_GETNEIGH, REQUEST, request)
        except KernelRefused as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return entries[0] if entries else None

    def has_route_through(self, ifindex: int) -> bool:
        """Whether a unicast route, of any table and family, leaves through a device.

        The kernel's own fe80::/64 and ff00::/8 are no such route.
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            what = f"list the routes through device {ifindex}"
            request = filled(rtmsg(), family=family, RTA_OIF=ifindex)
            messages = self._ask(what, RTM_GETROUTE, DUMP, request)
            if any(_leads_somewhere(message) for message in messages):
                return True
        return False

    def networks_through(self, ifindex: int) -> list[IpNetwork]:
        """Return the destinations of unicast routes, of any table, that leave through a device."""
        found = []
        for family, nowhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            what = f"list the routes through device {ifindex}"
            request = filled(rtmsg(), family=family, RTA_OIF=ifindex)
            for message in self._ask(what, RTM_GETROUTE, DUMP, request):
                if _leads_somewhere(message):
                    address = message.get_attr("RTA_DST") or nowhere
                    found.append(ipaddress.ip_network(f"{address}/{message['dst_len']}"))
        return found

    def set_link(self, ifindex: int, **attributes: Any) -> None:
        """Change attributes of a device, in one request; see `requests.link_request`."""
        what = f"set {', '.join(attributes)} of device {ifindex}"
        self._ask(what, RTM_SETLINK, REQUEST, link_request(ifindex, **attributes))

    def remove_links(self, indices: Iterable[int]) -> None:
        """Remove devices, all in one request; those that are gone already are no error.

        One by one, each waits for the kernel to let go of it: 1000 take 20 s, this way 0.2 s.
        They are marked by a group of their own, drawn at random among so many that no
        administrator's is hit.
        """
        group = random.SystemRandom().randrange(1 << 16, 1 << 31)
        is_any = False
        for ifindex in indices:
            with _gone_already():
                self.set_link(ifindex, group=group)
                is_any = True
        if is_any:
            with _gone_already():
                request = filled(ifinfmsg(), IFLA_GROUP=group)
                self._ask("remove devices", RTM_DELLINK, REQUEST, request)

    def replace_neighbour(self, **attributes: object) -> None:
        """Add or change a neighbour entry."""
        request = filled(ndmsg(), **attributes)
        self._ask(
            "set a neighbour", RTM_NEWNEIGH, REQUEST | _NLM_F_REPLACE | _NLM_F_CREATE, request
        )

    def addresses(self) -> list[Message]:
        """Return a message for every address of every device."""
        request = addresses_request(socket.AF_UNSPEC, 0)
        return self._ask("list the addresses", RTM_GETADDR, DUMP, request)

    def solicitation_source(self, ifindex: int, target: str) -> str | None:
        """Return the IPv6 address to ask for a neighbour from, in the kernel's place.

        None where the kernel does it, from a link-local address that is not tentative any more, or
        where the device has no address to ask from.
        """
        usable = [
            message
            for message in self._ipv6_addresses(ifindex)
            if not message["flags"] & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED)
        ]
        if any(message["scope"] == _RT_SCOPE_LINK for message in usable):
            return None
        return _nearest([message.get_attr("IFA_ADDRESS") for message in usable], target)

    def remove_kernel_link_local(self, ifindex: int) -> None:
        """Remove the link-local addresses that the kernel itself gave a device."""
        for message in self._ipv6_addresses(ifindex):
            if message.get_attr("IFA_PROTO") == _IFAPROT_KERNEL_LL:
                address = message.get_attr("IFA_ADDRESS")
                request = address_request(ifindex, address, message["prefixlen"])
                what = f"remove {address} from device {ifindex}"
                self._ask(what, RTM_DELADDR, REQUEST, request)

    def set_neighbour_table(self, family: int, ifindex: int, **probes: int) -> None:
        """Set how often a device probes for neighbours: app_probes, ucast_probes, mcast_probes.

        By netlink and not by /proc/sys, which is read-only for a hardened service.
        """
        request = neighbour_table_request(family, ifindex, **probes)
        what = f"set the neighbour probes of device {ifindex}"
        self._ask(what, RTM_SETNEIGHTBL, REQUEST, request)

    def _ipv6_addresses(self, ifindex: int) -> list[Message]:
        what = f"list the addresses of device {ifindex}"
        return self._ask(what, RTM_GETADDR, DUMP, addresses_request(socket.AF_INET6, ifindex))

    def _ask(self, what: str, kind: int, flags: int, request: Message | bytes) -> list[Message]:
        return ask(self._wire, what, kind, flags, request)


@contextlib.contextmanager
def _gone_already() -> Iterator[None]:
    try:
        yield
    except KernelRefused as error:
        if error.errno != errno.ENODEV:
            raise


def ask(wire: Wire, what: str, kind: int, flags: int, request: Message | bytes) -> list[Message]:
    """Return the messages of an answer. Raises KernelRefused or NotPermitted, saying `what`."""
    try:
        return wire.ask(kind, flags, request)
    except PermissionError as error:
        raise NotPermitted(f"may not {what}: CAP_NET_ADMIN is needed") from error
    except OSError as error:
        number = error.errno or errno.ETIMEDOUT
        reason = os.strerror(number)
        if error.strerror not in (None, reason):
            reason += f" ({error.strerror})"
        raise KernelRefused(f"cannot {what}: {reason}", number) from error


def filled(request: Message, **values: object) -> Message:
    """Return a request with these fields and attributes, an attribute as `mtu` or `IFLA_MTU`."""
    fields = {name for name, _ in request.fields}
    for name, value in values.items():
        if name in fields:
            request[name] = value
        else:
            attribute = name if name.isupper() else request.name2nla(name)
            request["attrs"].append((attribute, value))
    return request


def _leads_somewhere(message: Message) -> bool:
    destination = message.get_attr("RTA_DST") or ""
    is_link_local = destination.startswith(("fe80:", "ff00:"))
    return message["type"] == _RTN_UNICAST and not is_link_local


def _nearest(addresses: list[str], target: str) -> str | None:
    """Return the IPv6 address that has the most leading bits in common with a target."""
    wanted = int(ipaddress.IPv6Address(target))
    return min(addresses, key=lambda each: int(ipaddress.IPv6Address(each)) ^ wanted, default=None)
