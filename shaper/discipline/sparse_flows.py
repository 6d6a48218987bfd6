"""The sparse flows of a round, in their order: they wait for no turn, and no credit.

A flow is sparse as long as it is new, has not used up its first quantum, and has less than a full
frame waiting. What enters is noted once for each frame that comes to an empty flow, and looked at
only when it is asked for, so the work is a constant for each frame.
"""

from __future__ import annotations

from collections import deque

from shaper.discipline.flow_table import FlowQueue

_FULL_FRAME_BYTES = 1514  # specified: Ethernet with the commonest MTU


class SparseFlows:
    """Flows that were sparse when they were noted, and may be so no more."""

    def __init__(self) -> None:
        self._noted: deque[FlowQueue] = deque()
        self.note = self._noted.append
        self.clear = self._noted.clear

    def first_bytes(self) -> int:
        """Return the wire bytes of the first frame of the first flow; 0 if there is none."""
        noted = self._noted
        while noted:
            flow = noted[0]
            if flow.is_new and 0 < flow.backlog_bytes < _FULL_FRAME_BYTES and flow.deficit > 0:
                return flow.frames[0][0].wire_bytes
            noted.popleft()
        return 0

    def first(self, room_bytes: int) -> FlowQueue | None:
        """Return the first flow, if its first frame is no larger than that."""
        return self._noted[0] if 0 < self.first_bytes() <= room_bytes else None
