"""What the path asks of a discipline: the contract every queue here keeps.

A discipline owns the frames it was given until it hands them out or counts them as dropped.
It is told the time, an integer number of ticks that never runs backwards, and answers with the
tick in which it wants to be asked again. It never looks at a clock. A tick is a microsecond, or a
jiffy for the classic queue and in most tests; here all are called jiffies.
"""

from __future__ import annotations

from typing import Protocol

from shaper.packet.frame import Frame


class Discipline(Protocol):
    """A transmit queue with a rate.

    Attributes:
        backlog_bytes: wire bytes waiting.
        backlog_packets: wire frames waiting; an offload frame counts its segments.
        overlimits: how many times a frame had to wait.
        dropped: wire frames lost, by reason.
        ecn_marks: wire frames marked instead of dropped (RFC 3168).
        flows: how many flows have a place in the round, where the discipline tells them apart.
        tells_delays: whether `delay_now` and `delay_percentile` say anything.
        delay_now: how long the frame handed out last had waited, in jiffies.
        room: wire frames that fit without a drop; at 0 the TAP is better left unread.
        busy_bytes: wire bytes handed out since the rate was last set.
        busy_ns: how long the rate was in use since it was last set, in nanoseconds.
            `busy_bytes * 8e9 / busy_ns` is the rate achieved while there was work.
    """

    backlog_bytes: int
    backlog_packets: int
    overlimits: int
    dropped: dict[str, int]
    ecn_marks: int
    flows: int
    tells_delays: bool
    delay_now: int

    @property
    def room(self) -> int:
        """How many more wire frames it takes without dropping one; 0 or less when it is full."""
        ...

    @property
    def busy_bytes(self) -> int:
        """Wire bytes handed out since the rate was last set."""
        ...

    @property
    def busy_ns(self) -> int:
        """Nanoseconds for which the rate was in use since it was last set."""
        ...

    def enqueue(self, frame: Frame, *, now: int) -> None:
        """Take a frame at jiffy `now`; it may drop this one or another, and counts it."""
        ...

    def enqueue_batch(self, frames: list[Frame], *, now: int) -> None:
        """Take frames that arrived together, in order, as `enqueue` would take each."""
        ...

    def admit(self, wire_bytes: int, last_bytes: int, now: int, *, has_waited: bool) -> bool:
        """Pay for frames that have just come, so that they leave at jiffy `now` without a queue.

        To be asked only where nothing is queued; `has_waited` if they have waited all the same,
        elsewhere, since the last time. False, and nothing paid, if the rate does not allow all of
        them, the last one of `last_bytes`, to leave at once: they are to be enqueued then.
        """
        ...

    def passed(self, frames: int, now: int) -> None:
        """Be told that so many reads of the TAP left at jiffy `now` without being queued."""
        ...

    def inherit(self, frames: list[Frame], *, now: int) -> None:
        """Take over what waited in another discipline, beyond the limit if need be."""
        ...

    def dequeue(self, *, now: int) -> Frame | None:
        """Hand out the next frame that may leave at jiffy `now`, or None."""
        ...

    def dequeue_batch(self, *, now: int, limit: int) -> list[Frame]:
        """Hand out what may leave at jiffy `now`, in order, at most `limit` frames."""
        ...

    def left_late(self, wire_bytes: int, *, now: int) -> None:
        """Be told that the last `wire_bytes` handed out left only at jiffy `now`."""
        ...

    def deadline(self) -> int | None:
        """Return the jiffy in which a frame may leave next; None when nothing waits.

        It may lie in the past: then a frame may leave at once.
        """
        ...

    def delay_percentile(self, percent: int, *, now: int) -> int | None:
        """Return how many jiffies `percent` of the last ten seconds' frames waited at most."""
        ...

    def opens_at(self) -> int:
        """Return the jiffy in which what has left so far is paid for."""
        ...

    def flush(self, reason: str) -> None:
        """Drop everything that waits and count it under `reason`."""
        ...

    def drain(self) -> list[Frame]:
        """Give back everything that waits, in order, to be queued elsewhere; nothing is lost."""
        ...


class FirstComeFirstServed:
    """What a discipline does not do that knows one flow only: mark, and tell delays."""

    ecn_marks = 0
    flows = 0
    delay_now = 0
    tells_delays = False

    def passed(self, frames: int, now: int) -> None:
        """Count nothing: there are no delays to be told."""

    def delay_percentile(self, percent: int, *, now: int) -> int | None:
        """Return None: delays are not recorded."""
        return None


class OneByOne:
    """The batches of a discipline that has nothing to gain from them."""

    def inherit(self: Discipline, frames: list[Frame], *, now: int) -> None:
        """Take each frame in turn, as if it came now."""
        for frame in frames:
            self.enqueue(frame, now=now)

    def enqueue_batch(self: Discipline, frames: list[Frame], *, now: int) -> None:
        """Take each frame in turn."""
        for frame in frames:
            self.enqueue(frame, now=now)

    def dequeue_batch(self: Discipline, *, now: int, limit: int) -> list[Frame]:
        """Ask for one frame after the other."""
        frames: list[Frame] = []
        while len(frames) < limit and (frame := self.dequeue(now=now)) is not None:
            frames.append(frame)
        return frames
