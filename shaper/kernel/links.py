"""The devices of this network namespace, kept current by netlink events."""

from __future__ import annotations

from shaper.kernel.netlink import Message
from shaper.model import Link

# Specified: include/uapi/linux/if.h, if_arp.h.
_IFF_UP = 0x1
_IFF_NOARP = 0x80
_IFF_LOWER_UP = 0x10000

_RTM_DELLINK = "RTM_DELLINK"
_DORMANT = "DORMANT"  # RFC 2863: has carrier, and waits to be let in (802.1X)


class Links:
    """A table of devices by index and by name."""

    def __init__(self) -> None:
        self.by_index: dict[int, Link] = {}

    def index(self, ifindex: int) -> Link | None:
        """Return the device with this index."""
        return self.by_index.get(ifindex)

    def names(self) -> set[str]:
        """Return the names of all devices."""
        return {link.ifname for link in self.by_index.values()}

    def name(self, ifname: str) -> Link | None:
        """Return the device with this name."""
        for link in self.by_index.values():
            if link.ifname == ifname:
                return link
        return None

    def replace(self, messages: list[Message]) -> set[int]:
        """Take a full dump; return the indices of all devices it tells of and of those gone."""
        before = set(self.by_index)
        self.by_index = {link.ifindex: link for link in map(parse_link, messages)}
        return before | set(self.by_index)

    def update(self, message: Message) -> int | None:
        """Take one event; return the index of the device if something we keep has changed."""
        link = parse_link(message)
        if message["event"] == _RTM_DELLINK:
            return link.ifindex if self.by_index.pop(link.ifindex, None) else None
        if self.by_index.get(link.ifindex) == link:
            return None
        self.by_index[link.ifindex] = link
        return link.ifindex


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
    )


def _lower(message: Message) -> int | None:
    """Return the device below, unless IFLA_LINK names one of another namespace."""
    if message.get_attr("IFLA_LINK_NETNSID") is not None:
        return None
    lower = message.get_attr("IFLA_LINK")
    return lower if lower and lower != message["index"] else None
