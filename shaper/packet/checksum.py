"""The checksum of a frame that its sender left to the hardware, filled in; and one bit flipped.

References: RFC 1071 (the sum); virtio 1.2, 5.1.6.2 (what the header asks the driver to fill in).
"""

from __future__ import annotations

from struct import pack_into

from shaper.packet import frame as wire

_UDP_OFFSET = 6  # of the checksum in its header; TCP has it elsewhere


def complete(data: bytes) -> bytes:
    """Return a frame with its transport checksum, as the NIC would have written it.

    Args:
        data: a virtio_net_hdr and a frame that is no offload frame.
    """
    if len(data) < wire.VNET_HEADER_BYTES:
        return data
    flags, _, _, _, start, offset = wire.VNET_HEADER.unpack_from(data)
    first = wire.VNET_HEADER_BYTES + start
    place = first + offset
    if not flags & wire.NEEDS_CSUM or place + 2 > len(data):
        return data
    # The field holds the sum over the pseudo-header, so it is summed with the rest.
    covered = data[first:] + b"\0" * ((len(data) - first) % 2)
    # 2**16 is congruent to 1 modulo 65535, so a remainder is a folded ones' complement sum.
    checksum = -int.from_bytes(covered, "big") % 0xFFFF
    done = bytearray(data)
    # A sum of zero has another form, and in UDP 0 means that there is none (RFC 768).
    pack_into("!H", done, place, checksum or (0xFFFF if offset == _UDP_OFFSET else 0))
    done[: wire.VNET_HEADER_BYTES] = bytes(wire.VNET_HEADER_BYTES)
    return bytes(done)


def flip_bit(data: bytes, bit: int) -> bytes:
    """Return a frame with one bit of its payload inverted, and its checksum left as it was.

    Args:
        data: a virtio_net_hdr and a frame that is no offload frame.
        bit: which one, counted from the first of what follows the transport header; larger
            numbers begin again. Without any payload the last byte of the frame is hit.
    """
    whole = complete(data)
    start = min(_payload(whole), len(whole) - 1)
    bit %= 8 * (len(whole) - start)
    damaged = bytearray(whole)
    damaged[start + bit // 8] ^= 0x80 >> bit % 8
    return bytes(damaged)


def _payload(data: bytes) -> int:
    protocol, transport = wire.find_transport(data, *wire.find_network(data))
    if protocol == wire.UDP:
        return transport + wire.UDP_HEADER_BYTES
    if protocol == wire.TCP and transport + wire.TCP_HEADER_BYTES <= len(data):
        return transport + (data[transport + 12] >> 4) * 4
    return transport
