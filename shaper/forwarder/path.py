"""One path: a TAP, its discipline, the packet socket of its master, and its row on the board.

    TAP ring --read--> discipline --dequeue--> master's queue

A path is run when its TAP is readable, when its deadline has come or when its master has room
again. A run sends what is due, reads what waits, and sends what became due by that; it is bounded
(`_BATCH_FRAMES`), so that no shaper starves another, and ends by saying when it wants to run next.

When the TAP is watched. An idle path waits for its TAP. A backlogged one is driven by its deadline
alone when that is at most a jiffy away, so a busy shaper wakes at most HZ times a second; and one
whose discipline is full does not read at all, so that a flood fills the TAP's ring and is dropped
by the kernel at no cost. Not quite at all: for every byte sent one byte more may be read and
dropped. Traffic that responds to loss overshoots by no more than that, so it meets its losses
here, where they are counted, and the ring, whose delay adds to ours, stays short.
"""

from __future__ import annotations

from shaper.discipline import jiffies
from shaper.discipline.base import Discipline, Frame
from shaper.discipline.frame import is_neighbour_traffic, parse
from shaper.forwarder.board import DROP_REASONS, FIELDS
from shaper.forwarder.ports import Outcome, Sink, Source
from shaper.forwarder.queues import make_discipline
from shaper.model import Settings

# Chosen: a batch of full frames is 50 us of work or so, well inside a jiffy of 1 ms.
_BATCH_FRAMES = 32
# How soon a master that was down or gone is tried again, unless the supervisor says something: one
# that was down too briefly for the supervisor to see is found to be back by this alone.
_HOLD_NS = 100_000_000

_FIRST_DROP = FIELDS.index(DROP_REASONS[0])


class Path:
    """The frames of one shaper.

    Args:
        source: the TAP.
        row: the shaper's row on the board; counting continues from what it holds.
    """

    def __init__(self, source: Source, row: memoryview) -> None:
        self.source = source
        self.sink: Sink | None = None
        self.is_blocked = False  # the master's socket is full: wait until it is writable
        self.wants_frames = False  # wake us when the TAP is readable
        self.deadline_ns: int | None = None
        self._row = row
        self._settings: Settings | None = None
        self._discipline: Discipline | None = None
        self._pending: Frame | None = None
        self._is_drained = False
        self._is_held = False  # the master is down or gone: what waits is kept for a while
        self._shed_bytes = 0
        self._sent_bytes, self._sent_packets, self._overlimits = row[:3]
        self._dropped = dict(zip(DROP_REASONS, row[_FIRST_DROP:], strict=False))
        self._refused_bytes = 0

    def run(self, now_ns: int) -> None:
        """Do what is due; afterwards `deadline_ns` and `wants_frames` say when to come again."""
        self.deadline_ns = None
        self.wants_frames = False
        self._is_held = False
        self._shed_bytes = 0
        settings, discipline = self._settings, self._discipline
        if settings is None or discipline is None or self.sink is None:
            self._publish()
            return
        now = jiffies.from_ns(now_ns, settings.hz)
        room = self._send(discipline, self.sink, now, _BATCH_FRAMES)
        self._read(discipline, now)
        room = self._send(discipline, self.sink, now, room)
        if self._is_held:
            self.deadline_ns = now_ns + _HOLD_NS
        elif not self.is_blocked:
            self._schedule(discipline, settings.hz, now, is_cut_short=room <= 0)
        self._publish()

    def configure(self, settings: Settings | None, now_ns: int) -> None:
        """Change the speed, the queue or its limits. Frames that wait stay, in order."""
        old = self._discipline
        if settings is None:
            self.flush()
            self._retire(old)
            self._discipline = None
        else:
            self._discipline = make_discipline(old, self._settings, settings, now_ns)
            if self._discipline is not old:
                self._retire(old)
        self._refused_bytes = 0
        self._settings = settings

    def bind(self, sink: Sink | None) -> None:
        """Send to another master from now on; None: hold what waits."""
        if self.sink is not None:
            self.sink.close()
        self.sink = sink
        self.is_blocked = False

    def flush(self) -> None:
        """Drop everything that waits."""
        if self._pending is not None:
            self._dropped["flush"] += self._pending.packets
            self._pending = None
        if self._discipline is not None:
            self._discipline.flush("flush")

    def close(self) -> None:
        """Let go of both edges."""
        self.flush()
        self._publish()
        self.bind(None)
        self.source.close()

    def _send(self, discipline: Discipline, sink: Sink, now: int, room: int) -> int:
        """Send at most `room` frames; return what is left of it, 0 when more may be due."""
        while room > 0 and not (self.is_blocked or self._is_held):
            frame = self._pending or discipline.dequeue(now=now)
            if frame is None:
                return room
            self._pending = None
            self._settle(frame, sink.write(frame.data))
            room -= 1
        return room

    def _settle(self, frame: Frame, outcome: Outcome) -> None:
        if outcome is Outcome.SENT:
            self._sent_bytes += frame.wire_bytes
            self._sent_packets += frame.packets
            self._shed_bytes += frame.wire_bytes
            return
        if outcome is Outcome.BLOCKED:
            self._pending = frame
            self.is_blocked = True
            return
        self._dropped[outcome.value] += frame.packets
        self._refused_bytes += frame.wire_bytes
        self._is_held = self._is_held or outcome is Outcome.GONE

    def _read(self, discipline: Discipline, now: int) -> None:
        """Move frames from the TAP to the discipline until either is done, or a batch is."""
        self._is_drained = False
        removed_bytes = self.sink.removed_bytes if self.sink is not None else 0
        for _ in range(_BATCH_FRAMES):
            is_full = discipline.is_full
            if is_full and self._shed_bytes <= 0:
                return
            data = self.source.read()
            if data is None:
                self._is_drained = True
                return
            if is_neighbour_traffic(data):
                self._dropped["neighbour"] += 1
                continue
            frame = parse(data, removed_bytes)
            if is_full:
                self._shed_bytes -= frame.wire_bytes
            discipline.enqueue(frame, now=now)

    def _schedule(self, discipline: Discipline, hz: int, now: int, *, is_cut_short: bool) -> None:
        deadline = discipline.deadline()
        if is_cut_short or not (self._is_drained or discipline.is_full):
            deadline = now
        if deadline is not None:
            self.deadline_ns = jiffies.to_ns(deadline, hz)
        is_imminent = deadline is not None and deadline <= now + 1
        is_listening = self._is_drained and not self.source.is_gone
        self.wants_frames = is_listening and not is_imminent

    def _retire(self, discipline: Discipline | None) -> None:
        """Keep the counts of a discipline that is replaced."""
        if discipline is None:
            return
        self._overlimits += discipline.overlimits
        for reason, packets in discipline.dropped.items():
            self._dropped[reason] += packets

    def _publish(self) -> None:
        discipline, row = self._discipline, self._row
        row[0] = self._sent_bytes
        row[1] = self._sent_packets
        pending = self._pending
        own = (self._overlimits, 0, 0, 0, 0)
        dropped = self._dropped
        if discipline is not None:
            own = (
                self._overlimits + discipline.overlimits,
                discipline.backlog_bytes + (pending.wire_bytes if pending else 0),
                discipline.backlog_packets + (pending.packets if pending else 0),
                max(0, discipline.busy_bytes - self._refused_bytes),
                discipline.busy_ns,
            )
            theirs = discipline.dropped
            dropped = {key: dropped[key] + theirs.get(key, 0) for key in DROP_REASONS}
        row[2], row[3], row[4], row[5], row[6] = own
        for index, packets in enumerate(dropped.values(), _FIRST_DROP):
            row[index] = packets
