"""A gate that charges for frames what they take on a link of another framing.

Each frame is charged for by itself, so none bypasses the queue. What has left is counted as the
master has it; a correction of what was charged for it takes the ratio of the last batch.
"""

from __future__ import annotations

from shaper.discipline.gate import Gate
from shaper.model import Settings
from shaper.packet.frame import Frame


class CostedGate(Gate):
    """See `Gate`; the settings have a cost."""

    can_admit = False
    _wire_bytes = 1  # of the last batch, and what was charged for them
    _charged_bytes = 1

    def admit(self, wire_bytes: int, last_bytes: int, now: int, *, has_waited: bool) -> bool:
        """Let nothing bypass the queue."""
        return False

    def dequeue_batch(self, *, now: int, limit: int) -> list[Frame]:
        """Hand out frames for as long as the bucket stays open, and charge for each."""
        queue, bucket = self.queue, self._bucket
        if not queue.backlog_packets:
            queue.found_empty()
            return []
        bucket.accrue(now)
        if not bucket.is_open:
            self.overlimits += 1
            return []
        cost = self._settings.line.cost
        handed_out: list[Frame] = []
        charged_bytes = 0
        while len(handed_out) < limit and queue.backlog_packets and bucket.is_open:
            frames, _ = queue.take(0, now=now, limit=1)
            if not frames:  # those that waited were dropped
                break
            cost_bytes = sum([cost.bytes_of(size, packets) for _, size, packets in frames])
            bucket.charge(cost_bytes)
            charged_bytes += cost_bytes
            handed_out += frames
        if handed_out:
            self._wire_bytes = sum([frame.wire_bytes for frame in handed_out])
            self._charged_bytes = charged_bytes
        return handed_out

    def left_late(self, wire_bytes: int, *, now: int) -> None:
        """Grant no credit twice for frames that left later than they were handed out."""
        charged_bytes = wire_bytes * self._charged_bytes // self._wire_bytes
        self._bucket.left_late(charged_bytes, now)

    @staticmethod
    def is_wanted(settings: Settings) -> bool:
        """Whether settings ask for it."""
        return not settings.line.cost.is_none
