"""Segments cut in software are those scapy builds, to the byte."""

from __future__ import annotations

import dataclasses
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from shaper.packet.frame import ETHERNET_HEADER_BYTES, parse_frame
from shaper.packet.segment import split
from tests.unit.strategies import GSO_TYPES, Train, completed, offload, segments, trains, virtio


@settings(deadline=None, max_examples=200)
@given(train=trains(), is_partial=st.booleans())
def test_segments_are_those_scapy_builds(train: Train, is_partial: bool) -> None:
    """Every byte agrees once the pending checksum is filled in, and nothing is lost."""
    frame = parse_frame(offload(train, is_partial=is_partial))
    parts = split(frame)
    if frame.packets == 1:
        assert parts == [frame]
        return
    assert [completed(part.data) for part in parts] == segments(train)
    assert {part.packets for part in parts} == {1}
    assert [part.wire_bytes for part in parts] == [len(part.data) - 10 for part in parts]
    assert sum(part.wire_bytes for part in parts) == frame.wire_bytes


@pytest.mark.parametrize(("protocol", "version"), sorted(GSO_TYPES))
def test_a_frame_of_64_kilobytes(protocol: str, version: int) -> None:
    """The largest offload frame, numbered across the end of both counters."""
    train = Train(
        protocol=protocol,
        version=version,
        flags="FPA",
        sequence=2**32 - 5000,
        identification=2**16 - 3,
        payload_bytes=65_000,
        segment_bytes=1400,
    )
    parts = split(parse_frame(offload(train)))
    assert len(parts) == 47
    assert [completed(part.data) for part in parts] == segments(train)


def test_the_ecn_flag_goes_and_cwr_stays_on_the_first() -> None:
    """CWR is said once, and no segment is an offload frame any more."""
    parts = split(parse_frame(offload(Train(flags="CA"))))
    assert [part.data[1] for part in parts] == [0, 0, 0]
    assert [part.data[10 + 34 + 13] & 0x80 for part in parts] == [0x80, 0, 0]


def test_without_a_link_layer_each_segment_is_shorter_on_the_wire() -> None:
    """What the master does not transmit is counted in no segment; the bytes are the same."""
    data = offload(Train())
    frame = parse_frame(data, ETHERNET_HEADER_BYTES)
    parts = split(frame)
    assert [part.data for part in parts] == [part.data for part in split(parse_frame(data))]
    assert [part.wire_bytes for part in parts] == [len(part.data) - 24 for part in parts]
    assert sum(part.wire_bytes for part in parts) == frame.wire_bytes


def test_an_ipv4_checksum_of_zero_is_written_as_zero() -> None:
    """Where the header adds up to 0xFFFF its complement is 0, not the other zero."""
    first, _, _ = segments(Train(identification=0))
    (checksum,) = struct.unpack_from("!H", first, 24)
    train = Train(identification=checksum)
    expected = segments(train)
    assert expected[0][24:26] == b"\x00\x00"
    assert [completed(part.data) for part in split(parse_frame(offload(train)))] == expected


@given(train=trains(), segment_bytes=st.integers(6000, 65_535))
@settings(deadline=None, max_examples=20)
def test_a_frame_of_one_packet_stays_itself(train: Train, segment_bytes: int) -> None:
    """With nothing to cut the very same frame comes back, its header untouched."""
    frame = parse_frame(offload(dataclasses.replace(train, segment_bytes=segment_bytes)))
    assert split(frame) == [frame]


TCP4 = offload(Train())
UDP6 = offload(Train(protocol="udp", version=6))
TAGGED = offload(Train(tags=1))


@pytest.mark.parametrize(
    "data",
    [
        virtio(flags=1, gso_type=4, size=1448, start=34, at=16) + TCP4[10:],
        virtio(flags=1, gso_type=5, size=1448, start=34, at=16) + TCP4[10:],
        virtio(flags=1, gso_type=4, size=1448, start=54, at=16) + UDP6[10:76] + b"\xf0" * 3000,
        virtio(flags=1, gso_type=1, size=1448, start=38, at=16) + TCP4[10:46] + b"\xf0" * 3000,
        virtio(flags=1, gso_type=1, size=1448, start=34, at=16)
        + TAGGED[10:28]
        + b"\x44"
        + TAGGED[29:56]
        + b"\x50"
        + TAGGED[57:],
        virtio(flags=1, gso_type=5, size=65_500, start=54, at=6) + UDP6[10:] + bytes(65_000),
        virtio(flags=1, gso_type=3, size=1448, start=34, at=6)
        + bytes(Ether() / IP() / UDP() / Raw(bytes(3000))),
    ],
    ids=[
        "ipv4-called-ipv6",
        "tcp-called-udp",
        "udp-called-tcp",
        "checksum-starts-elsewhere",
        "ipv4-header-too-short",
        "segments-longer-than-ip-allows",
        "fragments",
    ],
)
def test_what_cannot_be_cut_is_left_alone(data: bytes) -> None:
    """Counted as several by a header that others contradict, or to be fragmented: it stays."""
    frame = parse_frame(data)
    assert frame.packets > 1
    assert split(frame) == [frame]


@settings(deadline=None, max_examples=300)
@given(
    header=st.binary(min_size=10, max_size=10),
    train=trains(),
    noise=st.lists(st.tuples(st.integers(10, 120), st.integers(0, 255)), max_size=4),
    is_header_kept=st.booleans(),
)
def test_no_damage_loses_a_byte_of_payload(
    header: bytes, train: Train, noise: list[tuple[int, int]], is_header_kept: bool
) -> None:
    """Whatever the frame holds, its wire bytes are conserved and nothing raises."""
    data = bytearray(offload(train))
    if not is_header_kept:
        data[:10] = header
    for offset, value in noise:
        data[min(offset, len(data) - 1)] = value
    frame = parse_frame(bytes(data))
    parts = split(frame)
    assert sum(part.wire_bytes for part in parts) == frame.wire_bytes
    assert sum(part.packets for part in parts) in (frame.packets, 1)
