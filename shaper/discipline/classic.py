"""The classic discipline: the shaper driver of Linux 2.0 to 2.6, its faults included.

The rules, in ticks of HZ a second:

1. A tick carries rate / HZ / 8 bytes; each division drops its remainder, and 0 becomes 1.
2. A frame costs its wire bytes divided by the bytes of a tick, remainder dropped.
3. A frame that arrives is given a clock: the later of now and the recovery time, plus the cost of
   all that waits. More than 5 seconds ahead of now, it is dropped as `latency`.
4. When more than 10 frames then wait, the head is dropped as `collision`; the rest keep their
   clocks.
5. The head leaves if its clock is at most HZ / 50 ticks ahead of now, and its successors likewise.
   Leaving moves the recovery time to the frame's clock plus its cost, if that is later.
6. Rule 5 is applied at every arrival and when the clock of the head is reached: for that one
   timer is armed. So a frame alone leaves at its clock, and one in company up to HZ / 50 earlier.

What follows from them, and belongs to the discipline: at high rates a small frame costs nothing
and goes unshaped; a rate below 8 * HZ bits a second is served as 8 * HZ; the rate is rounded down
to whole bytes a tick, so that HZ 1000 sends 8000 of 9600 bit/s.

What an arrival lets go is released: it waits no more, and only to be fetched by `dequeue`. However
many frames the caller reads at once, each meets the queue it would have met in the driver.

Clock and cost are given to a frame once, on arrival. A change of rate leaves those of waiting
frames as they are: none is lost, and a faster rate lets none of them leave earlier than promised,
so there is no burst. The new rate prices the frames that come after.

An offload frame is one frame here: one place in the queue, and one cost, that of its whole length.
Where the driver's rates apply it does not occur, as the path turns offload off.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from shaper.discipline.base import FirstComeFirstServed
from shaper.discipline.ticks import NANOSECONDS
from shaper.packet.frame import Frame

# Specified by the driver.
LATENCY_SECONDS = 5  # how far ahead of now a clock may lie
LIMIT_FRAMES = 10
WINDOWS_PER_SECOND = 50  # the "now" window is a fiftieth of a second


class _Waiting(NamedTuple):
    frame: Frame
    clock: int  # the jiffy it is to leave in
    cost: int  # jiffies it takes on the wire


class _Released(NamedTuple):
    frame: Frame
    now: int  # the jiffy it was let go in
    busy_ticks: int  # by how much it moved the recovery time on


class Classic(FirstComeFirstServed):
    """A queue on the driver's recovery clock; see `base.Discipline` for the contract.

    `rate_bits` is in bits per second, `hz` in jiffies per second, `now` the current jiffy. A queue
    that takes over from another is told by `opens_at` until when that one's traffic is to be paid
    for.
    """

    room = LIMIT_FRAMES  # at any time, by design: the eleventh frame pushes out the first
    shed_factor = 0  # it is never full
    is_prompt = False
    can_admit = False
    is_spent = False
    is_patient = False
    step_ns = 1  # its clock is one of jiffies: there is nothing to round

    def __init__(self, *, rate_bits: int, hz: int, now: int, opens_at: int | None = None) -> None:
        self.backlog_bytes = 0
        self.backlog_packets = 0
        self.overlimits = 0
        self.dropped: dict[str, int] = {"latency": 0, "collision": 0}
        self._handed_bytes = 0
        self._hz = hz
        self._bytes_per_tick = _bytes_per_tick(rate_bits, hz)
        self._recovery = now if opens_at is None else max(now, opens_at)
        self._waiting: deque[_Waiting] = deque()
        self._waiting_cost = 0
        self._released: deque[_Released] = deque()
        self._busy_ticks = 0

    @property
    def queue(self) -> Classic:
        """Itself: queue and clock are one."""
        return self

    def busy_ns(self, sent_bytes: int) -> int:
        """Return for how long since the rate was last set the recovery time lay ahead.

        What has been handed out is counted with the whole of its cost, so up to the recovery
        time; of that, the share that the master took. 0 for as long as no frame has cost a tick.
        """
        if not self._handed_bytes:
            return 0
        busy_ns = self._busy_ticks * NANOSECONDS // self._hz
        return busy_ns * min(sent_bytes, self._handed_bytes) // self._handed_bytes

    def set_rate(self, rate_bits: int, *, now: int) -> None:
        """Price the frames that arrive from now on at `rate_bits`; those waiting stay as they are.

        The debt of what has left stays too: the recovery time does not move, whatever `now` is.
        """
        self._bytes_per_tick = _bytes_per_tick(rate_bits, self._hz)
        self._handed_bytes = 0
        self._busy_ticks = 0

    def enqueue(self, frame: Frame, *, now: int) -> None:
        """Give the frame its clock, and drop it as `latency` or the head as `collision`."""
        clock = max(now, self._recovery) + self._waiting_cost
        if clock - now > LATENCY_SECONDS * self._hz:
            self.dropped["latency"] += frame.packets
        else:
            self._append(_Waiting(frame, clock, frame.wire_bytes // self._bytes_per_tick))
        if len(self._waiting) > LIMIT_FRAMES:
            self.dropped["collision"] += self._leave(self._pop().frame).packets
        self._release(now)

    def dequeue(self, *, now: int) -> Frame | None:
        """Hand out the next frame whose clock lies within the window."""
        self._release(now)
        if not self._released:
            self.overlimits += bool(self._waiting)
            return None
        frame, _, busy_ticks = self._released.popleft()
        self._busy_ticks += busy_ticks
        self._handed_bytes += frame.wire_bytes
        return self._leave(frame)

    def enqueue_batch(self, frames: list[Frame], *, now: int) -> None:
        """Take each frame in turn."""
        for frame in frames:
            self.enqueue(frame, now=now)

    def inherit(self, frames: list[Frame], *, now: int) -> None:
        """Take each frame in turn, as if it came now."""
        self.enqueue_batch(frames, now=now)

    def dequeue_batch(self, *, now: int, limit: int) -> list[Frame]:
        """Ask for one frame after the other."""
        frames: list[Frame] = []
        while len(frames) < limit and (frame := self.dequeue(now=now)) is not None:
            frames.append(frame)
        return frames

    def admit(self, wire_bytes: int, last_bytes: int, now: int, *, has_waited: bool) -> bool:
        """Return False: every frame is queued, as by the driver."""
        return False

    def excuse(self, now: int) -> None:
        """Change nothing: time in which frames wait is no cost of theirs."""

    def missed(self, away_ns: int) -> None:
        """Change nothing: neither is time off the processor."""

    def left_late(self, wire_bytes: int, *, now: int) -> None:
        """Change nothing: the recovery time does not depend on when frames really leave."""

    def deadline(self) -> int | None:
        """Return the clock of the head, for which the driver armed its timer.

        Asked earlier, within the window, `dequeue` hands the head out as well.
        """
        if self._released:
            return self._released[0].now
        return self._waiting[0].clock if self._waiting else None

    def opens_at(self) -> int:
        """Return the recovery time: the jiffy in which what has left so far is paid for."""
        return self._recovery

    def flush(self, reason: str) -> None:
        """Drop everything that waits and count it under `reason`."""
        lost = sum(frame.packets for frame in self.drain())
        self.dropped[reason] = self.dropped.get(reason, 0) + lost

    def drain(self) -> list[Frame]:
        """Give back everything that has not been handed out, in order."""
        frames = [released.frame for released in self._released]
        frames += [waiting.frame for waiting in self._waiting]
        self._released.clear()
        self._waiting.clear()
        self._waiting_cost = self.backlog_bytes = self.backlog_packets = 0
        return frames

    def _release(self, now: int) -> None:
        """Let go of the head, and its successors, while their clocks lie within the window."""
        horizon = now + self._hz // WINDOWS_PER_SECOND
        while self._waiting and self._waiting[0].clock <= horizon:
            frame, clock, cost = self._pop()
            recovery = max(self._recovery, clock + cost)
            # From the old recovery time to the clock the shaper was idle.
            busy_ticks = recovery - max(self._recovery, clock)
            self._recovery = recovery
            self._released.append(_Released(frame, now, busy_ticks))

    def _append(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._waiting_cost += waiting.cost
        self.backlog_bytes += waiting.frame.wire_bytes
        self.backlog_packets += waiting.frame.packets

    def _pop(self) -> _Waiting:
        waiting = self._waiting.popleft()
        self._waiting_cost -= waiting.cost
        return waiting

    def _leave(self, frame: Frame) -> Frame:
        self.backlog_bytes -= frame.wire_bytes
        self.backlog_packets -= frame.packets
        return frame


def _bytes_per_tick(rate_bits: int, hz: int) -> int:
    return max(1, rate_bits // hz // 8)
