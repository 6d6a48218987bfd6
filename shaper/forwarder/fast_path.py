"""The fast path: conforming frames bypass the queue.

It serves where nothing waits. After a pause a single frame is expected: it is read and sent by
itself, with minimal code, because caches are cold. Otherwise, and when more follow, frames are
read and sent as a batch, from the memory they were read to. That includes frames that waited in
the TAP, where the forwarder and not the rate held them.

Each way either sends all it read, or gives back what is to be queued.
"""

from __future__ import annotations

from shaper.discipline.base import Discipline
from shaper.discipline.ticks import NANOSECONDS
from shaper.forwarder.intake import Intake
from shaper.forwarder.outlet import Outlet
from shaper.forwarder.ports import MAX_BATCH, FrameSink, Outcome
from shaper.packet.frame import (
    ETHERTYPE,
    IGMP,
    IGMP_AT,
    IPV4,
    MAX_SEGMENTS,
    VNET_HEADER_BYTES,
    Frame,
    may_leave,
    measure,
)

# To look a member of an enum up costs as much as a call, and caches are cold.
_SENT = Outcome.SENT

# Chosen: after a run without a pause of this before it, more than one frame is expected.
_PAUSE_NS = 50_000


class FastPath:
    """The way around a queue.

    Args:
        intake: where frames come from.
        outlet: where they go.
    """

    def __init__(self, intake: Intake, outlet: Outlet) -> None:
        self._intake = intake
        self._outlet = outlet
        self._ran_ns = 0

    def run(
        self, discipline: Discipline, sink: FrameSink, ticks_per_second: int, now_ns: int
    ) -> list[bytes] | None:
        """Send what has come; return what is to be queued, None if there is no more to do."""
        is_alone = now_ns - self._ran_ns > _PAUSE_NS and self._intake.is_drained
        self._ran_ns = now_ns
        way = self._pass_one if is_alone else self._pass_batch
        return way(discipline, sink, now_ns * ticks_per_second // NANOSECONDS)

    def _pass_one(self, discipline: Discipline, sink: FrameSink, now: int) -> list[bytes] | None:
        """Pass on a single frame."""
        intake = self._intake
        data = intake.source.read_one()
        if data is None:
            return []
        if intake.watch is not None and not intake.drop_returning(intake.watch, [data]):
            return None
        if data[ETHERTYPE] == IPV4 and not data[1] and data[IGMP_AT] != IGMP:
            wire_bytes, packets = len(data) - VNET_HEADER_BYTES - intake.removed_bytes, 1
        elif not may_leave(data, keeps_neighbours=intake.keeps_neighbours):
            return [data]
        else:
            wire_bytes, packets = measure(data, intake.removed_bytes)
            if packets > 1 and (wire_bytes > intake.unit_bytes or packets > MAX_SEGMENTS):
                return [data]
        if not discipline.admit(wire_bytes, wire_bytes, now, has_waited=False):
            return [data]
        outcome = sink.write_one(data)
        discipline.passed(1, now)
        if outcome is not _SENT:
            self._outlet.settle([Frame(data, wire_bytes, packets)], 0, outcome)
            return []
        self._outlet.count(wire_bytes, packets)
        if intake.watch is not None:
            intake.watch.sent([data])
        return None

    def _pass_batch(self, discipline: Discipline, sink: FrameSink, now: int) -> list[bytes] | None:
        """Pass on what waits in the TAP."""
        intake = self._intake
        batch = intake.source.fill(intake.limit(discipline.room, MAX_BATCH))
        has_waited, intake.is_drained = not intake.is_drained, batch.is_drained
        frames: list[bytes] = []
        if intake.watch is not None:
            frames = intake.drop_returning(intake.watch, batch.take())
            if len(frames) < batch.count:
                return frames
        size = intake.measure(batch) if batch.count else None
        if (
            size is None
            or (size.largest_bytes > intake.unit_bytes and size.packets > batch.count)
            or not discipline.admit(size.wire_bytes, size.last_bytes, now, has_waited=has_waited)
        ):
            return frames or batch.take()
        sent, outcome = sink.write_batch(batch)
        discipline.passed(batch.count, now)
        if sent < batch.count:
            parsed, _ = intake.parse_all(batch.take())
            self._outlet.settle(parsed, sent, outcome)
            return []
        self._outlet.count(size.wire_bytes, size.packets)
        if intake.watch is not None:
            intake.watch.sent(frames)
        return None
