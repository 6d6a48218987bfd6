"""CoDel: one queue that is kept short by how long its frames have waited.

The rules, after RFC 8289:

1. What counts is the sojourn: how long a frame was in the queue, seen when it leaves (3.1).
2. A sojourn under `target`, or no more than one full frame left behind, means that the queue does
   its work (3.2, 5.6).
3. Otherwise for a whole `interval`, and it is a standing queue: a frame is dropped, the next one
   after interval / sqrt(1), then interval / sqrt(2), interval / sqrt(3) ... until rule 2 is met
   (3.3, 5.5).
4. A standing queue that soon comes back meets the rate of drops that got rid of it (5.5).
5. A frame that can be marked is marked instead of being dropped, and leaves (RFC 8290, 5.2.6).
6. What came at once into an empty queue is no standing queue, however long it takes to leave: up
   to `BURST_BYTES` that came within a target are spared, and the interval of rule 3 begins behind
   them. The RFC has no such rule. At 64 kbit/s the fragments of one datagram take longer than the
   interval, and without it one of each such datagram would be dropped, so none would arrive.

How it works. Time is in ticks of the discipline's clock (see `ticks`), which may be as coarse
as 10 ms. The control law needs finer steps than that: it is a tenth of the interval, which is the
step of the hundredth drop already. So the time of the next drop is kept in 1024ths of a tick, and
a step is the exact floor(interval / sqrt(count)), by an integer square root.

Limits. Delays are those of this queue alone; the TAP's ring before it and the master's queue after
it are not seen. Rule 5 never drops from a sender that promises to respond and does not: for that
there is the limit of the whole queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import isqrt
from typing import NamedTuple

from shaper.discipline.ticks import NANOSECONDS
from shaper.model import Settings
from shaper.packet.frame import Frame

# Specified: RFC 8289, 4.3 and 4.4.
_TARGET_MS = 5
_INTERVAL_MS = 100
_MEMORY_INTERVALS = 16  # 5.5: how long the rate of drops is remembered

# Chosen.
PARTS_A_TICK = 1024  # the time of the next drop is kept in them
_MIN_TARGET_JIFFIES = 2  # a frame that only just missed a departure seems to wait for the next
_MIN_TARGET_TICKS = 2
BURST_BYTES = 69_000  # the largest IP datagram, in fragments with their headers
_FULL_FRAME_BYTES = 1514  # a frame of Ethernet; an offload frame is a queue of them


class Setpoints(NamedTuple):
    """What CoDel aims at."""

    target: int  # ticks
    interval: int  # ticks
    full_frame_bytes: int  # what may always wait


def setpoints(settings: Settings) -> Setpoints:
    """Return what suits a rate.

    `target` is 5 ms, but never less than one and a half of the largest frame takes, which no
    queue could meet (RFC 8289, 4.4; RFC 8290, 5.2.2), nor than what the clock can tell.
    `interval` stands for a round trip, to which the target adds: 100 ms and what the target has
    grown by, and never less than twice the target.
    """
    default = -(-_TARGET_MS * settings.ticks_per_second // 1000)
    frame = -(-3 * settings.unit_bytes * 8 * settings.ticks_per_second // (2 * settings.rate_bits))
    jiffies = -(
        -_MIN_TARGET_JIFFIES * settings.jiffy_ns * settings.ticks_per_second // NANOSECONDS
    )
    target = max(default, frame, jiffies, _MIN_TARGET_TICKS)
    round_trip = -(-_INTERVAL_MS * settings.ticks_per_second // 1000)
    interval = max(round_trip + target - default, 2 * target)
    return Setpoints(target, interval, min(settings.unit_bytes, _FULL_FRAME_BYTES))


class Law:
    """What the queues of one discipline share: the setpoints, and what becomes of a frame.

    Args:
        points: what to aim at; it may be changed at any time.
        drop: told of each frame that is dropped.
        mark: returns a frame marked, or None where it cannot be.
    """

    __slots__ = ("drop", "full_frame_bytes", "interval", "mark", "target")

    def __init__(
        self,
        points: Setpoints,
        drop: Callable[[Frame], None],
        mark: Callable[[Frame], Frame | None],
    ) -> None:
        self.aim(points)
        self.drop = drop
        self.mark = mark

    def aim(self, points: Setpoints) -> None:
        """Follow other setpoints from now on."""
        self.target, self.interval, self.full_frame_bytes = points

    def step(self, count: int) -> int:
        """Return the time to the next drop, in parts of a tick (RFC 8289, 5.6).

        That is interval / sqrt(count), rounded down; there are `PARTS_A_TICK` in a tick.
        """
        interval = self.interval * PARTS_A_TICK
        return isqrt(interval * interval // count)


class Codel:
    """A queue of frames under the law.

    Attributes:
        frames: what waits, each with the tick in which it came.
        backlog_bytes: wire bytes waiting.
        sojourn: ticks that the frame dequeued last has waited.
        law: see `Law`.
        spared: how many frames at the head came at once into an empty queue (rule 6).
        spares_until: the tick until which more frames count as such.
    """

    __slots__ = (
        "_count",
        "_drop_next",
        "_first_above",
        "_is_dropping",
        "_last_count",
        "backlog_bytes",
        "frames",
        "law",
        "sojourn",
        "spared",
        "spares_until",
    )

    def __init__(self, law: Law) -> None:
        self.frames: deque[tuple[Frame, int]] = deque()
        self.backlog_bytes = 0
        self.sojourn = 0
        self.spared = 0
        self.spares_until = -1
        self.law = law
        self.forget()

    def forget(self) -> None:
        """Start the law anew, as the clock it was kept by is another now."""
        self._first_above: int | None = None  # the tick in which the interval is over
        self._is_dropping = False
        self._drop_next = 0  # in ticks
        self._count = 0
        self._last_count = 0

    def dequeue(self, now: int) -> Frame:
        """Hand out the next frame that is not dropped. Something must wait.

        RFC 8289, 5.5: at least one frame is always handed out, as rule 2 spares the last.
        """
        frame, arrived = self.frames.popleft()
        self.backlog_bytes = backlog_bytes = self.backlog_bytes - frame[1]
        self.sojourn = sojourn = now - arrived
        law = self.law
        if self.spared:
            self.spared -= 1
            self._first_above = None
            self._is_dropping = False
            return frame
        if sojourn < law.target or backlog_bytes <= law.full_frame_bytes:
            # 5.6: nearly every frame of a queue that works leaves here.
            self._first_above = None
            self._is_dropping = False
            return frame
        if self._first_above is None or now < self._first_above:  # as `_is_standing` says
            self._first_above = self._first_above or now + law.interval
            self._is_dropping = False
            return frame
        return self._go_on(frame, now) if self._is_dropping else self._begin(frame, now)

    def drop_heads(self, packets: int, least_bytes: int) -> tuple[int, int]:
        """Take out what came first, for want of room; return its wire bytes and wire frames.

        At least one frame goes, then others until `packets` wire frames have gone, or no more
        than `least_bytes` or a single frame is left.
        """
        frames = self.frames
        lost_bytes = lost_packets = 0
        before = len(frames)
        most_bytes = self.backlog_bytes - least_bytes
        while True:
            _, wire_bytes, frame_packets = frames.popleft()[0]
            lost_bytes += wire_bytes
            lost_packets += frame_packets
            if lost_packets >= packets or lost_bytes >= most_bytes or len(frames) < 2:
                break
        self.backlog_bytes -= lost_bytes
        self.spared = max(0, self.spared - (before - len(frames)))
        return lost_bytes, lost_packets

    def found_empty(self) -> None:
        """Note that the queue was asked for a frame when it had none (5.6)."""
        self._first_above = None
        self._is_dropping = False

    def take_all(self) -> list[tuple[Frame, int]]:
        """Take out everything that waits, with the ticks of its arrival."""
        waiting = list(self.frames)
        self.frames.clear()
        self.backlog_bytes = self.spared = 0
        return waiting

    def _is_standing(self, now: int) -> bool:
        """Whether it is an interval since the sojourn came over the target (5.6)."""
        if self._first_above is None:
            self._first_above = now + self.law.interval
            return False
        return now >= self._first_above

    def _begin(self, frame: Frame, now: int) -> Frame:
        """Drop or mark the first frame of a standing queue (5.5)."""
        marked = self.law.mark(frame)
        if marked is None:
            self.law.drop(frame)
            marked, _ = self._take(now)
        self._is_dropping = True
        recent = self._count - self._last_count
        elapsed = now * PARTS_A_TICK - self._drop_next
        is_remembered = elapsed < _MEMORY_INTERVALS * self.law.interval * PARTS_A_TICK
        self._count = recent if recent > 1 and is_remembered else 1
        self._last_count = self._count
        self._drop_next = now * PARTS_A_TICK + self.law.step(self._count)
        return marked

    def _go_on(self, frame: Frame, now: int) -> Frame:
        """Drop or mark what is due by now, until the queue stands no more (5.5)."""
        while self._is_dropping and now * PARTS_A_TICK >= self._drop_next:
            self._count += 1
            marked = self.law.mark(frame)
            if marked is not None:
                self._drop_next += self.law.step(self._count)
                return marked
            self.law.drop(frame)
            frame, self._is_dropping = self._take(now)
            if self._is_dropping:
                self._drop_next += self.law.step(self._count)
        return frame

    def _take(self, now: int) -> tuple[Frame, bool]:
        """Return the frame behind a dropped one, and whether it may be dropped too (5.6)."""
        frame, arrived = self.frames.popleft()
        self.backlog_bytes -= frame.wire_bytes
        self.sojourn = now - arrived
        law = self.law
        if self.sojourn < law.target or self.backlog_bytes <= law.full_frame_bytes:
            self._first_above = None
            return frame, False
        return frame, self._is_standing(now)
