"""Frames as masters without a link-layer header (tun, WireGuard, PPP) take them."""

from __future__ import annotations

from shaper.packet.frame import ETHERNET_HEADER_BYTES, ETHERTYPE, IPV4, IPV6, VNET_HEADER


def strip_link_header(data: bytes) -> tuple[bytes, int] | None:
    """Return a frame for a master without link-layer header, and its EtherType.

    The Ethernet header goes and the offsets of the virtio_net_hdr move with it. None for
    anything but IPv4 and IPv6: such a master carries nothing else, and no VLAN tag.
    """
    ethertype = data[ETHERTYPE]
    if ethertype not in (IPV4, IPV6):
        return None
    flags, gso_type, hdr_len, gso_size, start, offset = VNET_HEADER.unpack_from(data)
    header = VNET_HEADER.pack(
        flags,
        gso_type,
        max(hdr_len - ETHERNET_HEADER_BYTES, 0),
        gso_size,
        max(start - ETHERNET_HEADER_BYTES, 0),
        offset,
    )
    return header + data[ETHERTYPE.stop :], int.from_bytes(ethertype, "big")
