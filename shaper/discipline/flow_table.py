"""The flows that are known, and which of them holds the most.

The table. A flow is found by its exact identity, so two flows share nothing for as long as there
is room. Beyond `size` flows the others share `size` more places, chosen by a hash with a random
key, as all flows do in RFC 8290, 4.1. That bounds what a flood of ever new flows can make us
remember, and how many of its flows, each of them new, can pass before the old ones.

A flow that waits for no turn is kept, as CoDel remembers its last drops, until the room is needed.
All such flows go at once then, and only if they are half of the table: so each has been added by a
frame of its own, and the work is a constant for each frame.

The ranking. When the queue is full, the flow with the most bytes loses its head (RFC 8290, 4.1).
Looking at all flows for that would cost as much as there are flows. Instead there is a heap, made
when the first frame is dropped and given up when the queue is half empty. It holds for every flow
a number that is never less than its backlog: a flow that grows beyond its number is entered again;
one that has shrunk is put right when it comes to the top. So the top, once it is right, is the
largest, and each correction is paid for by a frame that has left.

Limits. The heap costs the logarithm of the number of flows, in C; the rest costs a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush, heapreplace
from typing import TypeVar

from shaper.discipline.codel import Codel, Law
from shaper.packet.flow import shared_index

# Chosen: entries that flows have outgrown may make up half of the heap, and a few more.
_MIN_HEAP_ENTRIES = 64

UNRANKED = -1  # less than any backlog, so the first frame enters the flow

_Place = TypeVar("_Place", bytes, int)


class FlowQueue(Codel):
    """A flow and its place in the round.

    Attributes:
        deficit: wire bytes it may send before its turn is over.
        is_new: it waits among the new flows.
        is_old: it has a place among the old flows; it may be both.
        is_sparse: it has not used up the first quantum of its stay in the round.
        serial: its number, which settles ties.
        ranked_bytes: the number that the ranking has for it; `UNRANKED` when it enters the round.
    """

    __slots__ = ("deficit", "is_new", "is_old", "is_sparse", "ranked_bytes", "serial")

    def __init__(self, law: Law, serial: int) -> None:
        super().__init__(law)
        self.deficit = 0
        self.is_new = False
        self.is_old = False
        self.is_sparse = False
        self.serial = serial
        self.ranked_bytes = UNRANKED

    @property
    def is_listed(self) -> bool:
        """Whether it has a place in the round."""
        return self.is_new or self.is_old


class FlowTable:
    """Flows by identity.

    Args:
        law: what their queues share.
        size: how many flows have a place of their own, and how many places the others share.
        key: up to 64 random bytes.
    """

    def __init__(self, law: Law, *, size: int, key: bytes) -> None:
        self._law = law
        self._size = size
        self._key = key
        self._own: dict[bytes, FlowQueue] = {}
        self._shared: dict[int, FlowQueue] = {}
        self._serial = 0
        self.get = self._own.get  # the flow of an identity that has a place of its own, or None

    def __len__(self) -> int:
        return len(self._own) + len(self._shared)

    def add(self, identity: bytes, listed: int) -> FlowQueue:
        """Return the flow for an identity that has no place of its own.

        Args:
            identity: see `flow.identify`.
            listed: how many flows wait for a turn.
        """
        if self._shared or len(self._own) >= self._size:
            index = shared_index(identity, self._key, self._size)
            flow = self._shared.get(index)
            if flow is not None and flow.is_listed:
                return flow  # what waits there may be of this flow, and must leave before it
            if len(self._own) >= self._size and not self._has_cleared(listed):
                return flow or self._shared.setdefault(index, self._make())
        flow = self._own[identity] = self._make()
        return flow

    def _make(self) -> FlowQueue:
        self._serial += 1
        return FlowQueue(self._law, self._serial)

    def _has_cleared(self, listed: int) -> bool:
        """Make room, if that is worth the work."""
        if 2 * listed > len(self):
            return False
        _remove_idle(self._own)
        _remove_idle(self._shared)
        return len(self._own) < self._size


class Ranking:
    """The flows by backlog, kept while frames are dropped for want of room.

    Args:
        flows: returns all that have a place in the round.
    """

    def __init__(self, flows: Callable[[], Iterable[FlowQueue]]) -> None:
        self._flows = flows
        self._fill()

    def __len__(self) -> int:
        return len(self._heap)

    def grew(self, flow: FlowQueue) -> None:
        """Note that a frame has joined a flow."""
        if flow.backlog_bytes > flow.ranked_bytes:
            flow.ranked_bytes = flow.backlog_bytes
            heappush(self._heap, (-flow.backlog_bytes, flow.serial, flow))
            if len(self._heap) > self._max_entries:
                self._fill()

    def largest(self) -> FlowQueue:
        """Return the flow with the largest backlog; something must wait."""
        heap = self._heap
        while True:
            negative, serial, flow = heap[0]
            if -negative != flow.ranked_bytes:
                heappop(heap)  # it has been entered again since
            elif not flow.frames:
                heappop(heap)
                flow.ranked_bytes = UNRANKED
            elif -negative != flow.backlog_bytes:
                flow.ranked_bytes = flow.backlog_bytes
                heapreplace(heap, (-flow.backlog_bytes, serial, flow))
            else:
                return flow

    def runner_up_bytes(self) -> int:
        """Return what no flow but the largest exceeds, once `largest` has been asked."""
        return max([-negative for negative, _, _ in self._heap[1:3]], default=0)

    def _fill(self) -> None:
        self._heap: list[tuple[int, int, FlowQueue]] = []
        for flow in self._flows():
            flow.ranked_bytes = flow.backlog_bytes if flow.frames else UNRANKED
            if flow.frames:
                self._heap.append((-flow.backlog_bytes, flow.serial, flow))
        heapify(self._heap)
        self._max_entries = 2 * len(self._heap) + _MIN_HEAP_ENTRIES


def _remove_idle(flows: dict[_Place, FlowQueue]) -> None:
    for place in [place for place, flow in flows.items() if not flow.is_listed]:
        del flows[place]
