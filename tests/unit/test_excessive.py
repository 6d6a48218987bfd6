"""The work for a frame is bounded: what exceeds the bound is dropped, under its own reason."""

from __future__ import annotations

import pytest

from shaper.packet.frame import MAX_EXTENSIONS, MAX_SEGMENTS, MAX_TAGS, is_excessive, measure
from tests.ordeal.frames import MOST_STEPS, chain, steps
from tests.unit.path_rig import FRAME, PathRig
from tests.unit.strategies import Train, offload

SIX = bytes(10) + bytes(12) + b"\x86\xdd\x60" + bytes(5)


def extended(headers: int) -> bytes:
    """Return IPv6 with so many destination options before UDP."""
    chain = b"".join(
        bytes([60 if number < headers - 1 else 17]) + bytes(7) for number in range(headers)
    )
    return SIX + bytes([60, 64]) + bytes(32) + chain + b"\0\1\0\1" + bytes(20)


def assert_dropped(data: bytes, company: int, *, is_captured: bool = False) -> None:
    """Assert that a frame is dropped and counted, and that those beside it leave."""
    rig = PathRig()
    rig.sink.keeps_neighbours = is_captured
    rig.path.bind(rig.sink)
    rig.run(0)
    rig.source.frames.extend([data, *[FRAME] * company])
    for now_ns in (10**6, 10**6 + 1000, 2 * 10**9, 3 * 10**9, 4 * 10**9):
        rig.run(now_ns)
    assert rig.sink.frames == [FRAME] * company
    assert (rig.count("excessive"), rig.count("neighbour")) == (1, 0)


@pytest.mark.parametrize("is_captured", [False, True])
@pytest.mark.parametrize("company", [0, 3])
@pytest.mark.parametrize("headers", [MAX_EXTENSIONS + 1, 181])
def test_too_many_extension_headers(headers: int, company: int, is_captured: bool) -> None:
    """Alone or among others it is dropped and counted, and the others leave."""
    assert_dropped(extended(headers), company, is_captured=is_captured)


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


def tagged(tags: int, kind: bytes = b"\x81\x00") -> bytes:
    """Return UDP behind so many tags."""
    return FRAME[:22] + (kind + b"\0\1") * tags + FRAME[22:]


@pytest.mark.parametrize("is_captured", [False, True])
@pytest.mark.parametrize("company", [0, 3])
@pytest.mark.parametrize("tags", [MAX_TAGS + 1, 375, 2246])
def test_too_many_tags(tags: int, company: int, is_captured: bool) -> None:
    """Neither from the TAP's own traffic nor from what was captured does such a frame leave."""
    assert_dropped(tagged(tags), company, is_captured=is_captured)


@pytest.mark.parametrize("is_captured", [False, True])
def test_as_many_tags_as_are_looked_past(is_captured: bool) -> None:
    """The bound itself passes."""
    rig = PathRig()
    rig.sink.keeps_neighbours = is_captured
    rig.path.bind(rig.sink)
    rig.source.frames.append(tagged(MAX_TAGS))
    rig.run(0)
    assert len(rig.sink.frames) == 1


@pytest.mark.parametrize("kind", ["tags", "extension headers", "fragment headers"])
def test_work_does_not_grow_with_a_chain(kind: str) -> None:
    """A frame of 9000 bytes is looked at no more often than one just beyond the bound."""
    assert steps(chain(kind, 9000)) <= steps(chain(kind, 200)) <= MOST_STEPS
