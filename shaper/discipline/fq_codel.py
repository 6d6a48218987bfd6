"""The fq_codel queue: a queue for each flow, a turn for each queue.

The law, after RFC 8290:

1. Each flow (see `flow`) has a queue of its own, kept short by CoDel (see `codel`).
2. Flows take turns. A turn is a quantum of wire bytes, and what a frame took beyond it is made up
   for in the turns that follow: so flows that have work share the rate in bytes, not in frames.
3. A flow that comes with its first frame is new, and new flows go before old ones. One whose
   quantum is used up is old. One that is empty gets a place among the old, and is forgotten when
   its turn there comes: so no flow gains by pausing.
4. Until that turn, a flow that was empty goes before the old ones again, as long as it has not
   used up its first quantum. So what sends less than a quantum in a round, a call or a ping, never
   waits behind what sends more, however long a round takes. This is not in RFC 8290, where such a
   flow waits out the round: four flows at 1 Mbit/s make that 48 ms. Nor does anybody gain by it:
   what may go first in a round is one quantum, all at once or not. What is less than a full frame
   leaves on credit, too (see `gate`).
5. When more than `limit_packets` wait, the flow with the most bytes loses its head as `limit`, and
   so on. No more is lost by that than came in, and a frame that is alone stays, whatever its size.
   Where a batch comes in, that is seen to once it is in.

The quantum is the largest frame that may pass whole. So no turn is longer than that by more than
one frame, and after one turn all have something to spend again: a frame costs as much work with
many flows as with few. A frame too large for the rate is cut into its segments, as fifo does.

Limits. A change of HZ changes the unit of all times: CoDel and the histogram start anew then.

References: RFC 8290, 4 (scheduler), 5.2 (parameters); M. Shreedhar and G. Varghese, Efficient Fair
Queueing using Deficit Round Robin, 1995 (the work for a frame, if a quantum is a full frame).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from shaper.discipline.codel import BURST_BYTES, Law, setpoints
from shaper.discipline.delay_histogram import EXACT, DelayHistogram, index
from shaper.discipline.flow_table import UNRANKED, FlowQueue, FlowTable, Ranking
from shaper.discipline.sparse_flows import SparseFlows
from shaper.discipline.ticks import convert
from shaper.model import Settings
from shaper.packet import ecn
from shaper.packet.flow import identify
from shaper.packet.frame import Frame
from shaper.packet.segment import split

# Specified: RFC 8290, 5.2.5.
_FLOWS = 1024


class FqCodel:
    """Queues by flow; see `base.PacketQueue` for the contract.

    Args:
        settings: rate, largest frame and limit.
        now: the current tick.
        key: up to 64 random bytes, for the hash of flows.
        size: how many flows there is room for; see `FlowTable`.

    Attributes:
        ecn_marks: wire frames marked instead of dropped.
        delay_now: ticks that the frame handed out last has waited.
        flows: how many flows have a place in the round.
    """

    tells_delays = True
    # Its drops hit the flows that cause them, so it is to meet a flood of many times the rate
    # itself; beyond this the kernel drops in the ring, at no cost to us.
    shed_factor = 16

    def __init__(self, settings: Settings, *, now: int, key: bytes, size: int = _FLOWS) -> None:
        self.backlog_bytes = 0
        self.backlog_packets = 0
        self.dropped: dict[str, int] = {"limit": 0, "codel": 0}
        self.ecn_marks = 0
        self.delay_now = 0
        self._settings = settings
        self._quantum = settings.unit_bytes
        self._law = Law(setpoints(settings), self._drop, self._mark)
        self._table = FlowTable(self._law, size=size, key=key)
        self._new: deque[FlowQueue] = deque()
        self._old: deque[FlowQueue] = deque()
        self._sparse = SparseFlows(self._old)
        self.sparse_bytes = self._sparse.first_bytes
        self.flows = 0
        self._ranking: Ranking | None = None
        self._delays = DelayHistogram(ticks_per_second=settings.ticks_per_second, now=now)

    @property
    def room(self) -> int:
        """How many more wire frames it takes before the largest flow pays for them."""
        return self._settings.limit_packets - self.backlog_packets

    def delay_percentile(self, percent: int, *, now: int) -> int | None:
        """Return the ticks that `percent` of the last ten seconds' frames waited at most."""
        return self._delays.percentile(percent, now=now)

    def delay_worst_second(self) -> int:
        """Return how long 99 of 100 frames of the worst of the last ten seconds waited at most."""
        return self._delays.worst_second()

    def enqueue_batch(self, frames: list[Frame], *, now: int) -> None:
        """Join the tails of their flows; room is made when all have come."""
        quantum, ranking = self._quantum, self._ranking
        find = self._table.get
        came_packets = 0
        grown: set[FlowQueue] = set()
        for frame in frames:
            data, wire_bytes, packets = frame
            if wire_bytes > quantum and packets > 1:
                segments = split(frame)
                if len(segments) > 1:
                    self.enqueue_batch(segments, now=now)
                    continue
            identity = identify(data)
            flow = find(identity) or self._table.add(identity, self.flows)
            if not flow.frames:
                self._put_in_front(flow)
                flow.spares_until = now + self._law.target
            flow.frames.append((frame, now))
            flow.backlog_bytes += wire_bytes
            if now <= flow.spares_until:
                if flow.backlog_bytes <= BURST_BYTES:
                    flow.spared += 1
                else:
                    flow.spares_until = -1
            self.backlog_bytes += wire_bytes
            self.backlog_packets += packets
            came_packets += packets
            if ranking is not None:
                grown.add(flow)
        if self._ranking is not ranking:
            self._ranking = None  # made for the segments of one that was split, and lacks others
        for flow in grown:
            self._rank(flow)
        if self.backlog_packets > self._settings.limit_packets:
            self._make_room(came_packets)

    def passed(self, frames: int, now: int) -> None:
        """Record a delay of 0 for each; flows that had waited before them are empty."""
        self.found_empty()
        self.delay_now = 0
        delays = self._delays
        if now >= delays.turns_at:
            delays.turn(now)
        delays.cells[0] += frames

    def inherit(self, frames: list[Frame], *, now: int) -> None:
        """Take each frame in turn, as if it came now."""
        self.enqueue_batch(frames, now=now)

    def found_empty(self) -> None:
        """Take all flows out of the round: all are empty."""
        if self.flows:
            self._end_round()

    def next_bytes(self) -> int:
        """Return the wire bytes of the next frame, unless CoDel drops it."""
        return self._next_flow().frames[0][0].wire_bytes

    def take(
        self, budget_bytes: int, *, now: int, limit: int, beyond_bytes: int = 0
    ) -> tuple[list[Frame], int]:
        """Hand out frames, each of the flow that has the turn."""
        leaving: list[Frame] = []
        delays = self._delays
        if now >= delays.turns_at:
            delays.turn(now)
        cells = delays.cells
        left_bytes, cell, sojourn = 0, 0, -1
        new, old = self._new, self._old
        flow: FlowQueue | None
        while self.backlog_packets and len(leaving) < limit:
            if left_bytes <= budget_bytes:
                flow = new[0] if new else old[0]
                if flow.deficit <= 0 or not flow.frames:
                    flow = self._next_flow()
            elif not (flow := self._sparse.first(budget_bytes + beyond_bytes - left_bytes)):
                break
            frame = flow.dequeue(now)
            _, wire_bytes, packets = frame
            leaving.append(frame)
            left_bytes += wire_bytes
            flow.deficit -= wire_bytes
            self.backlog_bytes -= wire_bytes
            self.backlog_packets -= packets
            if flow.sojourn != sojourn:  # frames that came together have one cell
                sojourn = flow.sojourn
                cell = sojourn if sojourn < EXACT else index(sojourn)
            cells[cell] += 1
        if new and new[0].deficit <= 0:
            self._pass_to_old(new.popleft())
        if leaving:
            self.delay_now = sojourn
        return leaving, left_bytes

    def configure(self, settings: Settings, *, now: int) -> None:
        """Change rate, bucket, limit or clock at tick `now` of the old clock; lose nothing.

        A new limit below the backlog drops nothing either: each frame that comes then costs one.
        """
        old_ticks_per_second, self._settings = self._settings.ticks_per_second, settings
        self._quantum = settings.unit_bytes
        self._law.aim(setpoints(settings))
        if old_ticks_per_second != settings.ticks_per_second:
            self._delays = DelayHistogram(
                ticks_per_second=settings.ticks_per_second,
                now=convert(now, old_ticks_per_second, settings.ticks_per_second),
            )
            self.delay_now = convert(
                self.delay_now, old_ticks_per_second, settings.ticks_per_second
            )
        self._recut(old_ticks_per_second)

    def drain(self) -> list[Frame]:
        """Give back everything that waits, in the order in which it came."""
        waiting = [each for flow in self._listed() for each in flow.take_all()]
        waiting.sort(key=lambda each: each[1])  # stable: the order within a flow stays
        self.backlog_bytes = self.backlog_packets = 0
        self._end_round()
        return [frame for frame, _ in waiting]

    def _rank(self, flow: FlowQueue) -> None:
        """Keep the ranking up to date, or give it up when it is not needed for long."""
        if self._ranking is None or 2 * self.backlog_packets < self._settings.limit_packets:
            self._ranking = None
        else:
            self._ranking.grew(flow)

    def _put_in_front(self, flow: FlowQueue) -> None:
        """Let a flow that was empty go before the old ones, by rule 3 or rule 4."""
        if not flow.is_listed:
            flow.is_sparse = True
            flow.deficit = self._quantum
            flow.ranked_bytes = UNRANKED
            self.flows += 1
        elif not flow.is_sparse:
            return
        if not flow.is_new:
            flow.is_new = True
            self._new.append(flow)
        self._sparse.note(flow)

    def _next_flow(self) -> FlowQueue:
        """Return the flow that has the turn; something must wait (RFC 8290, 4.2)."""
        new, old = self._new, self._old
        while True:
            if new:
                flow = new[0]
                if flow.deficit > 0 and flow.frames:
                    return flow
                self._pass_to_old(new.popleft())
                continue
            flow = old[0]
            if flow.deficit <= 0:
                flow.deficit += self._quantum
                old.rotate(-1)
            elif flow.frames:
                return flow
            else:
                old.popleft()
                flow.found_empty()
                flow.is_old = False
                self.flows -= 1

    def _pass_to_old(self, flow: FlowQueue) -> None:
        """Give a flow that is done with going first a place among the old, if it has none."""
        if flow.deficit <= 0:
            flow.deficit += self._quantum
            flow.is_sparse = False
        else:
            flow.found_empty()
        flow.is_new = False
        if not flow.is_old:
            flow.is_old = True
            self._old.append(flow)

    def _listed(self) -> Iterator[FlowQueue]:
        """Return the flows that have a place in the round, each once."""
        return chain(self._old, (flow for flow in self._new if not flow.is_old))

    def _end_round(self) -> None:
        """Take all flows out of the round, as asking each, when all are empty, would do."""
        for flow in self._listed():
            flow.found_empty()
            flow.is_new = flow.is_old = False
        self._new.clear()
        self._sparse.clear()
        self._old.clear()
        self.flows = 0
        self._ranking = None

    def _make_room(self, packets: int) -> None:
        """Drop as many wire frames as came in, or what is over the limit (RFC 8290, 4.1)."""
        if self._ranking is None:
            self._ranking = Ranking(self._listed)
        backlog_packets = self.backlog_packets
        least_packets = max(self._settings.limit_packets, backlog_packets - packets)
        while backlog_packets > least_packets:
            flow = self._ranking.largest()
            if flow.frames[0][0].packets == backlog_packets:
                break
            lost_bytes, lost_packets = flow.drop_heads(
                backlog_packets - least_packets, self._ranking.runner_up_bytes()
            )
            backlog_packets -= lost_packets
            self.backlog_bytes -= lost_bytes
            self.dropped["limit"] += lost_packets
        self.backlog_packets = backlog_packets

    def _drop(self, frame: Frame) -> None:
        self._lose(frame, "codel")

    def _lose(self, frame: Frame, reason: str) -> None:
        self.dropped[reason] += frame.packets
        self.backlog_bytes -= frame.wire_bytes
        self.backlog_packets -= frame.packets

    def _mark(self, frame: Frame) -> Frame | None:
        data = ecn.mark(frame.data)
        if data is None:
            return None
        self.ecn_marks += frame.packets
        return Frame(data, frame.wire_bytes, frame.packets)

    def _recut(self, old_ticks_per_second: int) -> None:
        """Cut what is too large for the new settings, and date everything by the new HZ."""
        ticks_per_second = self._settings.ticks_per_second
        self.backlog_bytes = self.backlog_packets = 0
        self._ranking = None
        for flow in self._listed():
            flow.deficit = max(-self._quantum, min(flow.deficit, self._quantum))
            spared = flow.spared
            for frame, arrived in flow.take_all():
                fits = frame.wire_bytes <= self._quantum
                for piece in [frame] if fits else split(frame):
                    self._join(
                        flow, piece, convert(arrived, old_ticks_per_second, ticks_per_second)
                    )
            flow.spared = min(spared, len(flow.frames))
            if old_ticks_per_second != ticks_per_second:
                flow.spares_until = -1
                flow.forget()

    def _join(self, flow: FlowQueue, frame: Frame, arrived: int) -> None:
        flow.frames.append((frame, arrived))
        flow.backlog_bytes += frame.wire_bytes
        self.backlog_bytes += frame.wire_bytes
        self.backlog_packets += frame.packets
