"""The gate: a token bucket before a queue, which together are a discipline.

The queue says which frame is next, the bucket when it may leave (see `bucket` for the law). The
gate lets the bucket accrue while something waits and rest while nothing does, and hands out what
it allows. See `base` for where other stages are put in.

Sparse flows do not wait for the bucket: they may owe a full frame (`Settings.reserve_bytes`) more
than others, who may owe the largest. The bucket's surplus is so much less, so that B holds. And a
gate that `is_patient` lets what others have waiting leave a jiffy's worth at a time, unless the
rate is that of a trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from shaper.discipline import ticks
from shaper.discipline.base import PacketQueue
from shaper.discipline.traced import make_bucket
from shaper.model import Settings
from shaper.packet.frame import Frame

# Chosen.
_STEPS_A_JIFFY = 8
_LEAST_STEP_NS = 10_000  # no timer here is more exact than that


class Gate:
    """A queue behind a bucket; see `base.Discipline` for the contract.

    Args:
        queue: what orders the frames.
        settings: rate, bucket and clock; the queue was told the same ones.
        now: the current tick.
        opens_at: see `Bucket`; for a discipline that takes over from another.

    Attributes:
        queue: the queue.
        overlimits: how many times a frame had to wait.
        is_spent: the bucket closed while frames were handed out, and more wait.
        step_ns: departures are rounded up to multiples of it.
    """

    altered: Mapping[str, int] = MappingProxyType({})
    can_admit = True
    is_prompt = False
    is_patient = False

    def __init__(
        self, queue: PacketQueue, settings: Settings, *, now: int, opens_at: int | None = None
    ) -> None:
        self.queue = queue
        self.overlimits = 0
        self.is_spent = False
        self._bucket = make_bucket(settings, now=now, opens_at=opens_at)
        self._follow(settings)

    @property
    def backlog_bytes(self) -> int:
        """Wire bytes waiting."""
        return self.queue.backlog_bytes

    @property
    def backlog_packets(self) -> int:
        """Wire frames waiting."""
        return self.queue.backlog_packets

    @property
    def dropped(self) -> dict[str, int]:
        """Wire frames lost, by reason."""
        return self.queue.dropped

    @property
    def ecn_marks(self) -> int:
        """Wire frames marked instead of dropped."""
        return self.queue.ecn_marks

    @property
    def flows(self) -> int:
        """How many flows have a place in the round."""
        return self.queue.flows

    @property
    def tells_delays(self) -> bool:
        """Whether the queue records delays."""
        return self.queue.tells_delays

    @property
    def delay_now(self) -> int:
        """How long the frame handed out last had waited, in ticks."""
        return self.queue.delay_now

    @property
    def room(self) -> int:
        """How many more wire frames fit; 0 or less when the queue is full."""
        return self.queue.room

    @property
    def shed_factor(self) -> int:
        """Bytes that may be read and dropped for each byte sent while the queue is full."""
        return self.queue.shed_factor

    def busy_ns(self, sent_bytes: int) -> int:
        """Return for how long the rate was in use since it was last set."""
        return self._bucket.busy_ns(sent_bytes)

    def excuse(self, now: int) -> None:
        """Count no credit up to now as lost."""
        self._bucket.excuse(now)

    def missed(self, away_ns: int) -> None:
        """Count time off the processor as lost."""
        self._bucket.missed(away_ns)

    def delay_percentile(self, percent: int, *, now: int) -> int | None:
        """Return what the queue recorded."""
        return self.queue.delay_percentile(percent, now=now)

    def delay_worst_second(self) -> int:
        """Return what the queue recorded."""
        return self.queue.delay_worst_second()

    def enqueue_batch(self, frames: list[Frame], *, now: int) -> None:
        """Queue frames; until they came, the bucket rested if nothing waited."""
        if frames and not self.queue.backlog_packets:
            self._bucket.rest(now)
        self.queue.enqueue_batch(frames, now=now)

    def admit(self, wire_bytes: int, last_bytes: int, now: int, *, has_waited: bool) -> bool:
        """Pay for frames that leave at once, if the bucket allows it.

        Where nothing waits nothing is overtaken, so classification is skipped.
        """
        return self._bucket.admit(wire_bytes, last_bytes, now, has_waited=has_waited)

    def passed(self, frames: int, now: int) -> None:
        """Let the queue record frames that bypassed it."""
        self.queue.passed(frames, now)

    def inherit(self, frames: list[Frame], *, now: int) -> None:
        """Take over what waited in another discipline."""
        self.queue.inherit(frames, now=now)

    def dequeue_batch(self, *, now: int, limit: int) -> list[Frame]:
        """Hand out frames for as long as the bucket stays open."""
        queue, bucket = self.queue, self._bucket
        self.is_spent = False
        if not queue.backlog_packets:
            queue.found_empty()
            return []
        budget_bytes, beyond_bytes = bucket.accrue(now), self._beyond_bytes
        if budget_bytes < 0 and (not beyond_bytes or not queue.sparse_bytes()):
            self.overlimits += 1
            return []
        frames, wire_bytes = queue.take(
            budget_bytes, now=now, limit=limit, beyond_bytes=beyond_bytes
        )
        bucket.charge(wire_bytes)
        if wire_bytes > budget_bytes and len(frames) < limit and queue.backlog_packets:
            self.overlimits += 1  # as if it had been asked once more
            self.is_spent = True
        return frames

    def left_late(self, wire_bytes: int, *, now: int) -> None:
        """Grant no credit twice for frames that left later than they were handed out."""
        self._bucket.left_late(wire_bytes, now)

    def deadline(self) -> int | None:
        """Return the tick in which the bucket opens, if something waits for it."""
        if not self.queue.backlog_packets:
            return None
        return self._bucket.opens_at(self._enough_bytes())

    def _enough_bytes(self) -> int:
        """Return what the balance is to be when it is time for the next frames."""
        if self._beyond_bytes and (sparse_bytes := self.queue.sparse_bytes()):
            return sparse_bytes - self._beyond_bytes
        if not self.is_patient:
            return 0
        next_bytes = self.queue.next_bytes() or 1  # 0: a header alone, and the master has none
        leaving_bytes = round(self._jiffy_bytes / next_bytes) * next_bytes
        if leaving_bytes > self.queue.backlog_bytes:
            leaving_bytes = self.queue.backlog_bytes
        enough_bytes = leaving_bytes - (self._last_bytes or next_bytes)
        return max(0, min(enough_bytes, self._most_bytes))

    def opens_at(self) -> int:
        """Return the tick in which what has left so far is paid for."""
        return self._bucket.opens_at()

    def configure(self, settings: Settings, *, now: int) -> None:
        """Change rate, bucket, limit or clock at tick `now` of the old clock; lose nothing."""
        self.pace(settings, now=now)
        self.queue.configure(settings, now=now)

    def pace(self, settings: Settings, *, now: int) -> None:
        """Change rate and bucket alone, at tick `now` of the old clock; what waits stays as it is.

        Where largest frame, limit or HZ change as well, `configure` is to be used.
        """
        if self.queue.backlog_packets:
            self._bucket.accrue(now)
        else:
            self._bucket.rest(now)
        new_now = ticks.convert(now, self._settings.ticks_per_second, settings.ticks_per_second)
        self._bucket = self._bucket.successor(settings, now=new_now, make=make_bucket)
        self._follow(settings)

    def _follow(self, settings: Settings) -> None:
        """Work out once what each departure asks for."""
        self._settings = settings
        self.step_ns = _step_ns(settings)
        self._beyond_bytes = _beyond_bytes(settings)
        self._jiffy_bytes, unit_bytes = settings.jiffy_bytes, settings.unit_bytes
        self._last_bytes = unit_bytes if self._jiffy_bytes >= 2 * unit_bytes else 0  # 0: as it is
        # A trace may take longer over a jiffy's worth of its mean than a jiffy, or for ever.
        is_steady = settings.playback is None
        self._most_bytes = self._bucket.surplus_bytes // 2 if is_steady else 0

    def flush(self, reason: str) -> None:
        """Drop everything that waits and count it under `reason`."""
        lost = sum(frame.packets for frame in self.drain())
        self.dropped[reason] = self.dropped.get(reason, 0) + lost

    def drain(self) -> list[Frame]:
        """Give back everything that waits, in order."""
        return self.queue.drain()


def _step_ns(settings: Settings) -> int:
    """Return how finely departures are timed: to an eighth of a jiffy, if the bucket bears that.

    What is earned while a departure is rounded up must find room in the bucket.
    """
    surplus_bytes = settings.burst_bytes - settings.unit_bytes - settings.reserve_bytes
    surplus_ns = surplus_bytes * 8 * ticks.NANOSECONDS // settings.rate_bits
    step_ns = min(settings.jiffy_ns, surplus_ns) // _STEPS_A_JIFFY
    return max(_LEAST_STEP_NS, step_ns)


def _beyond_bytes(settings: Settings) -> int:
    """Return how far sparse flows may take the balance below zero: what others may owe, and more.

    0 where nothing is kept for them.
    """
    return settings.unit_bytes + settings.reserve_bytes if settings.reserve_bytes else 0
