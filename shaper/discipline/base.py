"""What the path asks of a discipline, and what the gate asks of a queue.

    Discipline: when the next frame leaves     gate.Gate (a queue behind a token bucket), Classic
    PacketQueue: which frame is the next       Fifo, FqCodel

A discipline owns the frames it was given until it hands them out or counts them as dropped. Time
is an integer number of ticks that never runs backwards; a discipline is told it and answers with
the tick in which it wants to be asked again. A tick is a microsecond, or a jiffy for the classic
queue and in most tests.

Where other stages go. A stage that holds frames after they were paid for (delay, loss,
duplication) is a `Discipline` that wraps another, as `linked` does: it takes what that one hands
out, answers `deadline` with the earlier of both, counts what it holds as backlog, and never
admits. What changes the rate in the course of time is another bucket (`traced`). Neither is seen
by a queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from shaper.model import Settings
from shaper.packet.frame import Frame


class Backlog(Protocol):
    """What waits in a queue, and what became of the rest."""

    @property
    def backlog_bytes(self) -> int:
        """Wire bytes waiting."""
        ...

    @property
    def backlog_packets(self) -> int:
        """Wire frames waiting; an offload frame counts its segments."""
        ...

    @property
    def dropped(self) -> dict[str, int]:
        """Wire frames lost, by reason."""
        ...

    @property
    def ecn_marks(self) -> int:
        """Wire frames marked instead of dropped (RFC 3168)."""
        ...

    @property
    def flows(self) -> int:
        """How many flows have a place in the round, where they are told apart."""
        ...

    @property
    def tells_delays(self) -> bool:
        """Whether `delay_now` and `delay_percentile` say anything."""
        ...

    @property
    def delay_now(self) -> int:
        """How long the frame handed out last had waited, in ticks."""
        ...

    @property
    def room(self) -> int:
        """Wire frames that fit without a drop; at 0 the TAP is better left unread."""
        ...

    @property
    def shed_factor(self) -> int:
        """Bytes that may be read and dropped for each byte sent while it is full."""
        ...

    def delay_percentile(self, percent: int, *, now: int) -> int | None:
        """Return how many ticks `percent` of the last ten seconds' frames waited at most."""
        ...

    def delay_worst_second(self) -> int:
        """Return what 99 of 100 frames of the worst of them waited, as of `delay_percentile`."""
        ...

    def enqueue_batch(self, frames: list[Frame], *, now: int) -> None:
        """Take frames that arrived together, in order; drop and count what finds no room."""
        ...

    def inherit(self, frames: list[Frame], *, now: int) -> None:
        """Take over what waited in another queue, beyond the limit if need be."""
        ...

    def passed(self, frames: int, now: int) -> None:
        """Record reads of the TAP that left at tick `now` without being queued."""
        ...

    def drain(self) -> list[Frame]:
        """Give back everything that waits, in order, to be queued elsewhere; nothing is lost."""
        ...


class PacketQueue(Backlog, Protocol):
    """An order of frames. It knows no rate: only which frame is the next."""

    def take(
        self, budget_bytes: int, *, now: int, limit: int, beyond_bytes: int = 0
    ) -> tuple[list[Frame], int]:
        """Hand out frames in order, at most `limit`; return them and their wire bytes.

        Another frame leaves while those before it are at most `budget_bytes`, and then those of
        sparse flows, while they are with them at most `beyond_bytes` more. Something must wait.
        """
        ...

    def next_bytes(self) -> int:
        """Return the wire bytes of the next frame. One must wait."""
        ...

    def sparse_bytes(self) -> int:
        """Return the wire bytes of the next frame of a sparse flow; 0 if none waits."""
        ...

    def found_empty(self) -> None:
        """Note that a frame was asked for when none waited."""
        ...

    def configure(self, settings: Settings, *, now: int) -> None:
        """Change limit, largest frame or clock at tick `now` of the old clock; lose nothing."""
        ...


class Discipline(Backlog, Protocol):
    """A queue with a clock: what a path sends from.

    Attributes:
        is_patient: frames of sparse flows are told of as they come, so what has more to send may
            leave a jiffy's worth at a time.
    """

    is_patient: bool

    @property
    def overlimits(self) -> int:
        """How many times a frame had to wait."""
        ...

    @property
    def altered(self) -> Mapping[str, int]:
        """Wire frames that are not as they were sent, by what a link did; empty without one."""
        ...

    @property
    def step_ns(self) -> int:
        """Departures are rounded up to multiples of it."""
        ...

    @property
    def is_prompt(self) -> bool:
        """Whether frames are to be read as they come, though a departure is near."""
        ...

    @property
    def can_admit(self) -> bool:
        """Whether `admit` may ever say yes."""
        ...

    @property
    def is_spent(self) -> bool:
        """Whether `dequeue_batch` would hand out nothing if it were asked again at once.

        False if that is not known.
        """
        ...

    @property
    def queue(self) -> Backlog:
        """What waits; the discipline itself where it has no queue of its own."""
        ...

    def busy_ns(self, sent_bytes: int) -> int:
        """Return for how many nanoseconds the rate was in use since it was last set.

        `sent_bytes` is what the master took in that time; what it refused counts neither in bytes
        nor in time. `sent_bytes * 8e9 / busy_ns` is the rate achieved while there was work.
        """
        ...

    def excuse(self, now: int) -> None:
        """Count no credit up to tick `now` as lost: there was no master to take frames."""
        ...

    def missed(self, away_ns: int) -> None:
        """Count time off the processor as lost, as far as it was taken for a pause until now."""
        ...

    def admit(self, wire_bytes: int, last_bytes: int, now: int, *, has_waited: bool) -> bool:
        """Pay for frames that conform, so that they leave at tick `now` without a queue.

        To be asked only where nothing is queued. False, and nothing paid, if the rate does not
        allow all of them to leave at once: they are to be enqueued then.

        Args:
            wire_bytes: of all of them.
            last_bytes: of the last one.
            now: the current tick.
            has_waited: they were held elsewhere since the last call, in the TAP's ring.
        """
        ...

    def dequeue_batch(self, *, now: int, limit: int) -> list[Frame]:
        """Hand out what may leave at tick `now`, in order, at most `limit` frames."""
        ...

    def left_late(self, wire_bytes: int, *, now: int) -> None:
        """Correct for the last `wire_bytes` handed out, which left only at tick `now`."""
        ...

    def deadline(self) -> int | None:
        """Return the tick in which a frame may leave next; None when nothing waits.

        It may lie in the past: then a frame may leave at once.
        """
        ...

    def opens_at(self) -> int:
        """Return the tick in which what has left so far is paid for."""
        ...

    def flush(self, reason: str) -> None:
        """Drop everything that waits and count it under `reason`."""
        ...


class FirstComeFirstServed:
    """What a queue of one flow does not do: mark, and of itself tell delays."""

    altered: Mapping[str, int] = MappingProxyType({})
    ecn_marks = 0
    flows = 0
    delay_now = 0
    tells_delays = False

    def sparse_bytes(self) -> int:
        """Return 0: no flow is sparse."""
        return 0

    def passed(self, frames: int, now: int) -> None:
        """Count nothing: delays are not recorded."""

    def delay_percentile(self, percent: int, *, now: int) -> int | None:
        """Return None: delays are not recorded."""
        return None

    def delay_worst_second(self) -> int:
        """Return 0: delays are not recorded."""
        return 0
