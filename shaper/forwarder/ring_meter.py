"""How full a TAP's ring stands, and the lease of the program that caps flows there.

The program counts the frames that enter the ring, and this those that are read. The lease is taken
when more than half of the threshold has waited for `_STANDING_NS` at every look: by then the
forwarder is behind, and not only late, so that what a pause has made wait is read and not dropped.
It is renewed for as long as that is found at any look, and lapses by itself when it is not or when
nothing looks any more.

Where more is read than has entered, the program is not on the TAP, and no bell rings.

Limits. A frame that the full ring drops after the program let it in counts as one that waits,
until the ring is found empty.
"""

from __future__ import annotations

from shaper.channel.board import MAX_COUNT
from shaper.forwarder.bell_pull import BellPull
from shaper.model import RingWord, Settings

# Chosen. A ring is read at some 170,000 frames a second: 200 wait for little more than 1 ms. At
# low rates fewer are read, but no fewer may wait than the fragments of a datagram.
_MOST_FRAMES = 200
_LEAST_FRAMES = 64
_BITS_A_FRAME = 500_000  # of the rate: how many frames may wait grows with it
_STANDING_NS = 100_000_000
_LEASE_NS = 100_000_000
_MOST_COUNTED = 15

_ENTERED, _READ = int(RingWord.ENTERED), int(RingWord.READ)
_THRESHOLD, _UNTIL = int(RingWord.THRESHOLD), int(RingWord.UNTIL_NS)


class RingMeter:
    """The meter of one ring.

    Args:
        row: its words; counting continues from what they hold, unless that cannot be.
        has_bell: the program rings.

    Attributes:
        alone: frames that were read one by one and are on their way: the next look records them.
        bell: what the program rings.
    """

    def __init__(self, row: memoryview, *, has_bell: bool = False) -> None:
        self._row = row
        if max(row[_ENTERED], row[_READ]) > MAX_COUNT:
            row[_ENTERED] = row[_READ] = 0
        row[_UNTIL] = 0
        self.alone = 0
        self.bell = BellPull(row, is_there=has_bell)
        self._is_metered = True  # by a program on the TAP
        self._read = row[_READ]
        self._newest = self._entered = 0  # at the last count, and at the one before
        self._counted = 0  # how often, since the ring was found empty
        self._few = 0  # frames that may wait without being too many
        self._since_ns: int | None = None  # since when there are more; None: there are not
        self._until_ns = 0

    def configure(self, settings: Settings) -> None:
        """Let fewer frames wait where fewer are read."""
        frames = settings.peak_bits // _BITS_A_FRAME
        self._row[_THRESHOLD] = threshold = max(_LEAST_FRAMES, min(_MOST_FRAMES, frames))
        self._few = threshold // 2

    def waiting(self) -> int:
        """Count the frames that wait, before they are read: so no read has to fail.

        Every few times there is no count (0), so that one that is wrong does not stay so. It may
        also be less than 0: read until there is none then.
        """
        self._entered = self._newest
        self._newest = entered = self._row[_ENTERED]
        self._counted += 1
        return 0 if self._counted > _MOST_COUNTED else entered - self._read - self.alone

    def took(self, frames: int, *, is_empty: bool) -> None:
        """Record frames that were read, and whether there was none left then.

        If so, none of those is left that had entered at the count before the last one. What has
        entered since may be on its way: it is counted just before it is in the ring.
        """
        read = self._read + self.alone + frames
        self.alone = 0
        if is_empty:
            self._counted = 0
            entered = self._row[_ENTERED]
            if entered < read:
                self._is_metered = False
            elif entered > self._read:
                self._is_metered = True
            read = min(max(read, self._entered), entered)
        self._row[_READ] = self._read = read

    def look(self, now_ns: int) -> None:
        """Take or renew the lease, if it is time to."""
        if self.alone:
            self.took(0, is_empty=False)
        if self._row[_ENTERED] - self._read <= self._few:
            self._since_ns = None
            return
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns < self._until_ns or now_ns - self._since_ns >= _STANDING_NS:
            self._row[_UNTIL] = self._until_ns = now_ns + _LEASE_NS

    def set_bell(self, now_ns: int) -> bool:
        """Have the next frame of a sparse flow ring; return whether one will."""
        return self._is_metered and self.bell.set(now_ns)
