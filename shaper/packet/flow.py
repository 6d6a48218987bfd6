"""Which flow a frame belongs to.

The law: frames of one flow have one identity, and frames of different flows have different ones.
A flow is a 5-tuple: addresses, protocol and ports, with the VLAN tags before them. The identity
is exact, bytes cut from the frame and no hash of them, so as long as a table has room no two flows
can meet in it. `shared_index` is for when it has none.

What has no ports of its own, or not in every frame, is told apart by addresses and protocol:

- ICMP and all protocols that are not listed in `WITH_PORTS`.
- Fragments, the first one too, which alone has the ports: a datagram stays in one flow and in
  order. The datagram's identification is left out on purpose: with it every datagram would be a
  flow of its own, always new, and a flood of fragments would pass before all else.

What is not IP, or is cut short, is told apart by its Ethernet addresses and type.

Limits. What is inside a tunnel is one flow (RFC 8290, 6.2), except that ESP is told apart by its
SPI. The IPv6 flow label is not used: senders may leave it 0 or change it at will.

References: RFC 8290, 4.1 (classification), 5.3 (collisions), 8 (the random key); RFC 8200, 4.
"""

from __future__ import annotations

from hashlib import blake2b

from shaper.packet import frame as wire

# Specified: protocol numbers whose header begins with what tells flows apart, in four bytes.
_ESP = 50  # its SPI (RFC 4303, 2.1)
_DCCP = 33
_SCTP = 132
_UDP_LITE = 136
WITH_PORTS = frozenset({wire.TCP, wire.UDP, _DCCP, _ESP, _SCTP, _UDP_LITE})
_PORTS_BYTES = 4

# Specified: IPv6 extension headers (RFC 8200, 4; RFC 6275; RFC 7401; RFC 5533).
_FRAGMENT = 44
_AUTHENTICATION = 51
_EXTENSIONS = frozenset({0, 43, _AUTHENTICATION, 60, 135, 139, 140})
_EXTENSION_BYTES = 8  # the shortest

# Specified: where things lie in what is read for a frame without tags. Slices made here once cost
# a frame half of what slices made for it would.
_LINK = wire.VNET_HEADER_BYTES
_TAGS = _LINK + wire.ETHERNET_HEADER_BYTES - 2  # where the EtherType is, or the first tag
_NETWORK = _LINK + wire.ETHERNET_HEADER_BYTES
_TYPE = slice(_TAGS, _NETWORK)
_TYPE_AND_VERSION = slice(_TAGS, _NETWORK + 1)
_FOUR_PROTOCOL = _NETWORK + 9
_FOUR_FRAGMENT = slice(_NETWORK + 6, _NETWORK + 8)
_FOUR_END = _NETWORK + wire.IPV4_HEADER_BYTES + _PORTS_BYTES
_FOUR_ADDRESSES_AND_PORTS = slice(_NETWORK + 12, _FOUR_END)
_SIX_PROTOCOL = _NETWORK + 6
_SIX_END = _NETWORK + wire.IPV6_HEADER_BYTES + _PORTS_BYTES
_SIX_ADDRESSES_AND_PORTS = slice(_NETWORK + 8, _SIX_END)

_PLAIN_IPV4 = wire.IPV4 + b"\x45"  # version 4, a header of five words: no options
_UNFRAGMENTED = (b"\x40\x00", b"\x00\x00")  # the DF flag is set, or nothing is
_TCP = wire.TCP
_UDP = wire.UDP
_IPV6 = wire.IPV6
_FRAGMENTED = 0x3FFF  # the MF flag and the offset

_UDP_PREFIX = bytes([wire.UDP])


def identify(data: bytes) -> bytes:
    """Return the identity of the flow of a frame as read from the TAP. Never raises.

    That of TCP is addresses and ports; every other protocol has its number before that.
    """
    # Nearly every frame is TCP or UDP behind a plain header. Addresses and ports then lie side by
    # side, and one slice has them all.
    if (
        data[_TYPE_AND_VERSION] == _PLAIN_IPV4
        and data[_FOUR_FRAGMENT] in _UNFRAGMENTED
        and len(data) >= _FOUR_END
    ):
        protocol, identity = data[_FOUR_PROTOCOL], data[_FOUR_ADDRESSES_AND_PORTS]
    elif data[_TYPE] == _IPV6 and len(data) >= _SIX_END:
        protocol, identity = data[_SIX_PROTOCOL], data[_SIX_ADDRESSES_AND_PORTS]
    else:
        return _identify_any(data)
    if protocol == _TCP:
        return identity
    if protocol == _UDP:
        return _UDP_PREFIX + identity
    return _identify_any(data)


def shared_index(identity: bytes, key: bytes, count: int) -> int:
    """Return which of `count` shared places a flow has when there is none of its own for it.

    Which flows meet there depends on `key`, up to 64 random bytes, so that no sender can choose
    traffic to meet that of others (RFC 8290, 8).
    """
    digest = blake2b(identity, digest_size=8, key=key).digest()
    return int.from_bytes(digest, "big") % count


def _identify_any(data: bytes) -> bytes:
    ethertype, network = wire.find_network(data)
    tags = data[_TAGS : network - 2]
    if ethertype == wire.IPV4 and len(data) >= network + wire.IPV4_HEADER_BYTES:
        addresses = data[network + 12 : network + 20]
        protocol, transport = _past_ipv4(data, network)
    elif ethertype == wire.IPV6 and len(data) >= network + wire.IPV6_HEADER_BYTES:
        addresses = data[network + 8 : network + 40]
        protocol, transport = _past_ipv6(data, network)
    else:
        return data[_LINK:network]
    ports = data[transport : transport + _PORTS_BYTES] if protocol in WITH_PORTS else b""
    prefix = b"" if protocol == wire.TCP and len(ports) == _PORTS_BYTES else bytes([protocol])
    return tags + prefix + addresses + ports


def _past_ipv4(data: bytes, network: int) -> tuple[int, int]:
    """Return the protocol and the offset of its header; of a fragment, an offset past the end."""
    if int.from_bytes(data[network + 6 : network + 8], "big") & _FRAGMENTED:
        return data[network + 9], len(data)
    return data[network + 9], network + (data[network] & 0x0F) * 4


def _past_ipv6(data: bytes, network: int) -> tuple[int, int]:
    """Return the protocol behind the extension headers and its offset; of fragments, theirs."""
    protocol, offset = data[network + 6], network + wire.IPV6_HEADER_BYTES
    for _ in range(wire.MAX_EXTENSIONS):
        if protocol not in _EXTENSIONS or offset + _EXTENSION_BYTES > len(data):
            break
        length = data[offset + 1]
        is_short = protocol == _AUTHENTICATION  # which counts in words (RFC 4302, 2.2)
        protocol = data[offset]
        offset += (length + 2) * 4 if is_short else (length + 1) * 8
    return protocol, offset
