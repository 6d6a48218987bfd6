"""When a shaper is in alarm, and when no longer: decided once a second from what is observed.

    slow      busy throughout five seconds, and in each below 98 % of its rate
    stalled   its forwarder does not answer
    faults    frames were dropped for a reason that is a fault, in the last five seconds
    bypassed  traffic that was routed through it leaves by another way, for three seconds

An idle shaper is never slow, and one that is merely overloaded drops for reasons that are none of
these. An alarm ends with the first second that is good (slow, stalled, bypassed) or after five
quiet ones (faults, and slow where the load has ended).

A rate is judged in steps of a second, or of the time that sixteen full frames take where that is
longer: at 9600 bit/s one frame lasts for 1.3 seconds, and no second by itself says anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from shaper.units import format_measured_rate, format_rate

_NANOSECONDS = 1_000_000_000

# Specified: what an alarm is for.
GOOD_PERCENT = 98
PATIENCE_SECONDS = 5
FAULTS = ("nobufs", "oversize", "error", "crash", "master")

# Chosen: it takes up to two seconds to find out, and two more to see that something leaves.
_BYPASS_SECONDS = 3
# Chosen: a second in which the rate is in use for less has its edges measured.
_BUSY_SHARE_PERCENT = 50
_MOST_INTERVAL_SECONDS = 3  # a longer one says that the observer stood still
_STEP_BITS = 16 * 1514 * 8  # sixteen full frames
_STEP_TOLERANCE_PERCENT = 90  # an observation may come a little early


class Alarm(StrEnum):
    """What is wrong."""

    SLOW = "slow"
    STALLED = "stalled"
    FAULTS = "faults"
    BYPASSED = "bypassed"


@dataclass(frozen=True)
class Observation:
    """A shaper at one moment; sums that only grow, and what is so now.

    Attributes:
        now_ns: the time.
        rate_bits: what is configured; 0: nothing.
        busy_ns: how long the rate was in use.
        busy_bytes: what left in that time.
        dropped: wire frames by reason.
        is_stalled: its forwarder does not answer.
        bypass: how traffic passes by, in words; empty where it does not.
    """

    now_ns: int
    rate_bits: int
    busy_ns: int
    busy_bytes: int
    dropped: dict[str, int] = field(default_factory=dict)
    is_stalled: bool = False
    bypass: str = ""


@dataclass(frozen=True)
class Change:
    """An alarm that began or ended, in words."""

    alarm: Alarm
    is_raised: bool
    sentence: str


class Alarms:
    """The alarms of one shaper.

    Attributes:
        raised: those it is in, each with the sentence that it was raised with.
    """

    def __init__(self) -> None:
        self.raised: dict[Alarm, str] = {}
        self._before: Observation | None = None
        self._step: Observation | None = None  # the one that this step of the rate began with
        self._slow_ns = 0
        self._idle_ns = 0
        self._bypassed_seconds = 0
        self._quiet_seconds = 0

    def observe(self, seen: Observation) -> list[Change]:
        """Take in an observation, one a second; return what began and what ended."""
        before, self._before = self._before, seen
        changes = self._set(Alarm.STALLED, seen.is_stalled, "its forwarder does not answer")
        if before is None or _is_incomparable(before, seen):
            self._step = seen
            self._slow_ns = self._idle_ns = 0
            return changes
        changes += self._judge_rate(seen)
        changes += self._judge_drops(before, seen)
        return changes + self._judge_way(seen)

    def _judge_rate(self, seen: Observation) -> list[Change]:
        step = self._step or seen
        elapsed_ns = seen.now_ns - step.now_ns
        if not seen.rate_bits or elapsed_ns < _step_ns(seen.rate_bits):
            return []
        self._step = seen
        busy_ns, bits = _work(step, seen)
        if 100 * busy_ns < _BUSY_SHARE_PERCENT * elapsed_ns:
            self._slow_ns = 0
            self._idle_ns += elapsed_ns
            is_over = _is_enough(self._idle_ns)
            return self._set(Alarm.SLOW, False, "") if is_over else []
        self._idle_ns = 0
        is_slow = 100 * bits < GOOD_PERCENT * seen.rate_bits
        self._slow_ns = self._slow_ns + elapsed_ns if is_slow else 0
        if is_slow and not _is_enough(self._slow_ns):
            return []
        share = f"{format_measured_rate(bits)} of {format_rate(seen.rate_bits)}"
        return self._set(Alarm.SLOW, is_slow, f"it is busy and achieves {share}")

    def _judge_drops(self, before: Observation, seen: Observation) -> list[Change]:
        more = {
            reason: seen.dropped.get(reason, 0) - before.dropped.get(reason, 0)
            for reason in FAULTS
        }
        reasons = ", ".join(f"{count} for {reason}" for reason, count in more.items() if count > 0)
        if reasons:
            self._quiet_seconds = 0
            return self._set(Alarm.FAULTS, True, f"it lost frames: {reasons}")
        self._quiet_seconds += 1
        is_over = self._quiet_seconds >= PATIENCE_SECONDS
        return self._set(Alarm.FAULTS, False, "") if is_over else []

    def _judge_way(self, seen: Observation) -> list[Change]:
        self._bypassed_seconds = self._bypassed_seconds + 1 if seen.bypass else 0
        if seen.bypass and self._bypassed_seconds < _BYPASS_SECONDS:
            return []
        return self._set(Alarm.BYPASSED, bool(seen.bypass), seen.bypass)

    def _set(self, alarm: Alarm, is_raised: bool, sentence: str) -> list[Change]:
        if is_raised == (alarm in self.raised):
            return []
        if is_raised:
            self.raised[alarm] = sentence
            return [Change(alarm, True, sentence)]
        return [Change(alarm, False, self.raised.pop(alarm))]


def _is_incomparable(before: Observation, seen: Observation) -> bool:
    """Whether two observations are of different rates, forwarders, or too far apart."""
    elapsed_ns = seen.now_ns - before.now_ns
    return (
        seen.rate_bits != before.rate_bits
        or seen.busy_ns < before.busy_ns
        or not 0 < elapsed_ns <= _MOST_INTERVAL_SECONDS * _NANOSECONDS
    )


def _step_ns(rate_bits: int) -> int:
    step_ns = max(_NANOSECONDS, _STEP_BITS * _NANOSECONDS // rate_bits)
    return step_ns * _STEP_TOLERANCE_PERCENT // 100


def _is_enough(time_ns: int) -> bool:
    """Whether something has lasted for as long as an alarm takes, to within a step's tolerance."""
    least_ns = PATIENCE_SECONDS * _NANOSECONDS
    return 100 * time_ns >= (100 + _STEP_TOLERANCE_PERCENT) // 2 * least_ns


def _work(before: Observation, seen: Observation) -> tuple[int, int]:
    """Return how long the rate was in use, and the bits per second that left in that time."""
    busy_ns = seen.busy_ns - before.busy_ns
    sent = seen.busy_bytes - before.busy_bytes
    return busy_ns, sent * 8 * _NANOSECONDS // busy_ns if busy_ns else 0
