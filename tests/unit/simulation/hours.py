"""A path that runs for hours on a clock of its own, and is looked at once a second for alarms.

What comes, and how late the processor is, follows from a seed. The looks are the daemon's own, at
the row that the path writes, so what is tested is the whole way from a frame to an alarm.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

from shaper.channel.board import Board
from shaper.desired import line_syntax
from shaper.desired.alarms import Change
from shaper.desired.plan import make_settings
from shaper.desired.trace_syntax import parse_trace
from shaper.forwarder.path import Path
from shaper.forwarder.wants import NOTHING
from shaper.model import Options, Queue, Spec, State
from shaper.supervisor.observer import Observer
from shaper.testing.memory_ports import MemorySink, MemorySource
from shaper.trace import Playback

SECOND = 10**9
MTU = 1500
START_NS = 100 * SECOND
HEADER = bytes(10) + bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x11" + bytes(10)
MOST_WAITING = 1000  # in the ring
ROUND_NS = 5000  # between two runs of a path at least
_LOOK_JITTER_NS = SECOND // 20
_RESTARTS = 0.05


@dataclass(frozen=True)
class HourTraffic:
    """What comes for some time: frames of a size at a multiple of the rate, or nothing.

    Attributes:
        seconds: how long.
        load: of the rate; 0: nothing comes.
        frame_bytes: of each frame on the wire.
        burst: frames that come together.
        flows: that they are of.
    """

    seconds: float
    load: float
    frame_bytes: int = 1514
    burst: int = 1
    flows: int = 1


def late_ns(chance: random.Random) -> int:
    """Return by how much a wake-up is late, as measured under load: see docs/design.md."""
    share = chance.random()
    if share < 0.5:
        return chance.randrange(50_000)
    if share < 0.99:
        return chance.randrange(200_000)
    return chance.randrange(1_000_000 if share < 0.999 else 10_000_000)


class World:
    """A shaper, its traffic and its observer.

    Args:
        options: of the shaper.
        seed: of all that is random.
        late: see below.

    Attributes:
        told: the alarms that began and ended, and when, in seconds.
        chance: what is random.
        late: returns by how much the next wake-up is late.
    """

    def __init__(
        self,
        options: Options,
        seed: int,
        late: Callable[[random.Random], int] = late_ns,
    ) -> None:
        self.told: list[tuple[float, Change]] = []
        self.now_ns = START_NS
        self._wake_ns: int | None = None
        self._came_ns: int | None = None  # when something did that the path is to wake up for
        self.chance = random.Random(seed)
        self.late = late
        self._board = Board.create(1)
        self._device = SimpleNamespace(
            ifindex=7,
            slot=0,
            spec=Spec("shaper0", "eth1", options),
            plan=SimpleNamespace(state=State.ACTIVE),
            master_name="eth1",
        )
        supervisor = SimpleNamespace(
            devices={7: self._device},
            is_stalled=lambda _: False,
            has_stalled=lambda: False,
            counters=lambda _: self._board.read(0),
        )
        self._observer = Observer(
            cast(Any, supervisor), self._board.snapshot, None, lambda _, change: self._note(change)
        )
        self._look_ns = START_NS
        self._begin()

    @property
    def raised(self) -> list[str]:
        """Which alarms were raised."""
        return [str(change.alarm) for _, change in self.told if change.is_raised]

    def count(self, name: str) -> int:
        """Return a counter."""
        return self._board.read(0)[name]

    def restart(self) -> None:
        """Let another forwarder take over from one that has ended in order."""
        self.path.flush()
        self.path.run(self.now_ns)
        self._begin()

    def change(self, options: Options) -> None:
        """Change the shaper as `shapecfg` does: what is wanted first, then the forwarder."""
        self._device.spec = replace(self._device.spec, options=options)
        if self.chance.random() < 0.5:
            self._look()
        settings = make_settings(options, MTU)
        self.path.configure(settings, self.now_ns)
        self._run()

    def happen(self, traffic: HourTraffic) -> None:
        """Let traffic come for its time."""
        end_ns = self.now_ns + int(traffic.seconds * SECOND)
        for at_ns, frames in self._arrivals(traffic, end_ns):
            self._advance(at_ns)
            room = MOST_WAITING - len(self.source.frames)
            self.source.frames.extend(frames[:room])
            if self._wants.wants_frames:
                self._came_ns = self._came_ns or at_ns
                self._wake_at(at_ns)
        self._advance(end_ns)

    def _begin(self) -> None:
        self.source, self.sink = MemorySource(), MemorySink()
        self.path = Path(self.source, self._board.row(0), b"key")
        self._wants, self._wake_ns = NOTHING, None
        self.path.bind(self.sink)
        self.path.configure(make_settings(self._device.spec.options, MTU), self.now_ns)
        self._run()

    def _note(self, change: Change) -> None:
        self.told.append(((self.now_ns - START_NS) / SECOND, change))

    def _arrivals(self, traffic: HourTraffic, end_ns: int) -> Iterator[tuple[int, list[bytes]]]:
        if not traffic.load:
            return
        rate_bits = self._device.spec.options.mean_bits
        every_ns = traffic.frame_bytes * 8 * SECOND / (rate_bits * traffic.load) * traffic.burst
        at_ns = float(self.now_ns)
        padding = bytes(traffic.frame_bytes - len(HEADER) + 10 - 4)
        while (at_ns := at_ns + self.chance.expovariate(1 / every_ns)) < end_ns:
            flow = self.chance.randrange(traffic.flows).to_bytes(4, "big")
            yield int(at_ns), [HEADER + flow + padding] * traffic.burst

    def _wake_at(self, due_ns: int) -> None:
        """Have the path run at a time, or as much later as the processor is."""
        wake_ns = due_ns + self.late(self.chance)
        self._wake_ns = wake_ns if self._wake_ns is None else min(self._wake_ns, wake_ns)

    def _advance(self, end_ns: int) -> None:
        """Run what is due until a time, and look once a second."""
        while (next_ns := min(self._wake_ns or end_ns, self._look_ns)) <= end_ns:
            if self._wake_ns is None and next_ns == end_ns < self._look_ns:
                break
            self.now_ns = next_ns
            if next_ns == self._look_ns:
                self._look()
                jitter_ns = self.chance.randrange(-_LOOK_JITTER_NS, _LOOK_JITTER_NS)
                self._look_ns += SECOND + jitter_ns
            else:
                self._run()
        self.now_ns = end_ns

    def _run(self) -> None:
        came_ns, self._came_ns, self._wake_ns = self._came_ns, None, None
        self._wants = self.path.run(self.now_ns)
        if came_ns is not None:
            self.path.missed(self.now_ns - came_ns)
        self.sink.frames.clear()
        if self._wants.deadline_ns is not None:
            self._wake_at(max(self._wants.deadline_ns, self.now_ns + ROUND_NS))
        elif self._wants.wants_frames and self.source.frames:
            self._wake_at(self.now_ns + ROUND_NS)

    def _look(self) -> None:
        self._observer.look(self.now_ns)


def live(world: World, seconds: float) -> None:
    """Let all kinds of traffic come, and now and then another forwarder take over."""
    end_ns = world.now_ns + int(seconds * SECOND)
    chance = world.chance
    while world.now_ns < end_ns:
        traffic = HourTraffic(
            seconds=chance.choice((0.3, 1, 3, 10, 30)),
            load=chance.choice((0, 0, 0.1, 0.5, 0.95, 1, 1.05, 2)),
            frame_bytes=chance.choice((60, 60, 200, 700, 1514, 1514, 1514)),
            burst=chance.choice((1, 1, 5, 50)),
            flows=chance.choice((1, 5, 20)),
        )
        world.happen(traffic)
        if chance.random() < _RESTARTS:
            world.restart()


def named(name: str) -> Options:
    """Return the options of a shaper by a name for them."""
    return _SHAPERS[name]


def _linked(rate_bits: int, **line: str) -> Options:
    options = Options(rate_bits=rate_bits)
    return replace(options, line=line_syntax.change_line(options.line, line))


def _traced(text: str) -> Options:
    return Options(playback=Playback(parse_trace(text), START_NS // 1000))


_SHAPERS = {
    "9600": Options(rate_bits=9600),
    "64k": Options(rate_bits=64_000),
    "64k fifo": Options(rate_bits=64_000, queue=Queue.FIFO),
    "64k classic": Options(rate_bits=64_000, queue=Queue.CLASSIC),
    "64k link": _linked(64_000, delay="200ms jitter 50ms", loss="1%", duplicate="1%"),
    "1M": Options(rate_bits=1_000_000),
    "1M classic": Options(rate_bits=1_000_000, queue=Queue.CLASSIC),
    "1M link": _linked(1_000_000, delay="40ms jitter 10ms", loss="5%", reorder="1%"),
    "overhead": _linked(1_000_000, overhead="pppoe-vcmux"),
    "small bucket": Options(rate_bits=1_000_000, burst_bytes=2500),
    "coarse": Options(rate_bits=1_000_000, hz=100),
    "gaps": _traced("0,200kbit\n10,0\n40,end"),
    "trace": _traced("0,1mbit\n5,0\n6,100kbit\n20,2mbit\n30,end"),
    "10M": Options(rate_bits=10_000_000),
}
SHAPERS = tuple(_SHAPERS)
