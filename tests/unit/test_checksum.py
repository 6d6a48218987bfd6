"""Filling in a checksum, and a sink that cannot leave it to the kernel."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.forwarder.edges import CookedSink
from shaper.forwarder.ports import Outcome
from shaper.packet.checksum import complete
from shaper.packet.frame import NEEDS_CSUM, parse_frame
from shaper.packet.segment import split
from tests.unit.strategies import Train, offload, segments, trains


@given(train=trains())
def test_the_checksum_is_the_one_scapy_computes(train: Train) -> None:
    """For TCP and UDP, IPv4 and IPv6, tags and odd lengths; nothing is asked for any more."""
    parts = split(parse_frame(offload(train)))
    if len(parts) > 1:
        done = [complete(part.data) for part in parts]
        assert [each[10:] for each in done] == segments(train)
        assert not any(each[0] & NEEDS_CSUM for each in done)


@given(data=st.binary(max_size=200))
def test_anything_is_returned(data: bytes) -> None:
    """Whatever was read has an answer of the same length."""
    assert len(complete(data)) == len(data)


@pytest.mark.parametrize("version", [4, 6])
def test_an_offload_frame_goes_on_where_it_was_blocked(version: int) -> None:
    """Each segment is sent once, in order, as a whole IP packet with its checksum."""
    sent: list[bytes] = []
    outcomes = iter([Outcome.SENT, Outcome.SENT, Outcome.BLOCKED, *[Outcome.SENT] * 3])

    class KeepingSink(CookedSink):
        def _transmit(self, packet: bytes, ethertype: int) -> Outcome:
            outcome = next(outcomes)
            if outcome is Outcome.SENT:
                sent.append(packet)
            return outcome

    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sink = KeepingSink(near.detach())
    train = Train(version=version, payload_bytes=5000, segment_bytes=1000)
    data = offload(train)
    assert sink.write_one(data) is Outcome.BLOCKED
    assert sink.write_one(data) is Outcome.SENT
    sink.close()
    far.close()
    assert sent == [frame[14:] for frame in segments(train)]
