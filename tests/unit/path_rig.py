"""A path between fakes, for the tests of paths."""

from __future__ import annotations

from shaper.channel.board import Board
from shaper.forwarder.path import Path
from shaper.forwarder.wants import NOTHING
from shaper.model import Queue, Settings
from shaper.testing.memory_ports import MemorySink, MemorySource

MS = 1_000_000
VNET = bytes(10)
ETHERNET = bytes(12) + b"\x08\x00"
FRAME = VNET + ETHERNET + bytes(786)  # 800 bytes on the wire: 100 ms at 64 kbit/s
ARP = VNET + bytes(12) + b"\x08\x06" + bytes(28)
SETTINGS = Settings(
    rate_bits=64_000,
    unit_bytes=1514,
    burst_bytes=1514,
    queue=Queue.FIFO,
    limit_packets=10,
    ticks_per_second=1000,
)


class PathRig:
    """A path with fakes at both ends and its counters at hand."""

    def __init__(
        self,
        settings: Settings = SETTINGS,
        ring: memoryview | None = None,
        *,
        has_bell: bool = False,
    ) -> None:
        self.board = Board.create(1)
        self.source = MemorySource()
        self.sink = MemorySink()
        self.path = Path(self.source, self.board.row(0), b"", ring, has_bell=has_bell)
        self.path.bind(self.sink)
        self.path.configure(settings, 0)
        self.wants = NOTHING

    def run(self, now_ns: int) -> None:
        """Run once at this time."""
        self.wants = self.path.run(now_ns)

    def run_to(self, end_ns: int) -> None:
        """Run at every deadline up to a time."""
        while self.wants.deadline_ns is not None and self.wants.deadline_ns <= end_ns:
            self.run(self.wants.deadline_ns)

    def count(self, field: str) -> int:
        """Return a counter from the board."""
        return self.board.read(0)[field]
