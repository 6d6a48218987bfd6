"""The sparse flows of a round, in their order: they wait for no turn, and no credit.

A flow is sparse as long as it is new, has not used up its first quantum, and has less than a full
frame waiting, of which CoDel drops nothing (rule 2 of `codel`): what is announced is what leaves.
One that has used up its own must be there, too: what begins alone is not sparse. A flow is noted
for each frame that comes to it while it is empty, and forgotten when it is the first and sparse no
more. So the work is a constant for each frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from shaper.discipline.flow_table import FlowQueue


class SparseFlows:
    """Flows that were sparse when they were noted, and may be so no more.

    Args:
        others: the flows that have used up their first quantum.
    """

    def __init__(self, others: Collection[FlowQueue]) -> None:
        self._others = others
        self._noted: deque[FlowQueue] = deque()
        self.clear = self._noted.clear

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, flow: FlowQueue) -> None:
        """Note a flow to which a frame comes; before it nothing waited there."""
        self.first_bytes()  # which forgets: it may be asked for nowhere else
        self._noted.append(flow)

    def first_bytes(self) -> int:
        """Return the wire bytes of the first frame of the first flow; 0 if there is none."""
        noted = self._noted
        while noted:
            flow = noted[0]
            is_first = flow.is_new and flow.deficit > 0
            if is_first and 0 < flow.backlog_bytes < flow.law.full_frame_bytes:
                return flow.frames[0][0].wire_bytes if self._others else 0
            noted.popleft()
        return 0

    def first(self, room_bytes: int) -> FlowQueue | None:
        """Return the first flow, if its first frame is no larger than that."""
        return self._noted[0] if 0 < self.first_bytes() <= room_bytes else None
