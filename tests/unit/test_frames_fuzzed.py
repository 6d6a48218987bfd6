"""The short form of the campaign of frames: `make ordeal CAMPAIGNS='frames fuzzed'`."""

from __future__ import annotations

import random

import pytest

from tests.ordeal.frames import fault, frame

# What it runs is covered by other tests; beside coverage it takes three times as long.
pytestmark = pytest.mark.no_cover

FRAMES = 5000


def test_no_frame_leads_the_pure_code_astray() -> None:
    """Nothing is raised, and segments, marks and checksums keep the frame's length."""
    source = random.Random(1996)
    frames = [frame(source) for _ in range(FRAMES)]
    assert [(fault(data), data.hex()) for data in frames if fault(data)] == []
