"""What has become of a path's frames, and where that is told: its row on the board."""

from __future__ import annotations

from shaper.channel.board import (
    ALTERATIONS,
    BACKLOG_PACKETS,
    DROP_REASONS,
    ECN_MARKS,
    FIELDS,
    FIRST_ALTERATION,
    FIRST_DROP,
    MAX_COUNT,
)
from shaper.discipline import ticks
from shaper.discipline.base import Discipline
from shaper.discipline.burst import Burst, make_burst
from shaper.model import Settings
from shaper.packet.frame import Frame

# Chosen. What is told of the last seconds costs more than a frame, so not every run tells it, nor
# all of the rest while frames wait.
_DETAILS_NS = 10_000_000
_WINDOWS_NS = 250_000_000
_FORGOTTEN_NS = 11_000_000_000  # after ten seconds without traffic, in which nothing was asked

_FLOWS = FIELDS.index("flows")
_DELAY = FIELDS.index("delay_ns")
_PERCENTILE = FIELDS.index("delay_p99_ns")
_WORST_SECOND = FIELDS.index("second_delay_p99_ns")
_BURST = FIELDS.index("lately_burst_bytes")


class Tally:
    """Counters of one path.

    Args:
        row: the shaper's row on the board; counting continues from what it holds. Another
            forwarder may write there at any time: it is read once, and what cannot be is 0.

    Attributes:
        sent_bytes: wire bytes that the master took.
        sent_packets: wire frames that the master took.
        due_ns: when to publish again though nothing happens; None: not before it does.
    """

    def __init__(self, row: memoryview) -> None:
        self._row = row
        counts = [count if count <= MAX_COUNT else 0 for count in row]
        for index, count in enumerate(counts):
            row[index] = count
        self.sent_bytes, self.sent_packets, self._overlimits = counts[:3]
        self._dropped = dict(zip(DROP_REASONS, counts[FIRST_DROP:], strict=False))
        # What the row says is waiting was in the hands of a predecessor that did not close it.
        self._dropped["crash"] += counts[BACKLOG_PACKETS]
        self._theirs: dict[str, int] | None = None  # its drops, when they were last published
        self._since_bytes = self.sent_bytes  # when the rate was last set
        self._ecn_marks = counts[ECN_MARKS]
        self._altered = dict(zip(ALTERATIONS, counts[FIRST_ALTERATION:], strict=False))
        self._burst = Burst(0)
        self._measured: Settings | None = None  # what has the rate, and its trace
        self._details_at_ns = self._windows_at_ns = 0
        self._told_packets = self.sent_packets  # when the windows were last published
        self._forgotten_ns: int | None = None
        self.due_ns: int | None = None

    def lose(self, reason: str, packets: int) -> None:
        """Count wire frames that are lost."""
        self._dropped[reason] += packets
        self._theirs = None

    def measure(self, settings: Settings | None) -> None:
        """Begin new sums of busy time with another rate, new bursts also with another trace."""
        before, self._measured = self._measured, settings
        is_other = settings is None or before is None or settings.rate_bits != before.rate_bits
        if is_other:
            self._since_bytes = self.sent_bytes
        self._details_at_ns = 0
        if settings is None:
            self._windows_at_ns, self._burst = 0, Burst(0)
        elif is_other or before is None or settings.playback != before.playback:
            self._windows_at_ns, self._burst = 0, make_burst(settings)

    def left_late(self, wire_bytes: int, now_ns: int) -> None:
        """Correct for the bytes of the last run, which left only at this time."""
        self._burst.left_late(wire_bytes, now_ns)

    def retire(self, discipline: Discipline | None) -> None:
        """Keep the counts of a discipline that is replaced."""
        if discipline is None:
            return
        self._details_at_ns = self._windows_at_ns = 0
        self._overlimits += discipline.overlimits
        self._ecn_marks += discipline.ecn_marks
        for what, packets in discipline.altered.items():
            self._altered[what] += packets
        for reason, packets in discipline.dropped.items():
            self.lose(reason, packets)

    def publish(
        self,
        discipline: Discipline | None,
        pending: list[Frame],
        ticks_per_second: int,
        now_ns: int,
        run_bytes: int,
    ) -> None:
        """Write the row, and of what seldom changes only what has.

        Every run tells what left, what waits and what was lost, so that a successor can account
        for each frame. The rest is told when nothing waits, and every `_DETAILS_NS` otherwise.

        Args:
            discipline: the queue; None before a speed is set.
            pending: frames that it handed out and the master has not taken yet.
            ticks_per_second: ticks a second of the queue's clock.
            now_ns: the time.
            run_bytes: wire bytes that the master took since the last call.
        """
        row = self._row
        row[0] = self.sent_bytes
        row[1] = self.sent_packets
        if discipline is None:
            row[2] = self._overlimits
            for index in range(3, FIRST_DROP):
                row[index] = 0
            row[ECN_MARKS] = self._ecn_marks
            row[_WORST_SECOND] = row[_BURST] = 0
            self._publish_drops({})
            self.due_ns = None
            return
        queue = discipline.queue
        backlog_bytes, backlog_packets = queue.backlog_bytes, queue.backlog_packets
        if pending:
            backlog_bytes += sum([frame[1] for frame in pending])
            backlog_packets += sum([frame[2] for frame in pending])
        row[3] = backlog_bytes
        row[4] = backlog_packets
        dropped = queue.dropped
        if dropped != self._theirs:
            self._publish_drops(dropped)
        if run_bytes:
            self._burst.sent(run_bytes, now_ns)
        if backlog_packets and now_ns < self._details_at_ns:
            self.due_ns = self._details_at_ns
        else:
            self._details_at_ns = now_ns + _DETAILS_NS
            self._publish_details(discipline, ticks_per_second, now_ns)

    def _publish_details(self, discipline: Discipline, ticks_per_second: int, now_ns: int) -> None:
        """Write what no successor needs to account for frames."""
        row, queue = self._row, discipline.queue
        busy_bytes = self.sent_bytes - self._since_bytes
        row[2] = self._overlimits + discipline.overlimits
        row[5] = busy_bytes
        row[6] = discipline.busy_ns(busy_bytes)
        row[ECN_MARKS] = self._ecn_marks + queue.ecn_marks
        row[_FLOWS] = queue.flows
        delay = queue.delay_now
        row[_DELAY] = ticks.to_ns(delay, ticks_per_second) if delay else 0
        altered = discipline.altered
        if altered:
            for index, (what, packets) in enumerate(self._altered.items(), FIRST_ALTERATION):
                row[index] = packets + altered[what]
        if now_ns >= self._windows_at_ns:
            self._publish_windows(discipline, ticks_per_second, now_ns)
        elif self.sent_packets != self._told_packets:
            self.due_ns = self._windows_at_ns
        else:
            self.due_ns = self._forgotten_ns

    def _publish_windows(self, discipline: Discipline, ticks_per_second: int, now_ns: int) -> None:
        """Write what is told of the last ten seconds; come again when it is to be forgotten."""
        row = self._row
        delay = discipline.delay_percentile(99, now=ticks.from_ns(now_ns, ticks_per_second))
        row[_PERCENTILE] = ticks.to_ns(delay or 0, ticks_per_second)
        row[_WORST_SECOND] = ticks.to_ns(discipline.delay_worst_second(), ticks_per_second)
        row[_BURST] = burst_bytes = self._burst.lately_bytes(now_ns)
        self._told_packets = self.sent_packets
        self._windows_at_ns = now_ns + _WINDOWS_NS
        self._forgotten_ns = now_ns + _FORGOTTEN_NS if delay or burst_bytes else None
        self.due_ns = self._forgotten_ns

    def _publish_drops(self, theirs: dict[str, int]) -> None:
        self._theirs = theirs.copy()
        for index, (reason, packets) in enumerate(self._dropped.items(), FIRST_DROP):
            self._row[index] = packets + theirs.get(reason, 0)
