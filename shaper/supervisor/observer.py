"""Looks at every shaper once a second: what it achieved lately, and whether it is in alarm.

The rows of the board are compared as bytes. One that is as it was a second ago, of a shaper that
is in no alarm, is not looked at any further once it has been quiet for `_AWAKE_NS`: of a thousand
idle shapers the board is compared as a whole, and no row is. A new one has been quiet for ever
if its row is blank.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from shaper.channel.board import DROP_REASONS, SLOT_WORDS, WORD_BYTES
from shaper.desired.alarms import Alarms, Change, Observation
from shaper.desired.history import WINDOW_NS, Extreme, History, Sample, achieved
from shaper.events import Event, Kind, tell
from shaper.model import Capture, Options, Queue, State
from shaper.supervisor.bypass import Bypasses
from shaper.supervisor.device import Device
from shaper.supervisor.performance import Performance, Worst

# Chosen.
_LOOK_SECONDS = 1.0
_AWAKE_NS = WINDOW_NS + 2_000_000_000  # until nothing in the window tells of work
_ROW_BYTES = SLOT_WORDS * WORD_BYTES
_BITS = 8

_log = logging.getLogger(__name__)

Told = Callable[[Device, Change], None]


@dataclass
class Sums:
    """Busy time and bytes since the shaper was made; those of the board begin anew with a rate.

    Attributes:
        has_restarted: they did so at the last look.
    """

    base: tuple[int, int] = (0, 0)
    last: tuple[int, int] = (0, 0)
    has_restarted: bool = False

    def now(self, busy_ns: int, busy_bytes: int) -> tuple[int, int]:
        """Return the sums, given those on the board."""
        is_anew = busy_ns < self.last[0] or busy_bytes < self.last[1]
        before = self.last if is_anew else (0, 0)
        return self.base[0] + before[0] + busy_ns, self.base[1] + before[1] + busy_bytes

    def take(self, busy_ns: int, busy_bytes: int) -> tuple[int, int]:
        """Return the sums, and go on from there."""
        sums = self.now(busy_ns, busy_bytes)
        self.has_restarted = busy_ns < self.last[0] or busy_bytes < self.last[1]
        self.last = busy_ns, busy_bytes
        self.base = sums[0] - busy_ns, sums[1] - busy_bytes
        return sums


@dataclass
class Track:
    """What is known of one shaper.

    Attributes:
        since: when its total began, in seconds since the epoch.
        raised_at: when each alarm was raised, in the same.
    """

    history: History
    first: Sample
    seen: Observation
    rate_bits: int
    since: int
    sums: Sums = field(default_factory=Sums)
    alarms: Alarms = field(default_factory=Alarms)
    raised_at: dict[str, int] = field(default_factory=dict)
    awake_until_ns: int = 0


class ShaperOwner(Protocol):
    """What is asked of the owner of the shapers."""

    devices: dict[str, Device]

    def counters(self, device: Device) -> dict[str, int]:
        """Return what the forwarder has counted for a shaper."""
        ...

    def is_stalled(self, device: Device) -> bool:
        """Whether its forwarder does not answer, or is being replaced."""
        ...

    def has_stalled(self) -> bool:
        """Whether any forwarder does not."""
        ...


class Observer:
    """Looks at the shapers of a supervisor.

    Args:
        supervisor: the owner of the shapers.
        rows: returns the first rows of the board, as they are.
        bypasses: finds what passes by.
        on_change: is told of alarms that begin and end.
    """

    def __init__(
        self,
        supervisor: ShaperOwner,
        rows: Callable[[int], bytes],
        bypasses: Bypasses | None = None,
        on_change: Told | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._read_rows = rows
        self._bypasses = bypasses
        self._on_change = on_change or tell_alarm
        self._tracks: dict[int, Track] = {}
        self._devices: tuple[Device, ...] = ()
        self._by_index: dict[int, Device] = {}
        self._awake: set[int] = set()  # those that are observed although nothing changes
        self._rows = 0  # of the board that are in use
        self._board = b""
        self._looked_ns = 0

    async def run(self, then: Callable[[], None]) -> None:
        """Look once a second, for ever, and call back after each look."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                self.look(time.monotonic_ns())
                then()
            except Exception:  # one look that fails must not be the last
                _log.exception("looking at the shapers")
            due = max(due + _LOOK_SECONDS, loop.time())
            await asyncio.sleep(due - loop.time())

    def look(self, now_ns: int) -> None:
        """Take in how all shapers are now."""
        devices = tuple(self._supervisor.devices.values())
        if devices != self._devices:
            self._devices = devices
            self._by_index = {device.ifindex: device for device in devices}
            self._rows = max((device.slot for device in devices), default=-1) + 1
            self._forget_others()
        changed = self._changed()
        concerned = changed | self._awake
        if self._supervisor.has_stalled():
            concerned |= self._by_index.keys()
        routed = set()
        if self._bypasses is not None:
            routed = _may_be_passed_by(devices)
            self._bypasses.keep(routed)
            for ifindex in changed & routed:
                self._bypasses.sent(ifindex, now_ns)
            concerned |= self._bypasses.suspects
        for ifindex in concerned:
            self._observe(self._by_index[ifindex], now_ns, is_changed=ifindex in changed)
        if self._bypasses is not None:
            self._bypasses.look(routed - changed, now_ns)
        self._looked_ns = now_ns

    def _changed(self) -> set[int]:
        """Return the shapers whose rows are not what they were, and those that are new."""
        changed = self._by_index.keys() - self._tracks.keys()
        board = self._read_rows(self._rows)
        before, self._board = self._board, board
        if board == before:
            return changed
        for device in self._devices:
            row = slice(device.slot * _ROW_BYTES, (device.slot + 1) * _ROW_BYTES)
            if board[row] != before[row]:
                changed.add(device.ifindex)
        return changed

    def _observe(self, device: Device, now_ns: int, *, is_changed: bool) -> None:
        track = self._tracks.get(device.ifindex)
        is_stalled = self._supervisor.is_stalled(device) and _is_active(device)
        bypass = self._bypasses.of(device.ifindex) if self._bypasses is not None else ""
        has_news = is_changed or is_stalled or bool(bypass)
        may_sleep = track is not None and now_ns >= track.awake_until_ns
        if may_sleep and not has_news and not (track and track.alarms.raised):
            self._awake.discard(device.ifindex)
            return
        self._awake.add(device.ifindex)
        counters = self._supervisor.counters(device)
        if track is None:
            track = self._tracks[device.ifindex] = _begin(device, counters, now_ns)
            has_news = is_stalled or bool(bypass) or any(counters.values())
        sums = busy_ns, busy_bytes = track.sums.take(counters["busy_ns"], counters["busy_bytes"])
        if has_news:
            if now_ns >= track.awake_until_ns and self._looked_ns:  # it was as before until then
                track.alarms.observe(replace(track.seen, now_ns=self._looked_ns))
            track.awake_until_ns = now_ns + _AWAKE_NS
        sample = _sample(now_ns, sums, counters)
        rate_bits = device.spec.options.mean_bits
        if track.sums.has_restarted or rate_bits != track.rate_bits:
            track.rate_bits, track.first, track.since = rate_bits, sample, int(time.time())
            track.history.restart(sample)
        track.history.add(sample)
        track.seen = Observation(
            now_ns,
            _judged_rate(device.spec.options),
            busy_ns,
            busy_bytes,
            {reason: counters[reason] for reason in DROP_REASONS},
            is_stalled=is_stalled,
            bypass=bypass,
        )
        for change in track.alarms.observe(track.seen):
            self._note(device, track, change)

    def _note(self, device: Device, track: Track, change: Change) -> None:
        if change.is_raised:
            track.raised_at[change.alarm] = int(time.time())
        else:
            track.raised_at.pop(change.alarm, None)
        self._on_change(device, change)

    def _forget_others(self) -> None:
        for gone in self._tracks.keys() - self._by_index.keys():
            del self._tracks[gone]
            self._awake.discard(gone)

    def performance(self, device: Device, counters: dict[str, int]) -> Performance:
        """Return what a shaper achieved, with these counters as the latest."""
        track = self._tracks.get(device.ifindex)
        if track is None:
            return Performance(counters["busy_ns"], counters["busy_bytes"])
        now_ns = self._looked_ns
        sums = track.sums.now(counters["busy_ns"], counters["busy_bytes"])
        sample = _sample(now_ns, sums, counters)
        alarms = track.alarms.raised.items()
        return Performance(
            *sums,
            track.history.lately(),
            track.history.worst_bits(now_ns),
            _worst(track.history.bursts, now_ns, sample.burst_bytes),
            _worst(track.history.delays, now_ns, sample.delay_ns),
            achieved(track.first, sample),
            track.since,
            tuple((kind, said, track.raised_at.get(kind, 0)) for kind, said in alarms),
        )

    def alarmed(self) -> list[str]:
        """Return the names of the shapers that are in alarm."""
        return [
            device.spec.ifname
            for device in map(self._by_index.__getitem__, sorted(self._awake))
            if self._tracks[device.ifindex].alarms.raised
        ]


def tell_alarm(device: Device, change: Change) -> None:
    """Log an alarm that begins, and its end."""
    ifname, alarm = device.spec.ifname, change.alarm
    if change.is_raised:
        text, kind = "%s: alarm (%s): %s", Kind.ALARM
    else:
        text, kind = "%s: the alarm is over (%s): %s", Kind.ALARM_OVER
    event = Event(kind, ifname, device.master_name or "")
    tell(event, text, ifname, alarm, change.sentence)


def _begin(device: Device, counters: dict[str, int], now_ns: int) -> Track:
    first = _sample(now_ns, (counters["busy_ns"], counters["busy_bytes"]), counters)
    rate_bits = device.spec.options.mean_bits
    seen = Observation(now_ns, 0, 0, 0)
    return Track(History(first), first, seen, rate_bits, int(time.time()))


def _sample(now_ns: int, sums: tuple[int, int], counters: dict[str, int]) -> Sample:
    """Return a sample of busy time and bytes, which go on, and of what the board tells beside."""
    return Sample(
        now_ns,
        *sums,
        counters["sent_packets"],
        counters["lately_burst_bytes"],
        counters["second_delay_p99_ns"],
    )


def _worst(extreme: Extreme, now_ns: int, now: int) -> Worst:
    """Return the largest values, of which there may be one since the last look."""
    of_hour, ever = extreme.of_hour(now_ns), extreme.ever
    if of_hour is None or ever is None:
        return Worst(of_hour, ever)
    return Worst(max(of_hour, now), max(ever, now))


def _is_active(device: Device) -> bool:
    return device.plan is not None and device.plan.state is State.ACTIVE


def _may_be_passed_by(devices: Iterable[Device]) -> set[int]:
    """Return those that take what is routed to them, and pass it on."""
    route, active = Capture.ROUTE, State.ACTIVE  # looked up once, not for each of a thousand
    return {
        device.ifindex
        for device in devices
        if (plan := device.plan) is not None
        and plan.state is active
        and device.spec.capture is route
    }


def _judged_rate(options: Options) -> int:
    """Return the rate that a shaper is held to: `classic` rounds down to whole bytes a jiffy."""
    if options.queue is not Queue.CLASSIC:
        return options.mean_bits
    step = _BITS * options.clock_hz
    return options.mean_bits // step * step
