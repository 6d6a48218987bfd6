"""The fq_codel discipline: a queue for each flow, a turn for each queue, behind a token bucket.

The law, after RFC 8290 and behind the bucket's (see `bucket`):

1. Each flow (see `flow`) has a queue of its own, kept short by CoDel (see `codel`).
2. Flows take turns. A turn is a quantum of wire bytes, and what a frame took beyond it is made up
   for in the turns that follow: so flows that have work share the rate in bytes, not in frames.
3. A flow that comes with its first frame is new, and new flows go before old ones. One whose
   quantum is used up is old. One that is empty gets a place among the old, and is forgotten when
   its turn there comes: so nobody gains by pausing.
4. Until that turn, a flow that was empty goes before the old ones again, as long as it has not
   used up its first quantum. So what sends less than a quantum in a round, a call or a ping, never
   waits behind what sends more, however long a round takes. This is not in RFC 8290, where such a
   flow waits out the round: four flows at 1 Mbit/s make that 48 ms. Nor does anybody gain by it:
   what may go first in a round is one quantum, all at once or not.
5. When more than `limit_packets` wait, the flow with the most bytes loses its head as `limit`, and
   so on. No more is lost by that than came in, and a frame that is alone stays, whatever its size.
   Where a batch comes in, that is seen to once it is in.

The quantum is the largest frame that may pass whole. For offload frames that is about half a jiffy
of the rate, so nobody's turn is longer than that by more than one frame, and after one turn all
have something to spend again: a frame costs the same work however many flows there are. A frame
too large for the rate is cut into its segments, as fifo does.

Limits. A change of HZ changes the unit of all times: CoDel and the histogram start anew then.

References: RFC 8290, 4 (scheduler), 5.2 (parameters); M. Shreedhar and G. Varghese, Efficient Fair
Queueing using Deficit Round Robin, 1995 (the work for a frame, if a quantum is a full frame).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from shaper.discipline import jiffies
from shaper.discipline.bucket import Bucket
from shaper.discipline.codel import Law, setpoints
from shaper.discipline.delay import EXACT, DelayHistogram, index
from shaper.discipline.flow_table import UNRANKED, Flow, FlowTable, Ranking
from shaper.model import Settings
from shaper.packet import ecn
from shaper.packet.flow import identify
from shaper.packet.frame import Frame
from shaper.packet.segment import split

# Specified: RFC 8290, 5.2.5.
_FLOWS = 1024


class FqCodel:
    """Queues by flow and their bucket; see `base.Discipline` for the contract.

    Args:
        settings: rate, bucket and limit.
        now: the current jiffy.
        key: up to 64 random bytes, for the hash of flows.
        opens_at: see `Bucket`; for a queue that takes over from another.
        size: how many flows there is room for; see `FlowTable`.

    Attributes:
        ecn_marks: wire frames marked instead of dropped.
        delay_now: jiffies that the frame handed out last has waited.
        flows: how many flows have a place in the round.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now: int,
        key: bytes,
        opens_at: int | None = None,
        size: int = _FLOWS,
    ) -> None:
        self.backlog_bytes = 0
        self.backlog_packets = 0
        self.overlimits = 0
        self.dropped: dict[str, int] = {"limit": 0, "codel": 0}
        self.ecn_marks = 0
        self.delay_now = 0
        self.tells_delays = True
        self._settings = settings
        self._quantum = settings.unit_bytes
        self._law = Law(setpoints(settings), self._drop, self._mark)
        self._table = FlowTable(self._law, size=size, key=key)
        self._new: deque[Flow] = deque()
        self._old: deque[Flow] = deque()
        self.flows = 0
        self._ranking: Ranking | None = None
        self._delays = DelayHistogram(hz=settings.hz, now=now)
        self._bucket = Bucket.make(settings, now=now, opens_at=opens_at)

    @property
    def room(self) -> int:
        """How many more wire frames it takes before the largest flow pays for them."""
        return self._settings.limit_packets - self.backlog_packets

    @property
    def busy_bytes(self) -> int:
        """Wire bytes handed out since the rate was last set."""
        return self._bucket.busy_bytes

    @property
    def busy_ns(self) -> int:
        """Nanoseconds for which the rate was in use since it was last set."""
        return self._bucket.busy_ns

    def delay_percentile(self, percent: int, *, now: int) -> int | None:
        """Return the jiffies that `percent` of the last ten seconds' frames waited at most."""
        return self._delays.percentile(percent, now=now)

    def enqueue(self, frame: Frame, *, now: int) -> None:
        """Join the tail of its flow; the largest flow may lose its head for that, as `limit`."""
        self.enqueue_batch([frame], now=now)

    def enqueue_batch(self, frames: list[Frame], *, now: int) -> None:
        """Join the tails of their flows; room is made when all have come."""
        quantum, ranking = self._quantum, self._ranking
        find = self._table.get
        came_packets = 0
        grown: set[Flow] = set()
        if frames and not self.backlog_packets:
            self._bucket.rest(now)
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
            flow.frames.append((frame, now))
            flow.backlog_bytes += wire_bytes
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

    def admit(self, wire_bytes: int, last_bytes: int, now: int, *, has_waited: bool) -> bool:
        """Pay for frames that leave at once, if the bucket allows it.

        Where nothing waits nobody is kept waiting, so it does not matter whose they are.
        """
        return self._bucket.admit(wire_bytes, last_bytes, now, has_waited=has_waited)

    def passed(self, frames: int, now: int) -> None:
        """Count frames that have not waited; who had waited before them has left long since."""
        if self.flows:
            self._end_round()
        self.delay_now = 0
        delays = self._delays
        if now >= delays.turns_at:
            delays.turn(now)
        delays.cells[0] += frames

    def inherit(self, frames: list[Frame], *, now: int) -> None:
        """Take each frame in turn, as if it came now."""
        self.enqueue_batch(frames, now=now)

    def dequeue(self, *, now: int) -> Frame | None:
        """Hand out a frame of the flow whose turn it is, if the bucket is open."""
        frames = self.dequeue_batch(now=now, limit=1)
        return frames[0] if frames else None

    def dequeue_batch(self, *, now: int, limit: int) -> list[Frame]:
        """Hand out frames, each of the flow whose turn it is, while the bucket is open."""
        if not self.backlog_packets:
            if self.flows:
                self._end_round()
            return []
        self._bucket.accrue(now)
        budget_bytes = self._bucket.budget_bytes
        if budget_bytes < 0:
            self.overlimits += 1
            return []
        leaving: list[Frame] = []
        delays = self._delays
        if now >= delays.turns_at:
            delays.turn(now)
        cells = delays.cells
        left_bytes = cell = 0
        sojourn = -1
        while self.backlog_packets and left_bytes <= budget_bytes and len(leaving) < limit:
            flow = self._next_flow()
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
        self.delay_now = sojourn
        self._bucket.charge(left_bytes)
        return leaving

    def left_late(self, wire_bytes: int, *, now: int) -> None:
        """Grant no credit twice for frames that left later than they were handed out."""
        self._bucket.left_late(wire_bytes, now)

    def deadline(self) -> int | None:
        """Return the jiffy in which the bucket opens, if something waits for it."""
        return self._bucket.opens_at() if self.backlog_packets else None

    def opens_at(self) -> int:
        """Return the jiffy in which what has left so far is paid for."""
        return self._bucket.opens_at()

    def configure(self, settings: Settings, *, now: int) -> None:
        """Change rate, bucket, limit or HZ at jiffy `now` of the old HZ; lose nothing.

        A new limit below the backlog drops nothing either: each frame that comes then costs one.
        """
        if self.backlog_packets:
            self._bucket.accrue(now)
        else:
            self._bucket.rest(now)
        old_hz, self._settings = self._settings.hz, settings
        new_now = _convert(now, old_hz, settings.hz)
        self._bucket = self._bucket.successor(settings, now=new_now)
        self._quantum = settings.unit_bytes
        self._law.aim(setpoints(settings))
        if old_hz != settings.hz:
            self._delays = DelayHistogram(hz=settings.hz, now=new_now)
            self.delay_now = _convert(self.delay_now, old_hz, settings.hz)
        self._recut(old_hz)

    def flush(self, reason: str) -> None:
        """Drop everything that waits and count it under `reason`."""
        lost = sum(frame.packets for frame in self.drain())
        self.dropped[reason] = self.dropped.get(reason, 0) + lost

    def drain(self) -> list[Frame]:
        """Give back everything that waits, in the order in which it came."""
        waiting = [each for flow in self._listed() for each in flow.take_all()]
        waiting.sort(key=lambda each: each[1])  # stable: the order within a flow stays
        self.backlog_bytes = self.backlog_packets = 0
        self._end_round()
        return [frame for frame, _ in waiting]

    def _rank(self, flow: Flow) -> None:
        """Keep the ranking up to date, or give it up when it is not needed for long."""
        if self._ranking is None or 2 * self.backlog_packets < self._settings.limit_packets:
            self._ranking = None
        else:
            self._ranking.grew(flow)

    def _put_in_front(self, flow: Flow) -> None:
        """Let a flow that was empty go before the old ones, by rule 3 or rule 4."""
        if not flow.is_listed:
            flow.is_sparse = True
            flow.deficit = self._quantum
            flow.ranked_bytes = UNRANKED
            self.flows += 1
        elif flow.is_new or not flow.is_sparse:
            return
        flow.is_new = True
        self._new.append(flow)

    def _next_flow(self) -> Flow:
        """Return the flow whose turn it is; something must wait (RFC 8290, 4.2)."""
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

    def _pass_to_old(self, flow: Flow) -> None:
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

    def _listed(self) -> Iterator[Flow]:
        """Return the flows that have a place in the round, each once."""
        return chain(self._old, (flow for flow in self._new if not flow.is_old))

    def _end_round(self) -> None:
        """Take all flows out of the round, as asking each, when all are empty, would do."""
        for flow in self._listed():
            flow.found_empty()
            flow.is_new = flow.is_old = False
        self._new.clear()
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

    def _recut(self, old_hz: int) -> None:
        """Cut what is too large for the new settings, and date everything by the new HZ."""
        hz = self._settings.hz
        self.backlog_bytes = self.backlog_packets = 0
        self._ranking = None
        for flow in self._listed():
            flow.deficit = max(-self._quantum, min(flow.deficit, self._quantum))
            for frame, arrived in flow.take_all():
                fits = frame.wire_bytes <= self._quantum
                for piece in [frame] if fits else split(frame):
                    self._join(flow, piece, _convert(arrived, old_hz, hz))
            if old_hz != hz:
                flow.forget()

    def _join(self, flow: Flow, frame: Frame, arrived: int) -> None:
        flow.frames.append((frame, arrived))
        flow.backlog_bytes += frame.wire_bytes
        self.backlog_bytes += frame.wire_bytes
        self.backlog_packets += frame.packets


def _convert(jiffy: int, old_hz: int, hz: int) -> int:
    return jiffies.from_ns(jiffies.to_ns(jiffy, old_hz), hz)
