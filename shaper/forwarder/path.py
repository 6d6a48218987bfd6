"""One path: a TAP, its discipline, the packet socket of its master, and its row on the board.

    TAP ring --read--> discipline --dequeue--> master's queue

A path is run when its TAP is readable, when its deadline has come or when its master has room
again. A run sends what is due, reads what waits, and sends what became due by that; it is bounded
(`MAX_BATCH`), so that no shaper starves another, and ends by saying when it wants to run next.

When the TAP is watched. An idle path waits for its TAP. A backlogged one is driven by its deadline
alone when that is at most a jiffy away, so a busy shaper wakes about twice a jiffy; and one whose
discipline is full does not read at all, so that a flood fills the TAP's ring and is dropped by the
kernel at no cost. Not quite at all: for every byte sent some more may be read and dropped (the
queue's `shed_factor`). Traffic that responds to loss overshoots by no more than that, so it meets
its losses here, where they are counted, and the ring, whose delay adds to ours, stays short.

The short way. Where nothing waits and the rate allows what has come to leave at once, it does, and
is never queued. After a pause that is a single frame, looked for and sent with as little as can be
done before: what is not in the processor's cache is slow, and after a pause nothing is. When more
frames follow they are read and sent as a batch. That includes frames that have waited in the TAP,
where the forwarder, and not the rate, kept them waiting.
"""

from __future__ import annotations

import os

from shaper.discipline import jiffies
from shaper.discipline.base import Discipline
from shaper.discipline.factory import make_discipline
from shaper.forwarder.ports import MAX_BATCH, Batch, Measure, Outcome, Sink, Source
from shaper.forwarder.stats import Tally
from shaper.model import Settings
from shaper.packet.frame import (
    ETHERTYPE,
    IPV4,
    VNET_HEADER_BYTES,
    Frame,
    is_neighbour_traffic,
    measure,
    parse_all,
)

# Specified: the frame of the commonest MTU; a frame has at most so many segments as of these fit.
_FULL_FRAME_BYTES = 1514

# Chosen: how soon a master that was down or gone is tried again, unless the supervisor speaks up.
# One that was down too briefly for the supervisor to see is found to be back by this alone.
_HOLD_NS = 100_000_000
_KEY_BYTES = 16  # chosen: too many to guess, so that no flow can be made to collide
# After a run without a pause of this before it, more than one frame is expected.
_PAUSE_NS = 50_000
# How many frames may be read and dropped in a run: a flood takes half as long to read as to send.
_MAX_SHED_BATCH = 2 * MAX_BATCH
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
        self._tally = Tally(row)
        self._settings: Settings | None = None
        self._discipline: Discipline | None = None
        self._pending: list[Frame] = []
        self._keeps_neighbours = False  # ARP and the like pass, as part of what was taken
        self._removed_bytes = 0  # of each frame's header, which the master does not transmit
        self._overhead_bytes = VNET_HEADER_BYTES  # of each read, what is not on the wire
        self._unit_bytes = _FULL_FRAME_BYTES  # the most a frame may have
        self._frame_packets = 1  # the most segments a frame may have
        self._is_clear = False  # nothing waits here, and something may leave
        self._is_drained = False  # nor in the TAP, when it was read last
        self._is_held = False  # the master is down or gone: what waits is kept for a while
        self._shed_bytes = 0
        self._shed_factor = 1
        self._run_bytes = 0
        self._ran_ns = 0

    def run(self, now_ns: int) -> None:
        """Do what is due; afterwards `deadline_ns` and `wants_frames` say when to come again."""
        self._run_bytes = self._shed_bytes = 0
        self._is_held = False
        settings, discipline, sink = self._settings, self._discipline, self.sink
        if settings is None or discipline is None or sink is None:
            self.deadline_ns, self.wants_frames = None, False
        elif not self._is_clear:
            self._run_queue(discipline, settings, sink, [], now_ns)
        else:
            is_alone = self._is_drained and now_ns - self._ran_ns > _PAUSE_NS
            self._ran_ns = now_ns
            self.deadline_ns, self.wants_frames = None, True
            pass_on = self._pass_one if is_alone else self._pass_batch
            first = pass_on(discipline, settings, sink, now_ns)
            if first is not None:
                self._run_queue(discipline, settings, sink, first, now_ns)
        self._tally.publish(discipline, self._pending, settings.hz if settings else 1, now_ns)
        if self.deadline_ns is None:
            self.deadline_ns = self._tally.due_ns

    def left_late(self, now_ns: int) -> None:
        """Be told the time after a run, when it is later than the run knew by some ticks."""
        settings, discipline = self._settings, self._discipline
        if settings is None or discipline is None or not self._run_bytes:
            return
        now = jiffies.from_ns(now_ns, settings.hz)
        discipline.left_late(self._run_bytes, now=now)

    def configure(self, settings: Settings | None, now_ns: int) -> None:
        """Change the speed, the queue or its limits. Frames that wait stay, in order."""
        old = self._discipline
        if settings is None:
            self._drop_waiting()
            self._tally.retire(old)
            self._discipline = None
        else:
            self._discipline = make_discipline(
                old, self._settings, settings, now_ns, os.urandom(_KEY_BYTES)
            )
            self._shed_factor = self._discipline.shed_factor
            if self._discipline is not old:
                self._tally.retire(old)
            self._unit_bytes = settings.unit_bytes
            self._frame_packets = -(-settings.unit_bytes // _FULL_FRAME_BYTES)
        self._settings = settings
        self._is_clear = False
        self._tally.refused_bytes = 0

    def bind(self, sink: Sink | None) -> None:
        """Send to another master from now on; None: hold what waits."""
        if self.sink is not None:
            self.sink.close()
        self.sink = sink
        self._removed_bytes = sink.removed_bytes if sink is not None else 0
        if sink is not None:  # what waits for a master waits as it came
            self._keeps_neighbours = sink.keeps_neighbours
        self._overhead_bytes = VNET_HEADER_BYTES + self._removed_bytes
        self.is_blocked = self._is_clear = False

    def absorb(self) -> None:
        """Read the TAP's ring empty, before it is made shorter; what was in it goes first."""
        self.source.absorb()
        self._is_clear = False

    def flush(self) -> None:
        """Drop everything that waits, what the TAP still holds included."""
        for _ in range(_MAX_FLUSH_BATCHES):
            batch = self.source.read(MAX_BATCH)
            frames, neighbours = self._parse_all(batch)
            self._tally.lose("neighbour", neighbours)
            self._tally.lose("flush", sum(frame.packets for frame in frames))
            if len(batch) < MAX_BATCH:
                break
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        self._tally.lose("flush", sum(frame.packets for frame in self._pending))
        self._pending = []
        if self._discipline is not None:
            self._discipline.flush("flush")

    def close(self) -> None:
        """Let go of both edges."""
        self.flush()
        hz = self._settings.hz if self._settings is not None else 1
        self._tally.publish(self._discipline, [], hz, 0)
        self.bind(None)
        self.source.close()

    def _pass_one(
        self, discipline: Discipline, settings: Settings, sink: Sink, now_ns: int
    ) -> list[bytes] | None:
        """Pass on a single frame; return what is to be queued, None if there is no more to do."""
        data = self.source.read_one()
        if data is None:
            return []
        if data[ETHERTYPE] == IPV4 and not data[1]:
            wire_bytes, packets = len(data) - self._overhead_bytes, 1
        elif not self._keeps_neighbours and is_neighbour_traffic(data):
            return [data]
        else:
            wire_bytes, packets = measure(data, self._removed_bytes)
            if packets > 1 and wire_bytes > settings.unit_bytes:
                return [data]
        now = now_ns * settings.hz // jiffies.NANOSECONDS
        if not discipline.admit(wire_bytes, wire_bytes, now, has_waited=False):
            return [data]
        outcome = sink.write_one(data)
        discipline.passed(1, now)
        if outcome is not Outcome.SENT:
            self._pending = self._settle([Frame(data, wire_bytes, packets)], 0, outcome)
            return []
        self._count_sent(wire_bytes, packets)
        return None

    def _pass_batch(
        self, discipline: Discipline, settings: Settings, sink: Sink, now_ns: int
    ) -> list[bytes] | None:
        """Pass on what waits in the TAP; return as `_pass_one` does."""
        batch = self.source.fill(self._limit(discipline, MAX_BATCH))
        has_waited, self._is_drained = not self._is_drained, batch.is_drained
        self.wants_frames = self._is_drained
        self.deadline_ns = None if self._is_drained else now_ns
        size = self._measure(batch) if batch.count else None
        now = now_ns * settings.hz // jiffies.NANOSECONDS
        if (
            size is None
            or (size.largest_bytes > settings.unit_bytes and size.packets > batch.count)
            or not discipline.admit(size.wire_bytes, size.last_bytes, now, has_waited=has_waited)
        ):
            return batch.take()
        sent, outcome = sink.write_batch(batch)
        discipline.passed(batch.count, now)
        if sent < batch.count:
            frames, _ = self._parse_all(batch.take())
            self._pending = self._settle(frames, sent, outcome)
            return []
        self._count_sent(size.wire_bytes, size.packets)
        return None

    def _run_queue(
        self,
        discipline: Discipline,
        settings: Settings,
        sink: Sink,
        first: list[bytes],
        now_ns: int,
    ) -> None:
        """Send what is due, queue what has come, `first` of all, and send what is due then."""
        self.deadline_ns = None
        now = jiffies.from_ns(now_ns, settings.hz)
        self._send(discipline, sink, now, MAX_BATCH)
        self._read(discipline, first, now)
        # A batch more than before, so that what waits is made up for and the short way is free.
        room = self._send(discipline, sink, now, MAX_BATCH)
        self.wants_frames = False
        if self._is_held:
            self.deadline_ns = now_ns + _HOLD_NS
        elif not self.is_blocked:
            self._schedule(discipline, settings, now_ns, is_cut_short=room <= 0)
        self._is_clear = (
            (self.wants_frames or self.deadline_ns == now_ns)
            and not discipline.backlog_packets
            and not self._pending
            and discipline.can_admit
        )

    def _send(self, discipline: Discipline, sink: Sink, now: int, room: int) -> int:
        """Send at most `room` frames; return what is left of it, 0 when more may be due."""
        while room > 0 and not (self.is_blocked or self._is_held):
            frames = self._pending or discipline.dequeue_batch(now=now, limit=room)
            if not frames:
                return room
            room -= len(frames)
            sent, outcome = sink.write([frame[0] for frame in frames])
            self._pending = self._settle(frames, sent, outcome)
        return room

    def _settle(self, frames: list[Frame], sent: int, outcome: Outcome) -> list[Frame]:
        """Account for frames that the master was handed; return those it has not looked at yet."""
        self._count_sent(
            sum([frame[1] for frame in frames[:sent]]), sum([frame[2] for frame in frames[:sent]])
        )
        if outcome is Outcome.SENT:
            return []
        if outcome is Outcome.BLOCKED:
            self.is_blocked = True
            return frames[sent:]
        refused = frames[sent]
        self._tally.lose(outcome.value, refused.packets)
        self._tally.refused_bytes += refused.wire_bytes
        self._is_held = outcome is Outcome.GONE
        return frames[sent + 1 :]

    def _count_sent(self, wire_bytes: int, packets: int) -> None:
        self._tally.sent_bytes += wire_bytes
        self._tally.sent_packets += packets
        self._run_bytes += wire_bytes
        self._shed_bytes += wire_bytes * self._shed_factor

    def _read(self, discipline: Discipline, batch: list[bytes], now: int) -> None:
        """Move frames to the discipline, those of `batch` and then what the TAP holds.

        It ends when the TAP is empty, the discipline is full, or a batch has been moved.
        """
        self._is_drained = False
        budget = MAX_BATCH if discipline.room > MAX_BATCH else _MAX_SHED_BATCH
        if batch:
            self._enqueue(discipline, batch, now)
            budget -= len(batch)
        while budget > 0 and not self._is_drained:
            room = discipline.room
            if room <= 0 and self._shed_bytes <= 0:
                return
            limit = self._limit(discipline, budget)
            batch = self.source.read(limit)
            self._is_drained = len(batch) < limit
            budget -= limit
            wire_bytes = self._enqueue(discipline, batch, now)
            if batch and room < len(batch):
                self._shed_bytes -= wire_bytes * (len(batch) - max(0, room)) // len(batch)

    def _limit(self, discipline: Discipline, budget: int) -> int:
        """Return how many frames to read: what fits, whatever their size, and what may be shed."""
        fitting = discipline.room // self._frame_packets
        return min(budget, max(1, fitting + self._shed_bytes // self._unit_bytes))

    def _enqueue(self, discipline: Discipline, batch: list[bytes], now: int) -> int:
        """Queue what was read; return its wire bytes."""
        if self.source.lost:
            self._tally.lose("error", self.source.lost)
            self.source.lost = 0
        frames, neighbours = self._parse_all(batch)
        if neighbours:
            self._tally.lose("neighbour", neighbours)
        if frames:
            discipline.enqueue_batch(frames, now=now)
        return sum([frame[1] for frame in frames])

    def _measure(self, batch: Batch) -> Measure | None:
        return batch.measure(self._removed_bytes, keeps_neighbours=self._keeps_neighbours)

    def _parse_all(self, batch: list[bytes]) -> tuple[list[Frame], int]:
        return parse_all(batch, self._removed_bytes, keeps_neighbours=self._keeps_neighbours)

    def _schedule(
        self, discipline: Discipline, settings: Settings, now_ns: int, *, is_cut_short: bool
    ) -> None:
        """Choose when to run next: at a departure, rounded up to the next step of the clock."""
        deadline = discipline.deadline()
        if is_cut_short or not (self._is_drained or discipline.room <= 0):
            self.deadline_ns = now_ns
        elif deadline is not None:
            earliest_ns = max(jiffies.to_ns(deadline, settings.hz), now_ns + discipline.step_ns)
            self.deadline_ns = -(-earliest_ns // discipline.step_ns) * discipline.step_ns
        deadline_ns = self.deadline_ns
        is_imminent = deadline_ns is not None and deadline_ns <= now_ns + settings.jiffy_ns
        is_listening = self._is_drained and not self.source.is_gone
        self.wants_frames = is_listening and not is_imminent
