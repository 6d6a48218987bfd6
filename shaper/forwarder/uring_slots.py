"""Slots that are filled through an io_uring while many small frames come.

Few frames, and large ones, are read by readv as in all slots: a ring is told beforehand how many
to read, whatever they bring, and each read that finds nothing costs a tenth of a microsecond.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from shaper.forwarder.ports import READ_BYTES
from shaper.forwarder.slots import Slots
from shaper.forwarder.uring import Uring

# Chosen.
_FEW = 16  # frames in a batch, below which the next one is read by readv
_LARGE_BYTES = 2048  # a frame, on average: as many as a batch are still well inside a cache


def make_slots(log: int = 2) -> Slots:
    """Return slots with a ring, where the kernel allows one and it gives no more away.

    What a ring may read is each descriptor of its process. The standard error is one: a terminal's
    would tell what is typed there.

    Args:
        log: the standard error.
    """
    mode = os.fstat(log).st_mode
    access = fcntl.fcntl(log, fcntl.F_GETFL) & os.O_ACCMODE
    if access != os.O_WRONLY and not stat.S_ISSOCK(mode):
        return Slots()
    try:
        return UringSlots()
    except OSError:
        return Slots()


class UringSlots(Slots):
    """One batch, as `Slots`.

    Raises:
        OSError: there is no ring to be had.
    """

    def __init__(self) -> None:
        super().__init__()
        self.uring = Uring(self._memory, READ_BYTES)
        self._is_busy = False  # the last batch was of many small frames

    def fill(self, descriptor: int, limit: int) -> int:
        """Read at most `limit` frames; return the errno that ended it, 0 if it is full."""
        if self._is_busy and limit >= _FEW and self.uring.admit(descriptor):
            number = self._fill_at_once(descriptor, limit)
            if not self.count and number != errno.EAGAIN:  # of a kernel that cannot do this
                number = super().fill(descriptor, limit)
        else:
            number = super().fill(descriptor, limit)
        total = sum(self._lengths)
        self._is_busy = self.count >= _FEW and total <= self.count * _LARGE_BYTES
        return number

    def release(self, descriptor: int) -> None:
        """Let go of a descriptor, which is closed next."""
        self.uring.release(descriptor)

    def _fill_at_once(self, descriptor: int, limit: int) -> int:
        number = 0
        lengths = self._lengths = self.uring.read(descriptor, limit)
        if len(lengths) < limit or min(lengths) < 0:
            number = self._close_up(lengths)
        self.count = len(lengths)
        self.is_drained = number != 0
        return number

    def _close_up(self, lengths: list[int]) -> int:
        """Leave no gap, where a read found nothing and a later one did; return its errno."""
        number, kept = errno.EAGAIN, 0
        for slot, length in enumerate(lengths):
            if length < 0:
                number = -length if number == errno.EAGAIN else number
                continue
            if kept < slot:
                self._slots[kept][:length] = self._slots[slot][:length]
                lengths[kept] = length
            kept += 1
        del lengths[kept:]
        return number
