"""What is measured at once has the size that its parts add up to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaper.packet.frame import (
    ETHERNET_HEADER_BYTES,
    GSO_UDP_FRAGMENTS,
    VNET_HEADER_BYTES,
    find_layout,
    measure,
)
from tests.unit.strategies import Train, offload, trains, virtio


@pytest.mark.no_cover
@settings(deadline=None, max_examples=500)
@given(
    train=trains(),
    fields=st.tuples(
        st.sampled_from([0, 1, 3]),
        st.sampled_from([1, 3, 4, 5, 0x81, 0x84]),
        st.sampled_from([0, 1, 1448, 65_535]),
        st.sampled_from([0, 33, 34, 38, 54, 65_535]),
    ),
    offset=st.sampled_from([0, 0x40, 0x50, 0x80, 0xF0]),
    cut=st.integers(50, 150),
    removed=st.sampled_from([0, ETHERNET_HEADER_BYTES]),
)
def test_what_is_measured_at_once_is_what_its_layout_says(
    train: Train, fields: tuple[int, int, int, int], offset: int, cut: int, removed: int
) -> None:
    """A TCP offload frame, however damaged, has the size of its parts."""
    flags, gso_type, size, start = fields
    data = bytearray(offload(train))
    data[:10] = virtio(flags=flags, gso_type=gso_type, size=size, start=start)
    if 22 + start < len(data):
        data[22 + start] = offset
    for each in (bytes(data), bytes(data[:cut])):
        layout = find_layout(each)
        expected = len(each) - VNET_HEADER_BYTES - removed, 1
        if layout is not None and layout.gso_type != GSO_UDP_FRAGMENTS:
            payload_bytes = len(each) - layout.payload
            headers_bytes = layout.packets * (layout.payload - VNET_HEADER_BYTES - removed)
            expected = payload_bytes + headers_bytes, layout.packets
        if layout is None or layout.gso_type != GSO_UDP_FRAGMENTS:
            assert measure(each, removed) == expected
