"""The devices of this network namespace, kept current by netlink events."""

from __future__ import annotations

from collections.abc import Set

from shaper.kernel.netlink_messages import Message
from shaper.model import AGGREGATES, Link

# Specified: include/uapi/linux/if.h, if_link.h.
_IFF_UP = 0x1
_IFF_NOARP = 0x80
_IFF_LOWER_UP = 0x10000
_MACVLAN_MODE_PASSTHRU = 8
_IN6_ADDR_GEN_MODE_NONE = 1
_NO_LINK_LOCAL = (None, _IN6_ADDR_GEN_MODE_NONE)  # a device without IPv6 has no mode
_MACVLANS = ("macvlan", "macvtap")

_RTM_DELLINK = "RTM_DELLINK"
_DORMANT = "DORMANT"  # RFC 2863: has carrier, and waits to be let in (802.1X)


class Links:
    """A table of devices by index and by name.

    Attributes:
        by_index: all of them; read-only outside this class.
    """

    def __init__(self) -> None:
        self.by_index: dict[int, Link] = {}
        self._index_of: dict[str, int] = {}
        self._ports: dict[int, set[int]] = {}
        self._above: dict[int, set[int]] = {}

    def index(self, ifindex: int) -> Link | None:
        """Return the device with this index."""
        return self.by_index.get(ifindex)

    def names(self) -> Set[str]:
        """Return the names of all devices, their altnames included."""
        return self._index_of.keys()

    def name(self, ifname: str) -> Link | None:
        """Return the device with this name, or with this among its other names."""
        ifindex = self._index_of.get(ifname)
        return None if ifindex is None else self.by_index[ifindex]

    def ports(self, ifindex: int) -> set[int]:
        """Return the indices of the ports of a bridge or bond."""
        return self._ports.get(ifindex, set())

    def resting_on(self, ifindex: int) -> list[Link]:
        """Return the devices on top of a device: its vlans, macvlans and the like."""
        return [self.by_index[each] for each in sorted(self._above.get(ifindex, ()))]

    def resolver(self, ifindex: int) -> int:
        """Return the device that what a device receives is handed to, if it is a port.

        That of a port of a bridge, bond or team is the bridge, bond or team, and so on upwards.
        """
        seen = set()
        while (link := self.by_index.get(ifindex)) is not None and ifindex not in seen:
            if link.upper is None or link.port_kind not in AGGREGATES:
                break
            seen.add(ifindex)
            ifindex = link.upper
        return ifindex

    def replace(self, messages: list[Message]) -> set[int]:
        """Take a full dump; return the indices of all devices it tells of and of those gone."""
        before = tuple(self.by_index)
        for ifindex in before:
            self._take_out(ifindex)
        for link in map(parse_link, messages):
            self._put_in(link)
        return {*before, *self.by_index}

    def update(self, message: Message) -> int | None:
        """Take one event; return the index of the device if something we keep has changed."""
        link = parse_link(message)
        known = self.by_index.get(link.ifindex)
        if message["event"] == _RTM_DELLINK:
            self._take_out(link.ifindex)
            return link.ifindex if known is not None else None
        if known == link:
            return None
        self._take_out(link.ifindex)
        self._put_in(link)
        return link.ifindex

    def _put_in(self, link: Link) -> None:
        self.by_index[link.ifindex] = link
        for name in (link.ifname, *link.altnames):
            self._index_of[name] = link.ifindex
        for index, table in ((link.upper, self._ports), (link.lower, self._above)):
            if index is not None:
                table.setdefault(index, set()).add(link.ifindex)

    def _take_out(self, ifindex: int) -> None:
        link = self.by_index.pop(ifindex, None)
        if link is None:
            return
        # Another device may bear the name by now: of two that swap theirs one is told of first.
        for name in (link.ifname, *link.altnames):
            if self._index_of.get(name) == ifindex:
                del self._index_of[name]
        for index, table in ((link.upper, self._ports), (link.lower, self._above)):
            if index is not None:
                table[index].remove(ifindex)
                if not table[index]:
                    del table[index]


def parse_link(message: Message) -> Link:
    """Return the device that an RTM_NEWLINK or RTM_DELLINK message tells of."""
    flags = message["flags"]
    address = message.get_attr("IFLA_ADDRESS")
    operstate = message.get_attr("IFLA_OPERSTATE") or "UNKNOWN"
    return Link(
        ifindex=message["index"],
        ifname=message.get_attr("IFLA_IFNAME") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        address=bytes.fromhex(address.replace(":", "")) if address else b"",
        arphrd=message["ifi_type"],
        is_up=bool(flags & _IFF_UP),
        # Not IFF_RUNNING: net/core/link_watch.c may report that a second after the carrier.
        is_running=bool(flags & _IFF_LOWER_UP) and operstate != _DORMANT,
        operstate=operstate,
        txqueuelen=message.get_attr("IFLA_TXQLEN") or 0,
        lower=_lower(message),
        upper=message.get_attr("IFLA_MASTER"),
        is_noarp=bool(flags & _IFF_NOARP),
        kind=message.get_attr("IFLA_INFO_KIND") or "",
        port_kind=message.get_attr("IFLA_INFO_SLAVE_KIND") or "",
        takes_all=_takes_all(message),
        ipv6_mtu=message.get_attr("IFLA_INET6_CONF"),
        makes_link_local=message.get_attr("IFLA_INET6_ADDR_GEN_MODE") not in _NO_LINK_LOCAL,
        altnames=message.get_attr("IFLA_PROP_LIST") or (),
    )


def _takes_all(message: Message) -> bool:
    return (
        message.get_attr("IFLA_INFO_KIND") in _MACVLANS
        and message.get_attr("IFLA_MACVLAN_MODE") == _MACVLAN_MODE_PASSTHRU
    )


def _lower(message: Message) -> int | None:
    """Return the device below, unless IFLA_LINK names one of another namespace."""
    if message.get_attr("IFLA_LINK_NETNSID") is not None:
        return None
    lower = message.get_attr("IFLA_LINK")
    return lower if lower and lower != message["index"] else None
