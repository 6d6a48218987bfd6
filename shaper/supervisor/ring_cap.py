"""The program on one shaper's TAP: there while its queue is one that treats flows fairly."""

from __future__ import annotations

import logging

from shaper.errors import ShaperError
from shaper.kernel.ring_caps import RingCaps
from shaper.kernel.tap import Tap
from shaper.model import Queue, Settings

_log = logging.getLogger(__name__)


class RingCap:
    """Keeps flows from filling the ring of one TAP.

    Args:
        caps: the programs of this daemon.
        tap: the TAP.
        place: of the forwarder that reads it.
        row: its row there.
    """

    def __init__(self, caps: RingCaps, tap: Tap, place: int, row: int) -> None:
        self._caps = caps
        self._tap = tap
        self._place = place
        self._row = row
        self._is_on: bool | None = None  # None: an earlier daemon may have put one there

    def realize(self, settings: Settings | None) -> None:
        """Cap flows where the queue treats them fairly; where it is refused, the log says so."""
        is_on = settings is not None and settings.queue is Queue.FQ_CODEL
        if is_on == self._is_on:
            return
        self._is_on = is_on
        if not is_on:
            self.release()
            return
        try:
            self._caps.put_on(self._tap, self._place, self._row)
        except ShaperError as error:
            _log.warning("%s: %s", self._tap.ifname, error)

    def release(self) -> None:
        """Have no program on the TAP."""
        self._is_on = False
        self._caps.take_off(self._tap)
