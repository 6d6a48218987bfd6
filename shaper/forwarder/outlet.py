"""The way out of a path: the master's socket, and what became of the frames handed to it."""

from __future__ import annotations

from shaper.discipline.base import Discipline
from shaper.forwarder.ports import FrameSink, Outcome
from shaper.forwarder.tally import Tally
from shaper.forwarder.tunnel_loop import LoopWatch
from shaper.packet.frame import Frame

# To look a member of an enum up costs as much as a call, and caches are cold.
_SENT, _GONE = Outcome.SENT, Outcome.GONE


class Outlet:
    """Frames on their way to a master.

    Args:
        tally: where they are counted.

    Attributes:
        sink: the master's socket; None while there is none.
        pending: frames that were handed out and that the master has not taken yet; they go first.
        stopped_by: BLOCKED or GONE while the master takes none; SENT otherwise.
        run_bytes: wire bytes sent in this run, which sets it to 0.
        watch: what finds frames that come back, where the master may lead them back.
    """

    def __init__(self, tally: Tally) -> None:
        self.sink: FrameSink | None = None
        self.pending: list[Frame] = []
        self.stopped_by = _SENT
        self.run_bytes = 0
        self.watch: LoopWatch | None = None
        self._tally = tally

    def bind(self, sink: FrameSink | None) -> None:
        """Send to another master from now on; what is pending is kept for it."""
        if self.sink is not None:
            self.sink.close()
        self.sink = sink
        self.stopped_by = _SENT

    def unblock(self) -> None:
        """Note that the socket is writable again, or that what was gone is to be tried again."""
        self.stopped_by = _SENT

    def send(self, discipline: Discipline, *, now: int, room: int) -> int:
        """Send at most `room` frames; return what is left of it, 0 when more may be due."""
        sink = self.sink
        while room > 0 and sink is not None and self.stopped_by is _SENT:
            frames, is_last = self.pending, False
            if not frames:
                frames = discipline.dequeue_batch(now=now, limit=room)
                if not frames:
                    return room
                is_last = discipline.is_spent
            room -= len(frames)
            sent, outcome = sink.write([frame[0] for frame in frames])
            self.settle(frames, sent, outcome)
            if is_last and not self.pending:
                return room
        return room

    def settle(self, frames: list[Frame], sent: int, outcome: Outcome) -> None:
        """Account for frames that the master was handed, of which it took `sent`.

        The others are pending, but for one that was refused.
        """
        taken = frames if outcome is _SENT else frames[:sent]
        sent_bytes = sent_packets = 0
        for _, wire_bytes, packets in taken:
            sent_bytes += wire_bytes
            sent_packets += packets
        tally = self._tally  # as `count` does; a call more is a microsecond, with cold caches
        tally.sent_bytes += sent_bytes
        tally.sent_packets += sent_packets
        self.run_bytes += sent_bytes
        if self.watch is not None:
            self.watch.sent([frame[0] for frame in taken])
        if outcome is _SENT:
            self.pending = []
            return
        if outcome is Outcome.BLOCKED:
            self.stopped_by = outcome
            self.pending = frames[sent:]
            return
        refused = frames[sent]
        self._tally.lose(outcome.value, refused.packets)
        if outcome is _GONE:
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
