"""One path: a TAP, its discipline, the packet socket of its master, and its row on the board.

    TAP ring --read--> discipline --dequeue--> master's queue

A path is run when its TAP is readable, when its deadline has come or when its master has room
again. A run sends what is due, reads what waits, and sends what became due by that; it is bounded
(`MAX_BATCH`), so that no shaper starves another, and ends by saying when it wants to run next.

When the TAP is watched. An idle path waits for its TAP. A backlogged one is driven by its deadline
alone when that is at most a jiffy away, so a busy shaper wakes at most HZ times a second; and one
whose discipline is full does not read at all, so that a flood fills the TAP's ring and is dropped
by the kernel at no cost. Not quite at all: for every byte sent some more may be read and dropped
(`_SHED_FACTORS`). Traffic that responds to loss overshoots by no more than that, so it meets its
losses here, where they are counted, and the ring, whose delay adds to ours, stays short.
"""

from __future__ import annotations

from shaper.discipline import jiffies
from shaper.discipline.base import Discipline, Frame
from shaper.discipline.frame import parse_all
from shaper.forwarder.board import BACKLOG_PACKETS, DROP_REASONS, ECN_MARKS, FIRST_DROP
from shaper.forwarder.ports import MAX_BATCH, Outcome, Sink, Source
from shaper.forwarder.queues import make_discipline
from shaper.model import Queue, Settings

# Specified: the frame of the commonest MTU; a frame has at most so many segments as of these fit.
_FULL_FRAME_BYTES = 1514

# Chosen: how soon a master that was down or gone is tried again, unless the supervisor speaks up.
# One that was down too briefly for the supervisor to see is found to be back by this alone.
_HOLD_NS = 100_000_000
_STEPS_A_JIFFY = 4
_PERCENTILE_NS = 250_000_000
# How many bytes may be read and dropped for each that is sent while the queue is full. A fifo's
# drops hit everybody alike, here or in the ring. Those of fq_codel hit whom they should, so it is
# to meet a flood of many times the rate itself; beyond this the kernel drops, at no cost to us.
_SHED_FACTORS = {Queue.CLASSIC: 0, Queue.FIFO: 1, Queue.FQ_CODEL: 16}
# More than a ring holds, so that a flush ends even if somebody goes on sending.
_MAX_FLUSH_BATCHES = 256


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
        self.queued_ns: int | None = None  # the latest deadline that the loop has in its heap
        self._row = row
        self._settings: Settings | None = None
        self._discipline: Discipline | None = None
        self._pending: list[Frame] = []
        self._removed_bytes = 0  # of each frame's header, which the master does not transmit
        self._step_ns = 1  # departures are rounded up to multiples of it
        self._frame_packets = 1  # the most segments a frame may have
        self._is_drained = False
        self._is_held = False  # the master is down or gone: what waits is kept for a while
        self._shed_bytes = 0
        self._shed_factor = 1
        self._run_bytes = 0
        self._sent_bytes, self._sent_packets, self._overlimits = row[:3]
        self._dropped = dict(zip(DROP_REASONS, row[FIRST_DROP:], strict=False))
        # What the row says is waiting was in the hands of a predecessor that did not close it.
        self._dropped["crash"] += row[BACKLOG_PACKETS]
        self._refused_bytes = 0
        self._ecn_marks = row[ECN_MARKS]
        self._percentile_at_ns = 0

    def run(self, now_ns: int) -> None:
        """Do what is due; afterwards `deadline_ns` and `wants_frames` say when to come again."""
        self.deadline_ns = None
        self.wants_frames = False
        self._is_held = False
        self._shed_bytes = self._run_bytes = 0
        settings, discipline = self._settings, self._discipline
        if settings is None or discipline is None or self.sink is None:
            self._publish(now_ns)
            return
        now = jiffies.from_ns(now_ns, settings.hz)
        room = self._send(discipline, self.sink, now, MAX_BATCH)
        self._read(discipline, now)
        room = self._send(discipline, self.sink, now, room)
        if self._is_held:
            self.deadline_ns = now_ns + _HOLD_NS
        elif not self.is_blocked:
            self._schedule(discipline, settings, now_ns, is_cut_short=room <= 0)
        self._publish(now_ns)

    def left_late(self, now_ns: int) -> None:
        """Be told the time after a run, when it is later than the run knew by some jiffies."""
        settings, discipline = self._settings, self._discipline
        if settings is None or discipline is None:
            return
        now = jiffies.from_ns(now_ns, settings.hz)
        discipline.left_late(self._run_bytes, now=now)

    def configure(self, settings: Settings | None, now_ns: int) -> None:
        """Change the speed, the queue or its limits. Frames that wait stay, in order."""
        old = self._discipline
        if settings is None:
            self._drop_waiting()
            self._retire(old)
            self._discipline = None
        else:
            self._discipline = make_discipline(old, self._settings, settings, now_ns)
            if self._discipline is not old:
                self._retire(old)
            self._step_ns = _step_ns(settings)
            self._shed_factor = _SHED_FACTORS[settings.queue]
            self._frame_packets = -(-settings.unit_bytes // _FULL_FRAME_BYTES)
        self._settings = settings
        self._refused_bytes = 0

    def bind(self, sink: Sink | None) -> None:
        """Send to another master from now on; None: hold what waits."""
        if self.sink is not None:
            self.sink.close()
        self.sink = sink
        self._removed_bytes = sink.removed_bytes if sink is not None else 0
        self.is_blocked = False

    def flush(self) -> None:
        """Drop everything that waits, what the TAP still holds included."""
        for _ in range(_MAX_FLUSH_BATCHES):
            batch = self.source.read(MAX_BATCH)
            frames, _ = parse_all(batch)
            self._dropped["flush"] += sum(frame.packets for frame in frames)
            if len(batch) < MAX_BATCH:
                break
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        self._dropped["flush"] += sum(frame.packets for frame in self._pending)
        self._pending = []
        if self._discipline is not None:
            self._discipline.flush("flush")

    def close(self) -> None:
        """Let go of both edges."""
        self.flush()
        self._publish(0)
        self.bind(None)
        self.source.close()

    def _send(self, discipline: Discipline, sink: Sink, now: int, room: int) -> int:
        """Send at most `room` frames; return what is left of it, 0 when more may be due."""
        while room > 0 and not (self.is_blocked or self._is_held):
            frames = self._pending or discipline.dequeue_batch(now=now, limit=room)
            if not frames:
                return room
            room -= len(frames)
            self._pending = self._transmit(sink, frames)
        return room

    def _transmit(self, sink: Sink, frames: list[Frame]) -> list[Frame]:
        """Hand frames to the master; return those it has not looked at yet."""
        sent, outcome = sink.write([frame[0] for frame in frames])
        sent_bytes = sum([frame[1] for frame in frames[:sent]])
        self._sent_bytes += sent_bytes
        self._run_bytes += sent_bytes
        self._shed_bytes += sent_bytes * self._shed_factor
        self._sent_packets += sum([frame[2] for frame in frames[:sent]])
        if outcome is Outcome.SENT:
            return []
        if outcome is Outcome.BLOCKED:
            self.is_blocked = True
            return frames[sent:]
        refused = frames[sent]
        self._dropped[outcome.value] += refused.packets
        self._refused_bytes += refused.wire_bytes
        self._is_held = outcome is Outcome.GONE
        return frames[sent + 1 :]

    def _read(self, discipline: Discipline, now: int) -> None:
        """Move frames from the TAP to the discipline until either is done, or a batch is."""
        self._is_drained = False
        budget = MAX_BATCH
        while budget > 0 and not self._is_drained:
            room = discipline.room
            if room <= 0 and self._shed_bytes <= 0:
                return
            limit = min(budget, max(1, room // self._frame_packets))
            batch = self.source.read(limit)
            self._is_drained = len(batch) < limit
            if self.source.lost:
                self._dropped["error"] += self.source.lost
                self.source.lost = 0
            budget -= limit
            frames, neighbours = parse_all(batch, self._removed_bytes)
            self._dropped["neighbour"] += neighbours
            if room <= 0:
                self._shed_bytes -= sum([frame.wire_bytes for frame in frames])
            if frames:
                discipline.enqueue_batch(frames, now=now)

    def _schedule(
        self, discipline: Discipline, settings: Settings, now_ns: int, *, is_cut_short: bool
    ) -> None:
        """Choose when to run next: at a departure, rounded up to the next step of the clock."""
        deadline = discipline.deadline()
        if is_cut_short or not (self._is_drained or discipline.room <= 0):
            self.deadline_ns = now_ns
        elif deadline is not None:
            earliest_ns = max(jiffies.to_ns(deadline, settings.hz), now_ns + self._step_ns)
            self.deadline_ns = -(-earliest_ns // self._step_ns) * self._step_ns
        deadline_ns = self.deadline_ns
        is_imminent = deadline_ns is not None and deadline_ns <= now_ns + settings.jiffy_ns
        is_listening = self._is_drained and not self.source.is_gone
        self.wants_frames = is_listening and not is_imminent

    def _retire(self, discipline: Discipline | None) -> None:
        """Keep the counts of a discipline that is replaced."""
        if discipline is None:
            return
        self._overlimits += discipline.overlimits
        self._ecn_marks += discipline.ecn_marks
        for reason, packets in discipline.dropped.items():
            self._dropped[reason] += packets

    def _publish(self, now_ns: int) -> None:
        discipline, row = self._discipline, self._row
        row[0] = self._sent_bytes
        row[1] = self._sent_packets
        pending = self._pending
        own = (self._overlimits, 0, 0, 0, 0)
        dropped = self._dropped
        if discipline is not None:
            own = (
                self._overlimits + discipline.overlimits,
                discipline.backlog_bytes + sum(frame.wire_bytes for frame in pending),
                discipline.backlog_packets + sum(frame.packets for frame in pending),
                max(0, discipline.busy_bytes - self._refused_bytes),
                discipline.busy_ns,
            )
            theirs = discipline.dropped
            dropped = {key: dropped[key] + theirs.get(key, 0) for key in DROP_REASONS}
        row[2], row[3], row[4], row[5], row[6] = own
        if discipline is not None and self._settings is not None:
            self._publish_delay(discipline, self._settings.hz, now_ns)
        for index, packets in enumerate(dropped.values(), FIRST_DROP):
            row[index] = packets

    def _publish_delay(self, discipline: Discipline, hz: int, now_ns: int) -> None:
        row = self._row
        row[ECN_MARKS] = self._ecn_marks + discipline.ecn_marks
        row[ECN_MARKS + 1] = discipline.flows
        row[ECN_MARKS + 2] = jiffies.to_ns(discipline.delay_now, hz)
        if now_ns < self._percentile_at_ns:
            return
        # Reading a percentile costs as much as a batch, so it is not done at every run.
        self._percentile_at_ns = now_ns + _PERCENTILE_NS
        delay = discipline.delay_percentile(99, now=jiffies.from_ns(now_ns, hz))
        row[ECN_MARKS + 3] = jiffies.to_ns(delay or 0, hz)


def _step_ns(settings: Settings) -> int:
    """Return how finely departures are timed: to a quarter of a jiffy, if the bucket bears that.

    What is earned while a departure is rounded up must find room in the bucket. The classic queue
    has a clock of jiffies, so there is nothing to round.
    """
    if settings.queue is Queue.CLASSIC:
        return 1
    surplus_bytes = settings.burst_bytes - settings.unit_bytes
    surplus_ns = surplus_bytes * 8 * jiffies.NANOSECONDS // settings.rate_bits
    return max(1, min(settings.jiffy_ns // _STEPS_A_JIFFY, surplus_ns // _STEPS_A_JIFFY))
