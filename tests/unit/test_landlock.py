"""The attributes of a Landlock ruleset that allows nothing, by version of the interface."""

from __future__ import annotations

import struct

import pytest

from shaper.forwarder.landlock import ruleset

# Documentation/userspace-api/landlock.rst, "Previous limitations": what came with each.
EXPECTED = {
    1: (0x1FFF,),
    2: (0x3FFF,),
    3: (0x7FFF,),
    4: (0x7FFF, 0b11),
    5: (0xFFFF, 0b11),
    6: (0xFFFF, 0b11, 0b11),
    9: (0xFFFF, 0b11, 0b11),
}


@pytest.mark.parametrize(("version", "words"), EXPECTED.items())
def test_all_that_a_version_can_refuse_is_refused(version: int, words: tuple[int, ...]) -> None:
    """Every file right, TCP and scope that the version knows is handled, and none besides."""
    assert ruleset(version) == struct.pack(f"={len(words)}Q", *words)
