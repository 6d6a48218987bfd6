"""Which devices can be a master, and which cannot although they are there. Pure."""

from __future__ import annotations

from shaper.model import Link

# Specified: include/uapi/linux/if_arp.h.
_ARPHRD_ETHER = 1
_ARPHRD_PPP = 512
_ARPHRD_RAWIP = 519
_ARPHRD_TUNNEL = 768
_ARPHRD_TUNNEL6 = 769
_ARPHRD_LOOPBACK = 772
_ARPHRD_SIT = 776
_ARPHRD_IPGRE = 778
_ARPHRD_IP6GRE = 823
_ARPHRD_NONE = 0xFFFE

# Chosen: those whose frames are Ethernet's, or bare IP packets.
_USABLE = {
    _ARPHRD_ETHER,
    _ARPHRD_PPP,
    _ARPHRD_RAWIP,
    _ARPHRD_TUNNEL,
    _ARPHRD_TUNNEL6,
    _ARPHRD_SIT,
    _ARPHRD_IPGRE,
    _ARPHRD_IP6GRE,
    _ARPHRD_NONE,
}

# Kinds of devices with an Ethernet header, IFLA_INFO_KIND, that put frames into packets.
_TUNNELS = {
    "bareudp",
    "batadv",
    "erspan",
    "geneve",
    "gretap",
    "ip6erspan",
    "ip6gretap",
    "l2tpeth",
    "openvswitch",
    "ovpn",
    "tun",
    "vxlan",
}


def unusable_reason(master: Link) -> str | None:
    """Return why a device can be no master, by its link layer; None if it can."""
    if master.arphrd == _ARPHRD_LOOPBACK:
        return (
            f"{master.ifname} is a loopback device: what it is given comes back to this machine "
            "(attach to the device that leads to the network)"
        )
    if master.arphrd not in _USABLE:
        return (
            f"{master.ifname} carries neither Ethernet frames nor IP packets "
            f"(its link layer is of type {master.arphrd})"
        )
    return None


def is_tunnel(link: Link) -> bool:
    """Whether a device may send frames inside packets of its own.

    A device of a program (tun) may do anything. One without an Ethernet header is a tunnel, but
    for a few of hardware, for which nothing is lost by the assumption.
    """
    return link.kind in _TUNNELS or link.arphrd not in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK)
