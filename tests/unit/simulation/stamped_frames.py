"""Frames as small as they can be: headers for the discipline, and what the receiver must know.

Whatever the length on the wire, a frame here is its headers. The TCP sequence number tells the
receiver what is missing, the acknowledgement number when the frame was sent.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from shaper.packet.frame import Frame

ECT = 2
CE = 3
_HEADERS = struct.Struct("!10x12xHBBHHHBBHIIHHII4x4x")


class SentFrame(NamedTuple):
    """What is written on a frame."""

    flow: int
    sequence: int
    sent_at: int  # jiffies
    is_marked: bool


def make_frame(
    flow: int,
    sequence: int,
    *,
    now: int,
    wire_bytes: int = 1514,
    packets: int = 1,
    has_ecn: bool = False,
) -> Frame:
    """Return a frame of TCP over IPv4 from a source port that is the flow's own."""
    addresses = (0xC0000201 + (flow >> 16), 0xC6336402)
    service = ECT if has_ecn else 0
    checksum = -(0x4500 + service + 0x4006 + sum(map(_words, addresses))) % 0xFFFF
    network = (0x0800, 0x45, service, 0, 0, 0, 0x40, 6, checksum, *addresses)
    data = _HEADERS.pack(*network, flow & 0xFFFF, 80, sequence, now)
    return Frame(data, wire_bytes, packets)


def read_frame(frame: Frame) -> SentFrame:
    """Return what is written on a frame."""
    fields = _HEADERS.unpack_from(frame.data)
    flow = (fields[9] - 0xC0000201) << 16 | fields[11]
    return SentFrame(flow, fields[13], fields[14], fields[2] & CE == CE)


def _words(address: int) -> int:
    return (address >> 16) + (address & 0xFFFF)
