"""Software segmentation: an offload frame that is too large for its rate, cut into its segments.

When the rate is lowered, offload frames sized for the old one may still wait, and nothing that
waits may be lost. They become here the frames the kernel or the NIC would have made of them.

How it works. Each segment is a copy of the headers and its share of the payload, with what
differs written into it: lengths, the IPv4 identification and header checksum, TCP's sequence
number and flags. The transport checksum is left partial, as the kernel leaves it: the field holds
the sum of the pseudo-header, and NEEDS_CSUM asks the next one to add the rest. That the payload is
never summed here keeps this cheap.

Limits. UDP fragmentation offload (UFO) is counted but not cut: a shaper does not offer it to the
kernel, so no such frame arrives.

References: virtio 1.2, 5.1.6.2; RFC 1624 (incremental checksums); RFC 3168, 6.1.2 (CWR);
net/ipv4/tcp_offload.c and udp_offload.c for what the kernel makes of the same frame.
"""

from __future__ import annotations

from struct import pack_into, unpack_from

from shaper.packet import frame as wire
from shaper.packet.frame import Frame, Layout

_FIN_PSH = 0x09  # TCP flags that belong to the last byte sent
_CWR = 0x80  # a TCP flag that is sent once
_MAX_LENGTH = 0xFFFF  # of the length fields of IP and UDP


def split(frame: Frame) -> list[Frame]:
    """Return the segments of `frame` in order; itself if it is one frame, or is malformed.

    Every segment is a `Frame` of one packet without offload; their wire bytes add up to those
    of `frame`.
    """
    data = frame.data
    layout = wire.find_layout(data) if frame.packets > 1 else None
    if layout is None:
        return [frame]
    ethertype, network = wire.find_network(data)
    if not _is_consistent(data, layout, ethertype, network):
        return [frame]
    payload_bytes = len(data) - layout.payload
    header_wire_bytes = (frame.wire_bytes - payload_bytes) // layout.packets
    headers = _template(data, layout, ethertype, network)
    segments = []
    for index in range(layout.packets):
        start = layout.payload + index * layout.segment_bytes
        part = data[start : start + layout.segment_bytes]
        segment = bytearray(headers) + part
        _write_network(segment, index, ethertype, network)
        _write_transport(segment, index, layout)
        segments.append(Frame(bytes(segment), header_wire_bytes + len(part), 1))
    return segments


def _is_consistent(data: bytes, layout: Layout, ethertype: bytes, network: int) -> bool:
    """Whether the IP headers agree with what the virtio_net_hdr says of them."""
    protocol, transport = wire.find_transport(data, ethertype, network)
    expected = {
        wire.GSO_TCPV4: [(wire.IPV4, wire.TCP)],
        wire.GSO_TCPV6: [(wire.IPV6, wire.TCP)],
        wire.GSO_UDP_SEGMENTS: [(wire.IPV4, wire.UDP), (wire.IPV6, wire.UDP)],
    }
    return (
        (ethertype, protocol) in expected.get(layout.gso_type, [])
        and transport == layout.transport >= network + wire.IPV4_HEADER_BYTES
        and layout.payload - network + layout.segment_bytes <= _MAX_LENGTH
    )


def _template(data: bytes, layout: Layout, ethertype: bytes, network: int) -> bytearray:
    """Return the headers with the offload taken out and the checksum of a segment of length 0."""
    headers = bytearray(data[: layout.payload])
    checksum = layout.transport + _checksum_offset(layout)
    if data[0] & wire.NEEDS_CSUM:
        (pseudo,) = unpack_from("!H", data, checksum)
        pseudo -= len(data) - layout.transport
    else:
        pseudo = _pseudo_header_sum(data, layout, ethertype, network)
    pack_into("!H", headers, checksum, pseudo % 0xFFFF)
    start = layout.transport - wire.VNET_HEADER_BYTES
    offset = checksum - layout.transport
    wire.VNET_HEADER.pack_into(headers, 0, wire.NEEDS_CSUM, 0, 0, 0, start, offset)
    return headers


def _checksum_offset(layout: Layout) -> int:
    return 6 if layout.gso_type == wire.GSO_UDP_SEGMENTS else 16


def _pseudo_header_sum(data: bytes, layout: Layout, ethertype: bytes, network: int) -> int:
    """Return the sum over addresses and protocol; congruent modulo 65535 to the folded one."""
    addresses = (
        data[network + 12 : network + 20]
        if ethertype == wire.IPV4
        else data[network + 8 : network + 40]
    )
    protocol = wire.UDP if layout.gso_type == wire.GSO_UDP_SEGMENTS else wire.TCP
    return int.from_bytes(addresses, "big") + protocol


def _write_network(segment: bytearray, index: int, ethertype: bytes, network: int) -> None:
    length = len(segment) - network
    if ethertype == wire.IPV6:
        pack_into("!H", segment, network + 4, length - wire.IPV6_HEADER_BYTES)
        return
    _, identification = unpack_from("!HH", segment, network + 2)
    pack_into("!HH", segment, network + 2, length, (identification + index) & 0xFFFF)
    pack_into("!H", segment, network + 10, 0)
    header = segment[network : network + (segment[network] & 0x0F) * 4]
    # 2**16 is congruent to 1 modulo 65535, so a remainder is a folded ones' complement sum.
    pack_into("!H", segment, network + 10, -int.from_bytes(header, "big") % 0xFFFF)


def _write_transport(segment: bytearray, index: int, layout: Layout) -> None:
    transport = layout.transport
    length = len(segment) - transport
    checksum = transport + _checksum_offset(layout)
    (pseudo,) = unpack_from("!H", segment, checksum)
    pack_into("!H", segment, checksum, (pseudo + length) % 0xFFFF)
    if layout.gso_type == wire.GSO_UDP_SEGMENTS:
        pack_into("!H", segment, transport + 4, length)
        return
    (sequence,) = unpack_from("!I", segment, transport + 4)
    sequence += index * layout.segment_bytes
    pack_into("!I", segment, transport + 4, sequence & 0xFFFFFFFF)
    if index > 0:
        segment[transport + 13] &= ~_CWR & 0xFF
    if index < layout.packets - 1:
        segment[transport + 13] &= ~_FIN_PSH & 0xFF
