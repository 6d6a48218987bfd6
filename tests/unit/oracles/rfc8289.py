"""CoDel, written once more from the pseudo-code of RFC 8289, section 5, in the most literal way.

The names are those of the RFC. Nothing is shared with the discipline: packets are tuples, the
queue is a list, its bytes are added up each time, and the square root is a float's. Times are in
ticks, of which the caller's clock has 1024 to the jiffy. ECN, which the pseudo-code leaves out,
follows RFC 8290, 5.2.6: where a packet would be dropped, one that can be marked is, and leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

PARTS_A_TICK = 1024


class OraclePacket(NamedTuple):
    """What the oracle knows of a packet."""

    name: int
    size: int
    can_be_marked: bool
    tstamp: int  # ticks
    is_spared: bool = False  # rule 6 of the discipline


@dataclass
class CodelQueue:
    """One queue: `enqueue` and `deque`; `dropped` and `marked` name what was."""

    target: int  # jiffies
    interval: int  # jiffies
    maxpacket: int
    packets: list[OraclePacket] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    marked: list[int] = field(default_factory=list)
    first_above_time: int = 0
    drop_next: int = 0
    count: int = 0
    lastcount: int = 0
    dropping: bool = False

    def enqueue(
        self,
        name: int,
        size: int,
        now: int,
        can_be_marked: bool = False,
        is_spared: bool = False,
    ) -> None:
        """5.4: put a packet at the tail with its time."""
        self.packets.append(OraclePacket(name, size, can_be_marked, now * PARTS_A_TICK, is_spared))

    def bytes(self) -> int:
        """Return the bytes that wait."""
        return sum(packet.size for packet in self.packets)

    def deque(self, jiffy: int) -> OraclePacket | None:
        """5.5: take the next packet that is not dropped."""
        now = jiffy * PARTS_A_TICK
        packet, ok_to_drop = self._dodequeue(now)
        if self.dropping:
            if not ok_to_drop:
                self.dropping = False
            while self.dropping and now >= self.drop_next:
                assert packet is not None
                self.count += 1
                if packet.can_be_marked:
                    self.marked.append(packet.name)
                    self.drop_next = self._control_law(self.drop_next)
                    return packet
                self.dropped.append(packet.name)
                packet, ok_to_drop = self._dodequeue(now)
                if not ok_to_drop:
                    self.dropping = False
                else:
                    self.drop_next = self._control_law(self.drop_next)
        elif ok_to_drop:
            assert packet is not None
            if packet.can_be_marked:
                self.marked.append(packet.name)
            else:
                self.dropped.append(packet.name)
                packet, ok_to_drop = self._dodequeue(now)
            self.dropping = True
            delta = self.count - self.lastcount
            self.count = 1
            if delta > 1 and now - self.drop_next < 16 * self.interval * PARTS_A_TICK:
                self.count = delta
            self.drop_next = self._control_law(now)
            self.lastcount = self.count
        return packet

    def _dodequeue(self, now: int) -> tuple[OraclePacket | None, bool]:
        """5.6: take a packet and say whether it may be dropped. No time is 0 here but `never`."""
        if not self.packets:
            self.first_above_time = 0
            return None, False
        packet = self.packets.pop(0)
        sojourn_time = now - packet.tstamp
        if packet.is_spared:  # rule 6
            self.first_above_time = 0
            return packet, False
        if sojourn_time < self.target * PARTS_A_TICK or self.bytes() <= self.maxpacket:
            self.first_above_time = 0
            return packet, False
        if self.first_above_time == 0:
            self.first_above_time = now + self.interval * PARTS_A_TICK
            return packet, False
        return packet, now >= self.first_above_time

    def _control_law(self, t: int) -> int:
        """5.6, to the resolution of the clock."""
        return t + math.floor(self.interval * PARTS_A_TICK / math.sqrt(self.count))
