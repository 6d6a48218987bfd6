"""Congestion Experienced: telling a sender of a queue without losing its frame.

The law: a mark changes the two ECN bits of a sender that understands them, and the IPv4 header
checksum that covers them; every other byte stays. A frame whose sender does not (Not-ECT), and
one that is not IP, is never changed.

An offload frame is marked once, in the header its segments copy, so each of them carries the
mark. Neither the pseudo-header of TCP and UDP nor the virtio_net_hdr covers these bits.

References: RFC 3168, 5 (the codepoints), 6.1.1 (what a router may do); RFC 1624, 3 (the checksum);
RFC 8200, 7 (the traffic class).
"""

from __future__ import annotations

from shaper.packet import frame as wire

# Specified: RFC 3168, 5.
_ECN = 0b11
_CE = 0b11
_SIX_SHIFT = 4  # in the second byte of IPv6 the traffic class ends four bits from the right


def mark(data: bytes) -> bytes | None:
    """Return the frame as read from the TAP with CE set; None where that is not allowed.

    A frame that already bears CE is returned as it is.
    """
    ethertype, network = wire.find_network(data)
    if ethertype == wire.IPV4 and len(data) >= network + wire.IPV4_HEADER_BYTES:
        codepoint = data[network + 1] & _ECN
    elif ethertype == wire.IPV6 and len(data) >= network + wire.IPV6_HEADER_BYTES:
        codepoint = (data[network + 1] >> _SIX_SHIFT) & _ECN
    else:
        return None
    if not codepoint:
        return None
    if codepoint == _CE:
        return data
    marked = bytearray(data)
    if ethertype == wire.IPV4:
        _mark_ipv4(marked, network)
    else:
        marked[network + 1] |= _CE << _SIX_SHIFT
    return bytes(marked)


def _mark_ipv4(data: bytearray, network: int) -> None:
    """Set the bits, and let the checksum follow as in RFC 1624, 3: HC' = ~(~HC + ~m + m')."""
    added = _CE - (data[network + 1] & _ECN)  # m' - m, as the bits are the lowest of the word
    data[network + 1] |= _CE
    checksum = int.from_bytes(data[network + 10 : network + 12], "big")
    total = (~checksum & 0xFFFF) + added
    total = (total & 0xFFFF) + (total >> 16)
    data[network + 10 : network + 12] = (~total & 0xFFFF).to_bytes(2, "big")
