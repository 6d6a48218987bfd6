"""What a frame read from the TAP occupies on the wire, and which frames must never get there.

The law: `wire_bytes` is what the master transmits, the link-layer header of every frame included.
An offload frame of n segments leaves as its payload and n copies of its headers. The check
sequence (FCS), the preamble and the padding of frames shorter than the link's minimum are not
counted: they belong to the link, and tc does not count them either.

How it works. A read is the 10-byte virtio_net_hdr in native order, then the frame from its
Ethernet header on. Its second byte, gso_type, is 0 for all but offload frames; for those the
length of the headers follows from where the checksum starts, or from the headers themselves if
the kernel left no checksum to fill in. hdr_len is a hint to drivers and not used.

Limits. A header that contradicts itself is never an error here: such a frame counts as one frame
of its length, and the packet socket is left to refuse it.

References: virtio 1.2, 5.1.6 (header and gso types); include/uapi/linux/virtio_net.h.
"""

from __future__ import annotations

import mmap
from struct import Struct
from typing import NamedTuple

# Specified: virtio_net_hdr is flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, the
# last four of 16 bits; csum_start counts from the byte after it.
VNET_HEADER = Struct("=BBHHHH")
VNET_HEADER_BYTES = VNET_HEADER.size
NEEDS_CSUM = 1
GSO_TCPV4 = 1
GSO_UDP_FRAGMENTS = 3  # UFO: one datagram, to be cut into IP fragments
GSO_TCPV6 = 4
GSO_UDP_SEGMENTS = 5  # USO: a train of datagrams
GSO_ECN = 0x80  # flag: the first segment carries CWR

# Specified: Ethernet (IEEE 802.3, 802.1Q) and its types.
ETHERNET_HEADER_BYTES = 14
IPV4 = b"\x08\x00"
IPV6 = b"\x86\xdd"
_ARP = b"\x08\x06"
_RARP = b"\x80\x35"
# 802.1Q, 802.1ad, and the tags of QinQ from before 802.1ad; by type, the bytes to the next type.
_VLANS = {bytes.fromhex(each): 4 for each in ("8100", "88a8", "9100", "9200", "9300")}
# And what else stands before a frame's type: R-TAG (802.1CB), HSR, E-TAG (802.1BR), I-TAG.
_TAGS = _VLANS | {b"\xf1\xc1": 6, b"\x89\x2f": 6, b"\x89\x3f": 8, b"\x88\xe7": 18}
# What stations of one link say to each other: LLDP, 802.1X, slow protocols (LACP), MAC control
# (PAUSE), MVRP, CFM, loop tests, PTP, LLTD, 1905.1, discovery of PPPoE.
_CONTROL_TYPES = bytes.fromhex("88cc888e8809880888f58902900088f788d9893a8863")
_LINK_CONTROL = frozenset(_CONTROL_TYPES[at : at + 2] for at in range(0, len(_CONTROL_TYPES), 2))
_LEAST_ETHERTYPE = b"\x06\x00"  # what is less is a length, and LLC follows: STP, or SNAP
# 802.1Q, 8.6.3: addresses that no bridge forwards, 01:80:c2:00:00:00 to 0f.
_RESERVED_ADDRESSES = bytes.fromhex("0180c20000")

# Specified: IP (RFC 791, RFC 8200), TCP (RFC 9293), UDP (RFC 768).
IPV4_HEADER_BYTES = 20
IPV6_HEADER_BYTES = 40
TCP_HEADER_BYTES = 20
UDP_HEADER_BYTES = 8
TCP = 6
UDP = 17
_HOP_BY_HOP = 0
_FRAGMENT = 44
_AUTHENTICATION = 51
# RFC 6564: those still to come (unassigned, or for experiments) have the form of the others.
_EXTENSIONS = frozenset(
    {_HOP_BY_HOP, 43, _FRAGMENT, _AUTHENTICATION, 60, 135, 139, 140, *range(147, 255)}
)
_FRAGMENT_HEADER_BYTES = 8
_ICMPV6 = 58
_EXCESSIVE = -2  # no protocol: more tags or extension headers than are looked past

# Chosen: the work for a frame is bounded by these. A frame of 64 kB has 745 segments of 88 bytes,
# the least of Linux (tcp(7)), and a header of RFC 8200 comes once, but for one that comes twice.
MAX_SEGMENTS = 1024
MAX_EXTENSIONS = 16
MAX_TAGS = 4  # 802.1ad has two

# Specified: MLD 130-132 (RFC 2710), RS, RA, NS, NA, Redirect 133-137 (RFC 4861), MLDv2 143
# (RFC 3810), multicast router discovery 151-153 (RFC 4286).
_NEIGHBOUR_TYPES = frozenset((*range(130, 138), 143, 151, 152, 153))
_IGMP = 2
_MULTICAST_NIBBLE = 0xE  # 224.0.0.0/4
_LINK_SCOPES = (b"\xff\x01", b"\xff\x02")

_ETHERTYPE = VNET_HEADER_BYTES + ETHERNET_HEADER_BYTES - 2
_NETWORK = VNET_HEADER_BYTES + ETHERNET_HEADER_BYTES
ETHERTYPE = slice(_ETHERTYPE, _NETWORK)  # of what is read; that of a VLAN tag if it has one
IGMP_AT = slice(_NETWORK + 9, _NETWORK + 10)  # the protocol of an untagged IPv4 header
IGMP = bytes([_IGMP])
_NEXT = _NETWORK + 6  # of an untagged IPv6 header: next header, then hop limit
_HOPS = _NETWORK + 7
_TCP_OR_UDP = (bytes([TCP]), bytes([UDP]))
_TCP_OFFLOADS = (GSO_TCPV4, GSO_TCPV6, GSO_TCPV4 | GSO_ECN, GSO_TCPV6 | GSO_ECN)
_LEAST_TRANSPORT = _NETWORK + IPV4_HEADER_BYTES

# What was read may be an object of its own, or lie in memory that is used again.
Buffer = bytes | memoryview

# A NamedTuple's own constructor costs 0.2 us more, and every frame would pay for it.
_new_frame = tuple.__new__


class Frame(NamedTuple):
    """One read of the TAP: a virtio-net header and a frame, which may be an offload frame."""

    data: bytes  # 10 bytes of virtio_net_hdr, then the frame from its link-layer header on
    wire_bytes: int  # what it occupies on the wire to the master, each segment with its headers
    packets: int  # frames on the wire: 1, or the number of segments


class Layout(NamedTuple):
    """Where the parts of an offload frame lie, as offsets into what was read."""

    gso_type: int  # without GSO_ECN
    transport: int  # the TCP or UDP header
    payload: int  # what is divided among the segments; all before it is copied to each
    segment_bytes: int  # payload of every segment but the last, which may be shorter
    packets: int


def measure(data: Buffer, header_bytes_removed: int = 0) -> tuple[int, int]:
    """Return the wire bytes and the wire frames of what was read from the TAP. Never raises.

    `header_bytes_removed` is how much of each frame's headers the master does not transmit:
    `ETHERNET_HEADER_BYTES` if it has no link-layer header. They are taken off when it is sent.
    """
    wire_bytes = len(data) - VNET_HEADER_BYTES - header_bytes_removed
    if wire_bytes > 0 and not data[1]:
        return wire_bytes, 1
    # Nearly every offload frame is TCP with a checksum to fill in: measured without a call.
    if wire_bytes > 0 and data[0] & NEEDS_CSUM and data[1] in _TCP_OFFLOADS:
        _, _, _, segment_bytes, checksum_start, _ = VNET_HEADER.unpack_from(data)
        transport = VNET_HEADER_BYTES + checksum_start
        if segment_bytes and _LEAST_TRANSPORT <= transport <= len(data) - TCP_HEADER_BYTES:
            header_bytes = (data[transport + 12] >> 4) * 4
            payload_bytes = len(data) - transport - header_bytes
            if header_bytes >= TCP_HEADER_BYTES and payload_bytes > 0:
                packets = -(-payload_bytes // segment_bytes)
                return wire_bytes + (packets - 1) * (wire_bytes - payload_bytes), packets
    layout = find_layout(data)
    if layout is None:
        return max(wire_bytes, 0), 1
    header_bytes = layout.payload - VNET_HEADER_BYTES - header_bytes_removed
    if layout.gso_type == GSO_UDP_FRAGMENTS and find_network(data)[0] == IPV6:
        header_bytes += _FRAGMENT_HEADER_BYTES  # the kernel inserts it (RFC 8200, 4.5)
    return len(data) - layout.payload + layout.packets * header_bytes, layout.packets


def parse_frame(data: bytes, header_bytes_removed: int = 0) -> Frame:
    """Return what was read from the TAP with its size on the wire, as `measure` tells it."""
    return _new_frame(Frame, (data, *measure(data, header_bytes_removed)))


def are_plain(memory: bytes | mmap.mmap, stride: int, count: int) -> bool:
    """Whether `count` reads, one every `stride` bytes, are IPv4, no IGMP and no offload frame.

    Nearly all traffic is, and answering for a batch costs no more than for one frame. Not by a
    memoryview, which gathers bytes that lie apart at a fourth of the speed.
    """
    end = count * stride
    return (
        not any(memory[1:end:stride])
        and memory[_ETHERTYPE:end:stride] == IPV4[:1] * count
        and memory[_ETHERTYPE + 1 : end : stride] == IPV4[1:] * count
        and IGMP not in memory[IGMP_AT.start : end : stride]
    )


def parse_all(
    batch: list[bytes], header_bytes_removed: int = 0, *, keeps_neighbours: bool = False
) -> tuple[list[Frame], int]:
    """Return the frames of a batch as `parse_frame` would, and how many others may not leave.

    Those are neighbour traffic, which with `keeps_neighbours` is not told from other traffic, and
    what `is_excessive`.

    What nearly every frame is, IPv4 and no offload frame, is recognised without a call.
    """
    frames: list[Frame] = []
    neighbours = 0
    overhead = VNET_HEADER_BYTES + header_bytes_removed
    for data in batch:
        if (data[ETHERTYPE] != IPV4 or data[IGMP_AT] == IGMP) and not may_leave(
            data, keeps_neighbours=keeps_neighbours
        ):
            neighbours += 1
        elif data[1]:
            wire_bytes, packets = measure(data, header_bytes_removed)
            if packets > MAX_SEGMENTS:
                neighbours += 1
            else:
                frames.append(_new_frame(Frame, (data, wire_bytes, packets)))
        else:
            frames.append(_new_frame(Frame, (data, len(data) - overhead, 1)))
    return frames, neighbours


def find_layout(data: Buffer) -> Layout | None:
    """Return the parts of an offload frame; None if it is not one, or contradicts itself."""
    if len(data) < _NETWORK + IPV4_HEADER_BYTES + UDP_HEADER_BYTES:
        return None
    flags, gso_type, _, segment_bytes, checksum_start, _ = VNET_HEADER.unpack_from(data)
    gso_type &= ~GSO_ECN
    if flags & NEEDS_CSUM:
        transport = VNET_HEADER_BYTES + checksum_start
    else:
        _, transport = find_transport(data, *find_network(data))
    header_bytes = _divided_header_bytes(data, gso_type, transport)
    if header_bytes is None or segment_bytes == 0:
        return None
    payload = transport + header_bytes
    packets = -(-(len(data) - payload) // segment_bytes)
    if packets < 1:
        return None
    return Layout(gso_type, transport, payload, segment_bytes, packets)


def find_network(data: Buffer, tags: dict[bytes, int] = _VLANS) -> tuple[bytes, int]:
    """Return the EtherType behind at most `MAX_TAGS` tags, and the offset of what follows it."""
    offset = _ETHERTYPE
    ethertype = bytes(data[offset : offset + 2])
    for _ in range(MAX_TAGS):
        length = tags.get(ethertype)
        if length is None:
            break
        offset += length
        ethertype = bytes(data[offset : offset + 2])
    return ethertype, offset + 2


def find_transport(data: Buffer, ethertype: bytes, network: int) -> tuple[int, int]:
    """Return the protocol behind the IP header at `network` and all extensions, and its offset.

    The protocol is -1 where there is none to be found: not IP, cut short, or not the first
    fragment. The offset may lie beyond the end.
    """
    if ethertype in _TAGS:
        return _EXCESSIVE, len(data)
    if ethertype == IPV4 and len(data) >= network + IPV4_HEADER_BYTES:
        return data[network + 9], network + (data[network] & 0x0F) * 4
    if ethertype == IPV6 and len(data) >= network + IPV6_HEADER_BYTES:
        return _skip_extensions(data, data[network + 6], network + IPV6_HEADER_BYTES)
    return -1, len(data)


def is_neighbour_traffic(data: Buffer) -> bool:
    """Whether this speaks for the link it is seen on: ARP, ND, MLD, IGMP, LLDP, STP and the like.

    The shaper's link is a fiction, and its neighbours are resolved on the master: none that came
    by itself may leave through a shaper. What is routed may, other traffic of link scope (VRRP,
    DHCP) included. What was taken from a device speaks for that device, and passes.
    """
    ethertype = bytes(data[_ETHERTYPE:_NETWORK])
    if ethertype == IPV4 and data[IGMP_AT] != IGMP:
        return False  # here at once, as nearly every frame asks
    if ethertype == IPV6 and data[_NEXT:_HOPS] in _TCP_OR_UDP:
        return False
    network = _NETWORK
    if ethertype in _TAGS:
        ethertype, network = find_network(data, _TAGS)
    if ethertype == IPV4:
        return _is_membership(data, network)
    if ethertype == IPV6:
        return _is_discovery(data, network)
    return (
        len(data) >= network
        and (
            ethertype in (_ARP, _RARP)
            or ethertype in _TAGS  # still: what lies behind is not known
            or ethertype in _LINK_CONTROL
            or ethertype < _LEAST_ETHERTYPE
            or data[VNET_HEADER_BYTES : VNET_HEADER_BYTES + 5] == _RESERVED_ADDRESSES
        )
    )


def may_leave(data: Buffer, *, keeps_neighbours: bool) -> bool:
    """Whether a frame may leave; where neighbour traffic may, all that is worked through may."""
    return not (_hides_its_protocol(data) if keeps_neighbours else is_neighbour_traffic(data))


def _hides_its_protocol(data: Buffer) -> bool:
    """Whether there are more tags or extension headers before it than are worked through."""
    ethertype = bytes(data[_ETHERTYPE:_NETWORK])
    if ethertype == IPV4 or (ethertype == IPV6 and data[_NEXT:_HOPS] in _TCP_OR_UDP):
        return False  # here at once, as nearly every frame asks
    return find_transport(data, *find_network(data, _TAGS))[0] == _EXCESSIVE


def _is_membership(data: Buffer, network: int) -> bool:
    """Whether this is IGMP to a group. A traceroute of multicast routers is sent to one host."""
    return (
        len(data) >= network + IPV4_HEADER_BYTES
        and data[network + 9] == _IGMP
        and data[network + 16] >> 4 == _MULTICAST_NIBBLE
    )


def _is_discovery(data: Buffer, network: int) -> bool:
    """Whether this is ND or MLD; of what hides that in another fragment, by the address."""
    protocol, offset = find_transport(data, IPV6, network)
    if protocol == _EXCESSIVE:
        return True  # what lies behind is not known: it may not leave
    if protocol == _ICMPV6 and offset < len(data):
        return data[offset] in _NEIGHBOUR_TYPES
    return (
        protocol in (-1, _ICMPV6)
        and len(data) >= network + IPV6_HEADER_BYTES
        and bytes(data[network + 24 : network + 26]) in _LINK_SCOPES
    )


def _divided_header_bytes(data: Buffer, gso_type: int, transport: int) -> int | None:
    """Return how much of the transport header each segment repeats; None if it is malformed."""
    if transport < _LEAST_TRANSPORT:
        return None
    if gso_type == GSO_UDP_SEGMENTS:
        return UDP_HEADER_BYTES
    if gso_type == GSO_UDP_FRAGMENTS:
        return 0  # the datagram's header is part of what the fragments carry
    if gso_type in (GSO_TCPV4, GSO_TCPV6) and transport + TCP_HEADER_BYTES <= len(data):
        header_bytes = (data[transport + 12] >> 4) * 4
        return header_bytes if header_bytes >= TCP_HEADER_BYTES else None
    return None


def is_excessive(data: Buffer) -> bool:
    """Whether a frame has more segments, tags or extension headers than are worked through."""
    return _hides_its_protocol(data) or measure(data)[1] > MAX_SEGMENTS


def _skip_extensions(data: Buffer, protocol: int, offset: int) -> tuple[int, int]:
    passed = 0
    while protocol in _EXTENSIONS:
        passed += 1
        if passed > MAX_EXTENSIONS:
            return _EXCESSIVE, len(data)
        if offset + 8 > len(data):
            return -1, len(data)
        if protocol == _FRAGMENT:
            if data[offset + 2] or data[offset + 3] & 0xF8:  # not the first: no header follows
                return -1, len(data)
            header_bytes = _FRAGMENT_HEADER_BYTES
        elif protocol == _AUTHENTICATION:
            header_bytes = (data[offset + 1] + 2) * 4  # RFC 4302, 2.2
        else:
            header_bytes = (data[offset + 1] + 1) * 8
        protocol = data[offset]
        offset += header_bytes
    return protocol, offset
