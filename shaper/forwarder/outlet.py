"""The way out of a path: the master's socket, and what became of the frames handed to it."""

from __future__ import annotations

from shaper.discipline.base import Discipline
from shaper.forwarder.ports import FrameSink, Outcome
from shaper.forwarder.tally import Tally
from shaper.forwarder.tunnel_loop import LoopWatch
from shaper.packet.frame import Frame


class Outlet:
    """Frames on their way to a master.

    Args:
        tally: where they are counted.

    Attributes:
        sink: the master's socket; None while there is none.
        pending: frames that were handed out and that the master has not taken yet; they go first.
        stopped_by: BLOCKED or GONE while the master takes none; SENT otherwise.
        run_bytes: wire bytes sent in this run.
        watch: what finds frames that come back, where the master may lead them back.
    """

    def __init__(self, tally: Tally) -> None:
        self.sink: FrameSink | None = None
        self.pending: list[Frame] = []
        self.stopped_by = Outcome.SENT
        self.run_bytes = 0
        self.watch: LoopWatch | None = None
        self._tally = tally

    def bind(self, sink: FrameSink | None) -> None:
        """Send to another master from now on; what is pending is kept for it."""
        if self.sink is not None:
            self.sink.close()
        self.sink = sink
        self.stopped_by = Outcome.SENT

    def begin_run(self) -> None:
        """Start counting anew, and try a master that was gone again."""
        self.run_bytes = 0
        if self.stopped_by is Outcome.GONE:
            self.stopped_by = Outcome.SENT

    def unblock(self) -> None:
        """Note that the socket is writable again."""
        self.stopped_by = Outcome.SENT

    def send(self, discipline: Discipline, *, now: int, room: int) -> int:
        """Send at most `room` frames; return what is left of it, 0 when more may be due."""
        sink = self.sink
        while room > 0 and sink is not None and self.stopped_by is Outcome.SENT:
            frames = self.pending or discipline.dequeue_batch(now=now, limit=room)
            if not frames:
                return room
            room -= len(frames)
            sent, outcome = sink.write([frame[0] for frame in frames])
            self.settle(frames, sent, outcome)
        return room

    def settle(self, frames: list[Frame], sent: int, outcome: Outcome) -> None:
        """Account for frames that the master was handed, of which it took `sent`.

        The others are pending, but for one that was refused.
        """
        taken = frames[:sent]
        self.count(sum([frame[1] for frame in taken]), sum([frame[2] for frame in taken]))
        if self.watch is not None:
            self.watch.sent([frame[0] for frame in taken])
        if outcome is Outcome.SENT:
            self.pending = []
            return
        if outcome is Outcome.BLOCKED:
            self.stopped_by = outcome
            self.pending = frames[sent:]
            return
        refused = frames[sent]
        self._tally.lose(outcome.value, refused.packets)
        if outcome is Outcome.GONE:
            self.stopped_by = outcome
        self.pending = frames[sent + 1 :]

    def count(self, wire_bytes: int, packets: int) -> None:
        """Count frames that the master took."""
        self._tally.sent_bytes += wire_bytes
        self._tally.sent_packets += packets
        self.run_bytes += wire_bytes

    def drop_pending(self) -> None:
        """Count what is pending as flushed."""
        self._tally.lose("flush", sum(frame.packets for frame in self.pending))
        self.pending = []
