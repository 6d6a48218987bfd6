"""The scheduler of fq_codel, written once more from the prose of RFC 8290, section 4.

Nothing is shared with the discipline: lists of names, a CoDel of the oracle for each flow, sums
computed afresh, and the fattest flow found by looking at all of them. The flows have a queue each,
as if the hash never collided. Of two that are equally fat the one seen first counts as fatter.

Where the discipline goes beyond the RFC (rule 4, and rule 6 of its CoDel) the lines are marked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.unit.oracles.rfc8289 import CodelQueue, OraclePacket

LARGEST_DATAGRAM = 69_000  # bytes on the wire, in fragments


@dataclass
class Scheduler:
    """`enqueue` and `dequeue` as in 4.1 and 4.2; `overflowed` names what had no room."""

    target: int  # jiffies
    interval: int  # jiffies
    maxpacket: int
    quantum: int
    limit: int
    queues: dict[str, CodelQueue] = field(default_factory=dict)
    credits: dict[str, int] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    old: list[str] = field(default_factory=list)
    overflowed: list[int] = field(default_factory=list)
    burst_began: dict[str, int] = field(default_factory=dict)  # rule 6
    thrifty: set[str] = field(default_factory=set)  # rule 4: have credit left of the first quantum

    def enqueue(self, flow: str, name: int, size: int, now: int, can_be_marked: bool) -> None:
        """4.1: classify, put a queue that is not active on the new list, drop from the fattest."""
        if flow not in self.queues:
            self.queues[flow] = CodelQueue(self.target, self.interval, self.maxpacket)
        was_empty = not self.queues[flow].packets
        if was_empty:
            self.burst_began[flow] = now  # rule 6
        fits = self.queues[flow].bytes() + size <= LARGEST_DATAGRAM  # rule 6
        if not fits:
            self.burst_began[flow] = -self.target - 1
        is_spared = now - self.burst_began[flow] <= self.target
        self.queues[flow].enqueue(name, size, now, can_be_marked, is_spared)
        if flow in self.old and flow not in self.new and was_empty and flow in self.thrifty:
            self.new.append(flow)  # rule 4
        if flow not in self.new and flow not in self.old:
            self.new.append(flow)
            self.credits[flow] = self.quantum
            self.thrifty.add(flow)
        if sum(len(queue.packets) for queue in self.queues.values()) > self.limit:
            fattest = max(self.queues.values(), key=CodelQueue.bytes)
            self.overflowed.append(fattest.packets.pop(0).name)

    def dequeue(self, now: int) -> OraclePacket | None:
        """4.2: the first queue of the new list, then of the old, that has credit and a packet."""
        while self.new or self.old:
            is_new = bool(self.new)
            flow = self.new[0] if is_new else self.old[0]
            if self.credits[flow] <= 0:
                self.credits[flow] += self.quantum
                self.thrifty.discard(flow)
                self._move_to_old(is_new)
                continue
            packet = self.queues[flow].deque(now)
            if packet is not None:
                self.credits[flow] -= packet.size
                return packet
            if is_new:
                self._move_to_old(is_new)
            else:
                self.old.pop(0)
        return None

    def _move_to_old(self, is_new: bool) -> None:
        flow = (self.new if is_new else self.old).pop(0)
        if flow not in self.old:  # rule 4: who had passed the others keeps the place it had
            self.old.append(flow)

    @property
    def dropped(self) -> int:
        """How many packets CoDel has dropped."""
        return sum(len(queue.dropped) for queue in self.queues.values())

    @property
    def marked(self) -> int:
        """How many packets CoDel has marked."""
        return sum(len(queue.marked) for queue in self.queues.values())
