"""The work for a frame is bounded: what exceeds the bound is dropped, under its own reason."""

from __future__ import annotations

import pytest

from shaper.packet.frame import MAX_EXTENSIONS, MAX_SEGMENTS, is_excessive, measure
from tests.unit.path_rig import FRAME, PathRig
from tests.unit.strategies import Train, offload

SIX = bytes(10) + bytes(12) + b"\x86\xdd\x60" + bytes(5)


def extended(headers: int) -> bytes:
    """Return IPv6 with so many destination options before UDP."""
    chain = b"".join(
        bytes([60 if number < headers - 1 else 17]) + bytes(7) for number in range(headers)
    )
    return SIX + bytes([60, 64]) + bytes(32) + chain + b"\0\1\0\1" + bytes(20)


@pytest.mark.parametrize("company", [0, 3])
@pytest.mark.parametrize("headers", [MAX_EXTENSIONS + 1, 181])
def test_too_many_extension_headers(headers: int, company: int) -> None:
    """Alone or among others it is dropped and counted, and the others leave."""
    rig = PathRig()
    rig.run(0)
    rig.source.frames.extend([extended(headers), *[FRAME] * company])
    for now_ns in (10**6, 10**6 + 1000, 2 * 10**9, 3 * 10**9, 4 * 10**9):
        rig.run(now_ns)
    assert rig.sink.frames == [FRAME] * company
    assert (rig.count("excessive"), rig.count("neighbour")) == (1, 0)


def test_as_many_as_are_looked_past() -> None:
    """The bound itself passes."""
    rig = PathRig()
    rig.source.frames.append(extended(MAX_EXTENSIONS))
    rig.run(0)
    assert len(rig.sink.frames) == 1


def test_too_many_segments() -> None:
    """An offload frame of one byte a segment is counted by its segments, and not cut."""
    train = offload(Train(payload_bytes=5000, segment_bytes=1))
    assert measure(train)[1] == 5000 > MAX_SEGMENTS
    rig = PathRig()
    rig.run(0)
    rig.source.frames.append(train)
    for now_ns in (10**6, 10**6 + 1000):
        rig.run(now_ns)
    assert rig.count("excessive") == 5000
    assert rig.sink.frames == []
    assert not is_excessive(FRAME)
