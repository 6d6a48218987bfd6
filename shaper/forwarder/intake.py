"""The way into a path: how much of the TAP is read, and what the frames are on the wire.

A discipline that is full is not read for, so that a flood fills the TAP's ring and is dropped by
the kernel at no cost. Not quite: for every byte sent some more may be read and dropped (the
queue's `shed_factor`). Traffic that responds to loss overshoots by no more than that, so it meets
its losses here, where they are counted, and the ring, whose delay adds to ours, stays short.
"""

from __future__ import annotations

from shaper.discipline.base import Discipline
from shaper.forwarder.ports import MAX_BATCH, Batch, FrameSink, FrameSource, Measure
from shaper.forwarder.tally import Tally
from shaper.forwarder.tunnel_loop import LoopWatch
from shaper.model import Settings
from shaper.packet.frame import Frame, is_excessive, measure, parse_all

# Specified: the frame of the commonest MTU; a frame has at most so many segments as of these fit.
_FULL_FRAME_BYTES = 1514

# Chosen.
_MAX_SHED_BATCH = 2 * MAX_BATCH  # a flood takes half as long to read as to send
_MAX_FLUSH_BATCHES = 256  # more than a ring holds, and an end under a flood


class Intake:
    """Frames on their way from the TAP.

    Args:
        source: the TAP.
        tally: where frames are counted that go no further.

    Attributes:
        source: the TAP.
        is_drained: nothing waited in it any more when it was read last.
        removed_bytes: of each frame's header, which the master does not transmit.
        keeps_neighbours: ARP and the like pass, as part of what was captured.
        unit_bytes: the most a frame may have.
        watch: what finds frames that come back, where the master may lead them back.
    """

    def __init__(self, source: FrameSource, tally: Tally) -> None:
        self.source = source
        self.is_drained = False
        self.removed_bytes = 0
        self.keeps_neighbours = False
        self.unit_bytes = _FULL_FRAME_BYTES
        self._frame_packets = 1  # the most segments a frame may have
        self._tally = tally
        self.watch: LoopWatch | None = None

    def configure(self, settings: Settings) -> None:
        """Follow the largest frame that may come."""
        self.unit_bytes = settings.unit_bytes
        self._frame_packets = -(-settings.unit_bytes // _FULL_FRAME_BYTES)

    def bind(self, sink: FrameSink | None) -> None:
        """Measure frames as the master transmits them; what waits for one waits as it came."""
        self.removed_bytes = sink.removed_bytes if sink is not None else 0
        if sink is not None:
            self.keeps_neighbours = sink.keeps_neighbours

    def read(
        self, discipline: Discipline, batch: list[bytes], *, now: int, shed_bytes: int
    ) -> None:
        """Move frames to the discipline, those of `batch` and then what the TAP holds.

        It ends when the TAP is empty, the discipline is full, or a batch has been moved.

        Args:
            discipline: where to.
            batch: what was read already.
            now: the tick.
            shed_bytes: how much more may be read than fits.
        """
        self.is_drained = False
        queue = discipline.queue  # asked itself: each look past it is a call more
        room = queue.room
        budget = MAX_BATCH if room > MAX_BATCH else _MAX_SHED_BATCH
        if batch:
            self._enqueue(discipline, batch, now)
            budget -= len(batch)
            room = queue.room
        while budget > 0 and (room > 0 or shed_bytes > 0):
            limit = self.limit(room, budget, shed_bytes)
            batch = self.source.read(limit)
            is_drained = len(batch) < limit
            if self.watch is not None:
                batch = self.drop_returning(self.watch, batch)
            frames = self._enqueue(discipline, batch, now)
            if is_drained:
                self.is_drained = True
                return
            budget -= limit
            if batch and room < len(batch):
                wire_bytes = sum([frame[1] for frame in frames])
                shed_bytes -= wire_bytes * (len(batch) - max(0, room)) // len(batch)
            room = queue.room

    def limit(self, room: int, budget: int, shed_bytes: int = 0) -> int:
        """Return how many frames to read: what fits, whatever their size, and what may be shed.

        Args:
            room: of the discipline, in wire frames.
            budget: the most there may be.
            shed_bytes: how much more may be read than fits.
        """
        fitting = room // self._frame_packets
        if fitting >= budget and shed_bytes >= 0:
            return budget
        return min(budget, max(1, fitting + shed_bytes // self.unit_bytes))

    def measure(self, batch: Batch) -> Measure | None:
        """Return what a batch is on the wire; None if some of it may not leave."""
        return batch.measure(self.removed_bytes, keeps_neighbours=self.keeps_neighbours)

    def parse_all(self, batch: list[bytes]) -> tuple[list[Frame], int]:
        """Return the frames of a batch that may leave, and how many others there were."""
        return parse_all(batch, self.removed_bytes, keeps_neighbours=self.keeps_neighbours)

    def drop_returning(self, watch: LoopWatch, batch: list[bytes]) -> list[bytes]:
        """Return a batch without the frames that came back from the master, which are counted."""
        kept = [data for data in batch if not watch.is_returning(data)]
        if len(kept) < len(batch):
            self._tally.lose("loop", len(batch) - len(kept))
        return kept

    def flush(self) -> None:
        """Drop everything that the TAP holds."""
        for _ in range(_MAX_FLUSH_BATCHES):
            batch = self.source.read(MAX_BATCH, until_empty=True)
            frames, refused = self.parse_all(batch)
            if refused:
                self._refuse(batch, refused)
            self._tally.lose("flush", sum(frame.packets for frame in frames))
            if len(batch) < MAX_BATCH:
                return

    def _refuse(self, batch: list[bytes], refused: int) -> None:
        """Count the frames of a batch that may not leave, each under its reason."""
        excessive = [data for data in batch if is_excessive(data)]
        self._tally.lose("excessive", sum(measure(data)[1] for data in excessive))
        self._tally.lose("neighbour", max(0, refused - len(excessive)))

    def _enqueue(self, discipline: Discipline, batch: list[bytes], now: int) -> list[Frame]:
        """Queue what was read; return what of it was."""
        if self.source.lost:
            self._tally.lose("error", self.source.lost)
            self.source.lost = 0
        frames, refused = parse_all(
            batch, self.removed_bytes, keeps_neighbours=self.keeps_neighbours
        )
        if refused:
            self._refuse(batch, refused)
        if frames:
            discipline.enqueue_batch(frames, now=now)
        return frames
