"""Queues behind their gates, fed and emptied frame by frame, as tests of single frames want."""

from __future__ import annotations

from shaper.discipline.fifo import Fifo
from shaper.discipline.fq_codel import FqCodel
from shaper.discipline.gate import Gate
from shaper.model import Settings
from shaper.packet.frame import Frame


class SteppedGate(Gate):
    """A gate that takes and gives one frame at a time."""

    def enqueue(self, frame: Frame, *, now: int) -> None:
        """Queue one frame."""
        self.enqueue_batch([frame], now=now)

    def dequeue(self, *, now: int) -> Frame | None:
        """Hand out one frame, or None."""
        frames = self.dequeue_batch(now=now, limit=1)
        return frames[0] if frames else None


def fifo(settings: Settings, *, now: int = 0) -> SteppedGate:
    """Return an empty fifo behind its gate."""
    return SteppedGate(Fifo(settings), settings, now=now)


def fq_codel(
    settings: Settings, *, key: bytes = b"", opens_at: int | None = None, size: int = 1024
) -> SteppedGate:
    """Return an empty fq_codel behind its gate."""
    queue = FqCodel(settings, now=0, key=key, size=size)
    return SteppedGate(queue, settings, now=0, opens_at=opens_at)
