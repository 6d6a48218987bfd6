"""The programs on TAPs, in memory: which TAP has one is only noted."""

from __future__ import annotations

from shaper.errors import ShaperError
from shaper.kernel.ring_caps import RingCaps
from shaper.kernel.tap import Tap


class MemoryRingCaps(RingCaps):
    """Puts programs on TAPs that are not there.

    Attributes:
        on: the place and the row of each TAP that has one, by name.
        refusals: what the next attempts are refused with.
    """

    def __init__(self) -> None:
        self.rows = []
        self.bells = []
        self.refusal = ""
        self.on: dict[str, tuple[int, int]] = {}
        self.refusals: list[ShaperError] = []

    def put_on(self, tap: Tap, place: int, row: int) -> None:
        """Note it, or refuse as a test says."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.on[tap.ifname] = place, row

    def take_off(self, tap: Tap) -> None:
        """Note it."""
        self.on.pop(tap.ifname, None)
