"""Fragments of one IP datagram, which is of use only as a whole."""

from __future__ import annotations

from shaper.packet.frame import ETHERTYPE, IPV4, IPV6, VNET_HEADER_BYTES

# Specified: RFC 791, section 3.1; RFC 8200, section 4.5.
_NETWORK = VNET_HEADER_BYTES + 14
_IPV4_BYTES = 20
_IPV4_FRAGMENT = slice(_NETWORK + 6, _NETWORK + 8)
_IPV4_MORE = 0x2000
_IPV4_OFFSET = 0x1FFF
_IPV6_BYTES = 40
_IPV6_NEXT = _NETWORK + 6
_FRAGMENT_HEADER = 44
_IPV6_FRAGMENT = slice(_NETWORK + _IPV6_BYTES + 2, _NETWORK + _IPV6_BYTES + 4)
_IPV6_MORE = 1
_IPV6_OFFSET = 0xFFF8

Position = tuple[bytes, int]  # which datagram, and where in it


def position(data: bytes) -> Position | None:
    """Return of which datagram a frame read from a TAP is a fragment, and its offset; or None."""
    found = _look(data)
    return None if found is None else found[:2]


def unfinished(data: bytes) -> Position | None:
    """Return the same of a fragment that more of its datagram are to follow."""
    found = _look(data)
    return None if found is None or not found[2] else found[:2]


def _look(data: bytes) -> tuple[bytes, int, bool] | None:
    """Return datagram, offset and whether more follow. IPv6: behind no other extension header."""
    ethertype = data[ETHERTYPE]
    if ethertype == IPV4 and len(data) >= _NETWORK + _IPV4_BYTES:
        bits = int.from_bytes(data[_IPV4_FRAGMENT], "big")
        offset, has_more = bits & _IPV4_OFFSET, bool(bits & _IPV4_MORE)
        name = data[_NETWORK + 4 : _NETWORK + 6] + data[_NETWORK + 9 : _NETWORK + 10]
        name += data[_NETWORK + 12 : _NETWORK + 20]
    elif (
        ethertype == IPV6
        and len(data) >= _NETWORK + _IPV6_BYTES + 8
        and data[_IPV6_NEXT] == _FRAGMENT_HEADER
    ):
        bits = int.from_bytes(data[_IPV6_FRAGMENT], "big")
        offset, has_more = bits & _IPV6_OFFSET, bool(bits & _IPV6_MORE)
        name = data[_NETWORK + 8 : _NETWORK + _IPV6_BYTES]
        name += data[_NETWORK + _IPV6_BYTES + 4 : _NETWORK + _IPV6_BYTES + 8]
    else:
        return None
    return (name, offset, has_more) if offset or has_more else None
