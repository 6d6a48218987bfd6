"""A discipline with an emulated link behind it: what it hands out is under way before it leaves.

The discipline decides when a frame leaves the bucket, as without a link; the `line` what becomes
of it then. Once there is a link it stays, and is transparent while all of its options are the
defaults: so what is under way when they are put back arrives, and nothing is counted twice.
"""

from __future__ import annotations

from collections import deque

from shaper.discipline import ticks
from shaper.discipline.base import Discipline
from shaper.discipline.line import Line
from shaper.model import Settings
from shaper.packet.frame import Frame

# Chosen: a frame is to leave the link to within a tenth of a millisecond of its time.
_STEP_NS = 50_000


class Linked:
    """A discipline and its link; see `base.Discipline` for the contract.

    Args:
        inner: the discipline. What it has counted so far counts elsewhere.
        settings: the link, the rate and the clock.
    """

    def __init__(self, inner: Discipline, settings: Settings) -> None:
        self.inner = inner
        self._settings = settings
        self._line = Line(settings.line, settings.line.limit_bytes(settings.peak_bits))
        self._ready: deque[Frame] = deque()
        self._dropped: dict[str, int] = {}  # by the line, by flushes and by earlier disciplines
        self._overlimits = self._ecn_marks = 0
        self._disown(inner, -1)

    is_spent = False  # not known: what has arrived is not seen by the bucket

    @property
    def queue(self) -> Linked:
        """What waits: before the bucket and on the link."""
        return self

    @property
    def backlog_bytes(self) -> int:
        """Wire bytes waiting or under way."""
        ready_bytes = sum([frame.wire_bytes for frame in self._ready])
        return self.inner.backlog_bytes + self._line.backlog_bytes + ready_bytes

    @property
    def backlog_packets(self) -> int:
        """Wire frames waiting or under way."""
        ready = sum([frame.packets for frame in self._ready])
        return self.inner.backlog_packets + self._line.backlog_packets + ready

    @property
    def dropped(self) -> dict[str, int]:
        """Wire frames lost, by reason."""
        lost = dict(self._line.dropped)
        for counts in (self._dropped, self.inner.dropped):
            for reason, packets in counts.items():
                lost[reason] = lost.get(reason, 0) + packets
        return lost

    @property
    def altered(self) -> dict[str, int]:
        """Wire frames that are not as they were sent, by what became of them."""
        return dict(self._line.altered)

    @property
    def overlimits(self) -> int:
        """How many times a frame had to wait."""
        return self._overlimits + self.inner.overlimits

    @property
    def ecn_marks(self) -> int:
        """Wire frames marked instead of dropped."""
        return self._ecn_marks + self.inner.ecn_marks

    @property
    def flows(self) -> int:
        """How many flows have a place in the round."""
        return self.inner.flows

    @property
    def tells_delays(self) -> bool:
        """Whether the queue records delays, which are those before the bucket."""
        return self.inner.tells_delays

    @property
    def delay_now(self) -> int:
        """How long the frame handed out last had waited before the bucket, in ticks."""
        return self.inner.delay_now

    @property
    def room(self) -> int:
        """How many more wire frames fit into the queue."""
        return self.inner.room

    @property
    def shed_factor(self) -> int:
        """Bytes that may be read and dropped for each byte sent while the queue is full."""
        return self.inner.shed_factor

    @property
    def step_ns(self) -> int:
        """Departures are rounded up to multiples of it."""
        return self.inner.step_ns if self._is_transparent else min(_STEP_NS, self.inner.step_ns)

    @property
    def is_patient(self) -> bool:
        """Whether a jiffy's worth may leave at a time, which a link does not bear."""
        return self.inner.is_patient

    @is_patient.setter
    def is_patient(self, value: bool) -> None:
        self.inner.is_patient = value and self._is_transparent

    @property
    def is_prompt(self) -> bool:
        """Whether frames are to be read as they come: the link counts from then on."""
        return not self._is_transparent

    @property
    def can_admit(self) -> bool:
        """Whether frames may bypass the queue: where there is no link, and none is under way."""
        return self._is_transparent and self.inner.can_admit

    @property
    def _is_transparent(self) -> bool:
        is_empty = not (self._line.backlog_packets or self._ready)
        return is_empty and self._settings.line.is_default

    def busy_ns(self, sent_bytes: int) -> int:
        """Return for how long the rate was in use since it was last set."""
        return self.inner.busy_ns(sent_bytes)

    def excuse(self, now: int) -> None:
        """Count no credit up to now as lost."""
        self.inner.excuse(now)

    def missed(self, away_ns: int) -> None:
        """Count time off the processor as lost."""
        self.inner.missed(away_ns)

    def delay_percentile(self, percent: int, *, now: int) -> int | None:
        """Return what the queue recorded."""
        return self.inner.delay_percentile(percent, now=now)

    def delay_worst_second(self) -> int:
        """Return what the queue recorded."""
        return self.inner.delay_worst_second()

    def enqueue_batch(self, frames: list[Frame], *, now: int) -> None:
        """Queue frames before the bucket."""
        self.inner.enqueue_batch(frames, now=now)

    def admit(self, wire_bytes: int, last_bytes: int, now: int, *, has_waited: bool) -> bool:
        """Pay for frames that leave at once, where there is no link."""
        return self.can_admit and self.inner.admit(
            wire_bytes, last_bytes, now, has_waited=has_waited
        )

    def passed(self, frames: int, now: int) -> None:
        """Let the queue record frames that bypassed it."""
        self.inner.passed(frames, now)

    def inherit(self, frames: list[Frame], *, now: int) -> None:
        """Take over what waited in another discipline."""
        self.inner.inherit(frames, now=now)

    def dequeue_batch(self, *, now: int, limit: int) -> list[Frame]:
        """Send what the bucket allows on its way, and hand out what has arrived."""
        now_ns = ticks.to_ns(now, self._settings.ticks_per_second)
        ready, line = self._ready, self._line
        while frames := self.inner.dequeue_batch(now=now, limit=limit):
            ready += line.enter(frames, now_ns)
            if len(frames) < limit:
                break
        ready += line.leave(now_ns)
        return [ready.popleft() for _ in range(min(limit, len(ready)))]

    def left_late(self, wire_bytes: int, *, now: int) -> None:
        """Correct nothing: what leaves the link was paid for long ago."""

    def deadline(self) -> int | None:
        """Return the tick in which the bucket opens or a frame arrives, whichever is first."""
        if self._ready:
            return 0
        opens, arrives_ns = self.inner.deadline(), self._line.next_ns()
        if arrives_ns is None:
            return opens
        arrives = ticks.from_ns(arrives_ns - 1, self._settings.ticks_per_second) + 1
        return arrives if opens is None else min(opens, arrives)

    def opens_at(self) -> int:
        """Return the tick in which what has left the bucket is paid for."""
        return self.inner.opens_at()

    def flush(self, reason: str) -> None:
        """Drop everything that waits or is under way and count it under `reason`."""
        self.inner.flush(reason)
        lost = sum(frame.packets for frame in self._take_under_way())
        self._dropped[reason] = self._dropped.get(reason, 0) + lost

    def drain(self) -> list[Frame]:
        """Give back everything that waits or is under way, in order."""
        return [*self._take_under_way(), *self.inner.drain()]

    def reconfigure(self, inner: Discipline, settings: Settings) -> None:
        """Change the link, and the discipline before it; what is under way stays so."""
        if inner is not self.inner:
            self._disown(self.inner, 1)
            self._disown(inner, -1)
            self.inner = inner
        if settings.line != self._settings.line or settings.peak_bits != self._settings.peak_bits:
            self._line.configure(settings.line, settings.line.limit_bytes(settings.peak_bits))
        self._settings = settings

    def _take_under_way(self) -> list[Frame]:
        frames = [*self._ready, *self._line.drain()]
        self._ready.clear()
        return frames

    def _disown(self, inner: Discipline, sign: int) -> None:
        """Keep what a discipline has counted, or leave out what it had counted before."""
        self._overlimits += sign * inner.overlimits
        self._ecn_marks += sign * inner.ecn_marks
        for reason, packets in inner.dropped.items():
            self._dropped[reason] = self._dropped.get(reason, 0) + sign * packets
