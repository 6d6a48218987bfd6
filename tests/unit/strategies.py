"""Traffic for the tests of frames and segments: offload frames, and what scapy makes of them.

An offload frame is described once, as a `Train`. `offload` builds what the TAP would deliver for
it, `segments` the frames that belong on the wire, each built by scapy from its fields alone. The
code under test is used for neither.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, in4_pseudoheader
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    in6_pseudoheader,
)
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum

NEEDS_CSUM = 1
GSO_ECN = 0x80
PROTOCOLS = {"tcp": 6, "udp": 17}
GSO_TYPES = {("tcp", 4): 1, ("tcp", 6): 4, ("udp", 4): 5, ("udp", 6): 5}
TCP_OPTIONS = (
    (),
    (("Timestamp", (1000, 2000)),),
    (("NOP", None), ("NOP", None), ("SAck", (1, 2, 3, 4, 5, 6))),
)


@dataclass(frozen=True)
class Train:
    """What an offload frame carries and how it is to be cut."""

    protocol: str = "tcp"
    version: int = 4
    tags: int = 0  # VLAN tags
    has_options: bool = False  # IPv4 options, or IPv6 extension headers
    tcp_options: tuple[object, ...] = ()
    flags: str = "A"
    sequence: int = 1
    identification: int = 1
    payload_bytes: int = 3000
    segment_bytes: int = 1448

    @property
    def chunks(self) -> list[bytes]:
        """The payload of each segment."""
        payload = bytes(index * 7 % 251 for index in range(self.payload_bytes))
        step = self.segment_bytes
        return [payload[start : start + step] for start in range(0, len(payload), step)]


def virtio(
    *,
    flags: int = 0,
    gso_type: int = 0,
    hdr_len: int = 0,
    size: int = 0,
    start: int = 0,
    at: int = 0,
) -> bytes:
    """Return a virtio_net_hdr."""
    return struct.pack("=BBHHHH", flags, gso_type, hdr_len, size, start, at)


def segments(train: Train) -> list[bytes]:
    """Return the frames that belong on the wire, with complete checksums."""
    chunks = train.chunks
    return [_segment(train, index, chunks) for index in range(len(chunks))]


def offload(train: Train, *, is_partial: bool = True, hdr_len: int = 0) -> bytes:
    """Return what the TAP delivers: virtio_net_hdr and the frame still in one piece.

    With `is_partial` the checksum field holds the sum of the pseudo-header, as Linux leaves it.
    Without, the checksum is complete and the header says nothing of it.
    """
    packet = _packet(
        train, train.flags, train.sequence, train.identification, b"".join(train.chunks)
    )
    raw = bytearray(bytes(packet))
    kind = GSO_TYPES[train.protocol, train.version]
    if "C" in train.flags and train.protocol == "tcp":
        kind |= GSO_ECN
    if not is_partial:
        return virtio(gso_type=kind, hdr_len=hdr_len, size=train.segment_bytes) + bytes(raw)
    transport = packet[TCP] if train.protocol == "tcp" else packet[UDP]
    start = len(raw) - len(bytes(transport))
    at = 16 if train.protocol == "tcp" else 6
    pseudo = _pseudo_header(packet, PROTOCOLS[train.protocol], len(raw) - start)
    struct.pack_into("!H", raw, start + at, ~checksum(pseudo) & 0xFFFF)
    header = virtio(
        flags=NEEDS_CSUM,
        gso_type=kind,
        hdr_len=hdr_len,
        size=train.segment_bytes,
        start=start,
        at=at,
    )
    return header + bytes(raw)


def completed(data: bytes) -> bytes:
    """Return the frame behind a virtio_net_hdr with its checksum filled in, as a NIC does it."""
    flags, gso_type, hdr_len, size, start, at = struct.unpack_from("=BBHHHH", data)
    assert (flags, gso_type, hdr_len, size) == (NEEDS_CSUM, 0, 0, 0)
    raw = bytearray(data[10:])
    value = checksum(bytes(raw[start:]))
    is_udp = at == 6
    struct.pack_into("!H", raw, start + at, 0xFFFF if is_udp and value == 0 else value)
    return bytes(raw)


def trains() -> st.SearchStrategy[Train]:
    """Draw offload frames of up to some 20 segments."""
    return st.sampled_from(sorted(GSO_TYPES)).flatmap(_trains_of)


def _trains_of(kind: tuple[str, int]) -> st.SearchStrategy[Train]:
    protocol, version = kind
    return st.builds(
        Train,
        protocol=st.just(protocol),
        version=st.just(version),
        tags=st.integers(0, 2),
        has_options=st.booleans(),
        tcp_options=st.sampled_from(TCP_OPTIONS),
        flags=st.sampled_from(["A", "PA", "FPA", "CA", "ECPA"]),
        sequence=st.integers(0, 2**32 - 1),
        identification=st.integers(0, 2**16 - 1),
        payload_bytes=st.integers(1, 6000),
        segment_bytes=st.integers(300, 9000),
    )


def _segment(train: Train, index: int, chunks: list[bytes]) -> bytes:
    flags = train.flags
    if index > 0:
        flags = flags.replace("C", "")
    if index < len(chunks) - 1:
        flags = flags.replace("F", "").replace("P", "")
    sequence = (train.sequence + index * train.segment_bytes) % 2**32
    identification = (train.identification + index) % 2**16
    return bytes(_packet(train, flags, sequence, identification, chunks[index]))


def _packet(
    train: Train, flags: str, sequence: int, identification: int, payload: bytes
) -> Packet:
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    tags = [Dot1AD(vlan=7), Dot1Q(vlan=5)][2 - train.tags :]
    for tag in tags:
        link = link / tag
    if train.protocol == "tcp":
        options = list(train.tcp_options)
        transport = TCP(sport=80, dport=40000, seq=sequence, ack=9, flags=flags, options=options)
    else:
        transport = UDP(sport=53, dport=40000)
    return link / _network(train, identification) / transport / Raw(payload)


def _network(train: Train, identification: int) -> Packet:
    if train.version == 4:
        options = [IPOption_NOP()] * 4 if train.has_options else []
        return IP(src="192.0.2.1", dst="198.51.100.2", id=identification, options=options)
    header = IPv6(src="2001:db8::1", dst="2001:db8:1::2")
    return header / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() if train.has_options else header


def _pseudo_header(packet: Packet, protocol: int, length: int) -> bytes:
    if IP in packet:
        return bytes(in4_pseudoheader(protocol, packet[IP], length))
    network = packet[IPv6]
    return bytes(in6_pseudoheader(protocol, network, length))
