"""Addresses, routes and rules of this network namespace: listed, added and removed.

Every method raises KernelRefused, with the kernel's errno, or NotPermitted. Adding what exists and
removing what is gone is no error: the outcome is what was asked for. What adds returns whether it
did.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_GETADDR,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_NEWADDR,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_SETLINK,
)
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from shaper.errors import KernelRefused
from shaper.kernel.netlink import ask, filled
from shaper.kernel.netlink_messages import Message
from shaper.kernel.requests import address_request, addresses_request
from shaper.kernel.route_messages import (
    FAMILIES,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    RTPROT_KERNEL,
    SeenAddress,
    SeenRoute,
    SeenRule,
    own_address,
    route_request,
    rule_request,
    seen_address,
    seen_hops,
    seen_route,
    seen_rule,
)
from shaper.kernel.wire import DUMP, REQUEST, Wire
from shaper.network import (
    MAIN_TABLE,
    PROTOCOL,
    IpAddress,
    IpInterface,
    Route,
    Rule,
)

# Specified: include/uapi/linux/netlink.h, if.h.
_IFF_UP = 0x1
_NLM_F_REPLACE = 0x100
_NLM_F_CREATE = 0x400
_NLM_F_APPEND = 0x800
_NLM_F_EXCL = 0x200
_GONE = {errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV}


class Routing:
    """Requests about addresses, routes and rules.

    Args:
        wire: an open rtnetlink socket; it is not closed here.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def addresses(self, ifindex: int) -> list[SeenAddress]:
        """Return the addresses of a device, IPv4 first, in the kernel's order."""
        found = []
        for family in FAMILIES.values():
            request = addresses_request(family, ifindex)
            what = f"list the addresses of device {ifindex}"
            found += [seen_address(each) for each in self._dump(what, RTM_GETADDR, request)]
        return found

    def addresses_of_all(self) -> dict[int, list[SeenAddress]]:
        """Return the addresses of every device that has some, in the same order."""
        found: dict[int, list[SeenAddress]] = {}
        for family in FAMILIES.values():
            request = addresses_request(family, 0)
            for each in self._dump("list the addresses", RTM_GETADDR, request):
                found.setdefault(each["index"], []).append(seen_address(each))
        return found

    def holders(self, address: IpAddress) -> set[int]:
        """Return the indices of the devices that have an address."""
        request = addresses_request(FAMILIES[address.version], 0)
        messages = self._dump(f"look for {address}", RTM_GETADDR, request)
        return {each["index"] for each in messages if own_address(each) == str(address)}

    def routes_through(self, ifindex: int) -> list[SeenRoute]:
        """Return the unicast routes of all tables that leave through a device.

        What the kernel made itself, from an address, is not among them.
        """
        what = f"list the routes through device {ifindex}"
        found = self._routes(what, RTA_OIF=ifindex)
        return [each for each in found if each.protocol != RTPROT_KERNEL]

    def default_hops(self, ifindex: int) -> list[SeenRoute]:
        """Return the default routes of the main table that have a next hop on a device.

        Of several next hops of one route, that one is returned.
        """
        what = f"list the default routes of device {ifindex}"
        found = self._routes(what, ifindex, RTA_OIF=ifindex)
        return [
            each
            for each in found
            if each.route.destination.prefixlen == 0 and each.route.table == MAIN_TABLE
        ]

    def own_routes(self) -> list[SeenRoute]:
        """Return every route that bears our protocol, one for each of its next hops."""
        messages = self._route_messages("list the routes of shapers", proto=PROTOCOL)
        return [seen for message in messages for seen in seen_hops(message)]

    def rules(self) -> list[SeenRule]:
        """Return all policy rules."""
        found = []
        for family in FAMILIES.values():
            messages = self._dump("list the rules", RTM_GETRULE, filled(fibmsg(), family=family))
            found += [seen for each in messages if (seen := seen_rule(each)) is not None]
        return found

    def bring_up(self, ifindex: int) -> bool:
        """Set a device up, as `ip link set up` does."""
        request = filled(ifinfmsg(), index=ifindex, flags=_IFF_UP, change=_IFF_UP)
        return self._change(f"bring up device {ifindex}", RTM_SETLINK, REQUEST, request, ())

    def take_down(self, ifindex: int) -> None:
        """Set a device down, as `ip link set down` does."""
        request = filled(ifinfmsg(), index=ifindex, flags=0, change=_IFF_UP)
        self._change(f"take down device {ifindex}", RTM_SETLINK, REQUEST, request, _GONE)

    def add_address(self, ifindex: int, address: IpInterface) -> bool:
        """Give a device an address, and with it the route to its prefix."""
        return self._add_address(ifindex, address, 0)

    def add_copy(self, ifindex: int, address: IpInterface) -> bool:
        """Give a device an address of another device: no route to its prefix comes with it."""
        return self._add_address(ifindex, address, IFA_F_NOPREFIXROUTE)

    def _add_address(self, ifindex: int, address: IpInterface, flags: int) -> bool:
        # A shaper receives nothing, so it could not find a duplicate.
        flags |= IFA_F_NODAD if address.version == 6 else 0
        request = address_request(
            ifindex, str(address.ip), address.network.prefixlen, flags=flags, protocol=PROTOCOL
        )
        kind = REQUEST | _NLM_F_CREATE | _NLM_F_EXCL
        return self._change(f"add {address}", RTM_NEWADDR, kind, request, {errno.EEXIST})

    def remove_address(self, ifindex: int, address: IpInterface) -> None:
        """Take an address from a device."""
        request = address_request(ifindex, str(address.ip), address.network.prefixlen)
        self._change(f"remove {address}", RTM_DELADDR, REQUEST, request, _GONE)

    def add_route(self, route: Route, ifindex: int | None, beside: Route | None = None) -> bool:
        """Add a route, before others of its prefix and metric, which stay.

        Args:
            route: what to add.
            ifindex: through which device; None where its kind needs none.
            beside: one of ours of the same prefix, metric and device, which is to go. A request to
                remove it takes the first that has all that the request names, so that the new one
                comes behind it; of IPv6, where there is one for each next hop, in its place.
        """
        hop = "" if route.gateway is None else f" via {route.gateway}"
        flags = REQUEST | _NLM_F_CREATE
        if beside is not None and route.version == 4:
            flags |= _NLM_F_APPEND
        elif beside is not None and beside.gateway == route.gateway:
            flags |= _NLM_F_REPLACE
        return self._change(
            f"add the route {route.destination}{hop}",
            RTM_NEWROUTE,
            flags,
            route_request(route, ifindex),
            {errno.EEXIST},
        )

    def remove_route(self, route: Route, ifindex: int | None) -> None:
        """Remove a route of ours."""
        what = f"remove the route {route.destination}"
        request = route_request(route, ifindex)
        self._change(what, RTM_DELROUTE, REQUEST, request, _GONE)

    def add_rule(self, rule: Rule) -> bool:
        """Add a policy rule."""
        flags = REQUEST | _NLM_F_CREATE | _NLM_F_EXCL
        return self._change("add a rule", RTM_NEWRULE, flags, rule_request(rule), {errno.EEXIST})

    def remove_rule(self, rule: Rule) -> None:
        """Remove a policy rule of ours."""
        self._change("remove a rule", RTM_DELRULE, REQUEST, rule_request(rule), _GONE)

    def _routes(
        self, what: str, hop_through: int | None = None, **filters: object
    ) -> list[SeenRoute]:
        messages = self._route_messages(what, **filters)
        return [seen for each in messages if (seen := seen_route(each, hop_through))]

    def _route_messages(self, what: str, **filters: object) -> list[Message]:
        found = []
        for family in FAMILIES.values():
            request = filled(rtmsg(), family=family, **filters)
            found += self._dump(what, RTM_GETROUTE, request)
        return found

    def _dump(self, what: str, kind: int, request: Message | bytes) -> list[Message]:
        try:
            return ask(self._wire, what, kind, DUMP, request)
        except KernelRefused as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT):
                return []  # no IPv6, or no such table
            raise

    def _change(
        self, what: str, kind: int, flags: int, request: Message | bytes, harmless: Iterable[int]
    ) -> bool:
        try:
            ask(self._wire, what, kind, flags, request)
        except KernelRefused as error:
            if error.errno not in harmless:
                raise
            return False
        return True
