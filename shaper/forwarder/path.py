"""One path: a TAP, its discipline, the packet socket of its master, and its row on the board.

    TAP ring --read--> discipline --dequeue--> master's queue
            (or, where nothing waits, past it: the fast path)

A path is run when its TAP is readable, when its deadline has come or when its master has room
again. A run reads what waits and then sends what is due, so that a frame of a sparse flow goes
before what waits longer and does not miss a departure. It is bounded (`MAX_BATCH`), so that no
shaper starves another, and answers what it `wants` next. Its states and what leads from one to
another are in `path_states`; where nothing waits, frames take the `fast_path`.
"""

from __future__ import annotations

from shaper.discipline import ticks
from shaper.discipline.base import Discipline
from shaper.discipline.factory import make_discipline
from shaper.forwarder.fast_path import FastPath
from shaper.forwarder.intake import Intake
from shaper.forwarder.outlet import Outlet
from shaper.forwarder.path_states import PathEvent, PathState, follow
from shaper.forwarder.ports import MAX_BATCH, FrameSink, FrameSource, Outcome
from shaper.forwarder.ring_meter import RingMeter
from shaper.forwarder.tally import Tally
from shaper.forwarder.tunnel_loop import LoopWatch
from shaper.forwarder.wants import FRAMES, NOTHING, ROOM, Wants, until_departure
from shaper.model import Queue, Settings

# To look a member of an enum up costs as much as a call, and caches are cold.
_CLEAR, _BLOCKED, _HELD = PathState.CLEAR, PathState.BLOCKED, PathState.HELD
_REFUSED, _FILLED = Outcome.GONE, Outcome.BLOCKED

# Chosen: how soon a master that was down or gone is tried again, unless the supervisor speaks up.
# One that was down too briefly for the supervisor to see is found to be back by this alone.
_HOLD_NS = 100_000_000


class Path:
    """The frames of one shaper.

    Args:
        source: the TAP.
        row: the shaper's row on the board; counting continues from what it holds.
        key: random bytes, for the hash of flows.
        ring: the row of the TAP's ring, where a program may cap flows there.
        has_bell: the program rings, too.

    Attributes:
        state: see `path_states`.
        source: the TAP.
        sink: the master's socket; None while there is none.
        watch: what finds frames that come back, where the master may lead them back.
        queued_ns: the loop's own: its latest deadline that is in the heap.
        interest: the loop's own: 1 while the TAP is watched, and 2 while the socket is.
    """

    def __init__(
        self,
        source: FrameSource,
        row: memoryview,
        key: bytes,
        ring: memoryview | None = None,
        *,
        has_bell: bool = False,
    ) -> None:
        self.state = PathState.IDLE
        self.source = source
        self.sink: FrameSink | None = None
        self.queued_ns: int | None = None
        self.interest = 0
        self._meter = RingMeter(ring, has_bell=has_bell) if ring is not None else None
        self._key = key
        self._tally = Tally(row)
        self._intake = Intake(source, self._tally)
        self._outlet = Outlet(self._tally)
        self.watch: LoopWatch | None = None
        self._fast_path = FastPath(self._intake, self._outlet)
        self._settings: Settings | None = None
        self._discipline: Discipline | None = None
        self._due = FRAMES  # with the time at which the tally is to be written again
        self._shed_bytes = 0  # how much more than fits may be read, as that much was sent

    def run(self, now_ns: int) -> Wants:
        """Do what is due; return when to come again."""
        settings, discipline, outlet = self._settings, self._discipline, self._outlet
        sink, outlet.run_bytes = self.sink, 0
        if self.watch is not None:
            self.watch.now_ns = now_ns
        if settings is None or discipline is None or sink is None:
            wants = NOTHING
        elif self.state is _CLEAR:
            wants = self._run_clear(discipline, settings, sink, now_ns)
        else:
            if outlet.stopped_by is _REFUSED:
                outlet.unblock()
            wants = self._run_queue(discipline, settings, [], now_ns)
        meter = self.source.meter
        if meter is not None:
            meter.look(now_ns)
            if wants.wants_frames or wants.deadline_ns is None or self.state is _HELD:
                meter.bell.mute()
        ticks_per_second = settings.ticks_per_second if settings is not None else 1
        self._tally.publish(discipline, outlet.pending, ticks_per_second, now_ns, outlet.run_bytes)
        due_ns = self._tally.due_ns
        if due_ns is None or wants.deadline_ns is not None:
            return wants
        if wants is not FRAMES:
            return Wants(due_ns, wants.wants_frames, wants.wants_room)
        if self._due.deadline_ns != due_ns:  # else it is as after the frame before
            self._due = Wants(due_ns, wants_frames=True)
        return self._due

    def unblock(self) -> None:
        """Note that the master's socket is writable."""
        if self.state is _BLOCKED:
            self._outlet.unblock()
            self._move(PathEvent.WRITABLE)

    def left_late(self, now_ns: int) -> None:
        """Correct for a run that ended at this time, later than it knew by some ticks."""
        settings, discipline = self._settings, self._discipline
        if settings is None or discipline is None or not self._outlet.run_bytes:
            return
        now = ticks.from_ns(now_ns, settings.ticks_per_second)
        discipline.left_late(self._outlet.run_bytes, now=now)
        self._tally.left_late(self._outlet.run_bytes, now_ns)

    def rang(self, at_ns: int, now_ns: int) -> None:
        """Note that a frame of a sparse flow has come."""
        if self._meter is not None:
            self._meter.bell.rang(at_ns, now_ns)

    def missed(self, away_ns: int) -> None:
        """Record how much of the time before the last run the processor was not ours."""
        if self._discipline is not None:
            self._discipline.missed(away_ns)

    def configure(self, settings: Settings | None, now_ns: int) -> None:
        """Change the speed, the queue or its limits. Frames that wait stay, in order."""
        old, before = self._discipline, self._settings
        if settings is None:
            self._drop_waiting()
            self._tally.retire(old)
            self._discipline = None
        else:
            self._discipline = make_discipline(old, before, settings, now_ns, self._key)
            if self._discipline is not old:
                self._tally.retire(old)
            self._intake.configure(settings)
        self._follow_ring(settings)
        self._tally.measure(settings)
        self._settings = settings
        self._start_over()

    def bind(self, sink: FrameSink | None, *, is_tunnel: bool = False) -> None:
        """Send to another master from now on; None: hold what waits."""
        self.watch = LoopWatch() if is_tunnel else None
        self._intake.watch = self._outlet.watch = self.watch
        self.sink = sink
        self._outlet.bind(sink)
        self._intake.bind(sink)
        self._start_over()

    def absorb(self) -> None:
        """Read the TAP's ring empty, before it is made shorter; what was in it goes first."""
        self.source.absorb()
        self._move(PathEvent.ABSORBED)

    def flush(self) -> None:
        """Drop everything that waits, what the TAP still holds included."""
        self._intake.flush()
        self._drop_waiting()

    def close(self) -> None:
        """Let go of both edges."""
        self.flush()
        ticks_per_second = self._settings.ticks_per_second if self._settings is not None else 1
        self._tally.publish(self._discipline, [], ticks_per_second, 0, 0)
        self.bind(None)
        self.source.close()

    def _follow_ring(self, settings: Settings | None) -> None:
        """Meter the ring while flows may be capped in it: where the queue tells them apart."""
        is_metered = settings is not None and settings.queue is Queue.FQ_CODEL
        self.source.meter = self._meter if is_metered else None
        if settings is not None and self._meter is not None:
            self._meter.configure(settings)

    def _start_over(self) -> None:
        is_complete = self._discipline is not None and self.sink is not None
        self._move(PathEvent.COMPLETED if is_complete else PathEvent.DEPRIVED)

    def _move(self, event: PathEvent) -> None:
        self.state = follow(self.state, event)

    def _drop_waiting(self) -> None:
        self._outlet.drop_pending()
        if self._discipline is not None:
            self._discipline.flush("flush")

    def _run_clear(
        self, discipline: Discipline, settings: Settings, sink: FrameSink, now_ns: int
    ) -> Wants:
        """Let what conforms bypass the queue, and queue the rest."""
        rest = self._fast_path.run(discipline, sink, settings.ticks_per_second, now_ns)
        if rest is None:
            return FRAMES if self._intake.is_drained else Wants(now_ns)
        self._move(PathEvent.EXCEEDED)
        return self._run_queue(discipline, settings, rest, now_ns)

    def _run_queue(
        self, discipline: Discipline, settings: Settings, first: list[bytes], now_ns: int
    ) -> Wants:
        """Send what is due, queue what has come, `first` of all, and send what is due then."""
        outlet = self._outlet
        now = ticks.from_ns(now_ns, settings.ticks_per_second)
        if self.state is _HELD:
            discipline.excuse(now)
            self._move(PathEvent.RETRIED)
        meter = self.source.meter
        discipline.is_patient = meter is not None and meter.set_bell(now_ns)
        holds_more = self._read(discipline, first, now)
        room, queue = outlet.send(discipline, now=now, room=MAX_BATCH), discipline.queue
        if room <= 0 or not queue.backlog_packets:
            # More is due; or what has left may have been answered with more already.
            if room > 0 and not holds_more:
                holds_more = self._read(discipline, [], now)
            # A batch more than was read, so that what waits is made up for.
            room = outlet.send(discipline, now=now, room=MAX_BATCH)
        self._shed_bytes = outlet.run_bytes * queue.shed_factor
        if outlet.stopped_by is _REFUSED:
            self._move(PathEvent.REFUSED)
            return Wants(now_ns + _HOLD_NS)
        if outlet.stopped_by is _FILLED:
            self._move(PathEvent.FILLED)
            return ROOM
        is_empty = not (queue.backlog_packets or outlet.pending)
        holds_more |= is_empty and not self._intake.is_drained
        if room <= 0 or holds_more:
            wants = Wants(now_ns)
        else:
            listens = self._intake.is_drained and not self.source.is_gone
            wants = until_departure(discipline, settings, now_ns, listens=listens)
        if is_empty and discipline.can_admit and wants is not NOTHING:
            self._move(PathEvent.EMPTIED)
        if meter is not None and outlet.run_bytes:
            meter.bell.departed()
        return wants

    def _read(self, discipline: Discipline, first: list[bytes], now: int) -> bool:
        """Queue what has come, `first` of all; return whether there is more, and room for it."""
        self._intake.read(discipline, first, now=now, shed_bytes=self._shed_bytes)
        self._shed_bytes = 0
        return not self._intake.is_drained and discipline.room > 0
