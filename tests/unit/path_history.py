"""A path between edges of a test, on a clock of ours, and what can happen to it.

The path is run as the loop does it. Its edges are the fakes, which refuse what a test wants
refused, or the real ones on sockets, which have slots, a ring that is read ahead of its turn, and
a master that really is full. Every frame bears a number, so what became of each can be told.
"""

from __future__ import annotations

import contextlib
import select
import socket
from dataclasses import dataclass, replace

from shaper.channel.board import DROP_REASONS, FIELDS, SLOT_WORDS, WORD_BYTES
from shaper.desired.plan import make_settings
from shaper.forwarder.edges import PacketSink, TapSource
from shaper.forwarder.path import Path
from shaper.forwarder.ports import Outcome
from shaper.forwarder.slots import Slots
from shaper.model import Options, Queue, Settings
from shaper.packet.frame import measure
from shaper.testing.memory_ports import MemorySink, MemorySource
from tests.unit.strategies import Train, offload

MTU = 1500
START_NS = 10**9
SECOND_NS = 10**9
ROUND_NS = 1000
LEAST_STEP_NS = 10_000  # no departure is timed more finely
TICK_NS = 1000  # of the queues' clock
MOST_ROUNDS = 500_000  # more than a second has steps, so that a path that spins is found out
SOCKET_BYTES = 20_000  # of send buffer, less than one of the trains

ETHERNET = bytes(10) + bytes(12)
IPV4 = ETHERNET + b"\x08\x00\x45" + bytes(5) + b"\x40\x00\x40\x11" + bytes(10) + b"\0\1\0\1"
IPV6 = ETHERNET + b"\x86\xdd\x60" + bytes(5) + b"\x11\x40" + bytes(32) + b"\0\1\0\1"
VLAN = ETHERNET + b"\x81\x00\x00\x05" + IPV4[len(ETHERNET) :]
SINGLES = {"ipv4": IPV4, "ipv6": IPV6, "vlan": VLAN}
KINDS = {
    **SINGLES,
    "arp": ETHERNET + b"\x08\x06" + bytes(28),
    "train": offload(Train(payload_bytes=4000)),
    "long train": offload(Train(version=6, payload_bytes=60_000, segment_bytes=1400)),
}
NUMBER_BYTES = 4
LARGEST_SINGLE_BYTES = len(VLAN) + 1400 + NUMBER_BYTES


@dataclass(frozen=True)
class ArrivingFrames:
    """Frames that come together."""

    kind: str
    count: int = 1
    padding_bytes: int = 0


@dataclass(frozen=True)
class Wait:
    """Time in which nothing comes."""

    nanoseconds: int


@dataclass(frozen=True)
class Refuse:
    """What the master says to the frame it is offered after so many others."""

    outcome: Outcome
    ahead: int


@dataclass(frozen=True)
class SettingChange:
    """Another rate or another queue; None: as before."""

    rate_bits: int | None = None
    queue: Queue | None = None


class Fakes:
    """Edges in memory."""

    def __init__(self) -> None:
        self.source = MemorySource()
        self.sink = MemorySink()

    def offer(self, data: bytes) -> bool:
        """Put a frame into the TAP, which takes all."""
        self.source.frames.append(data)
        return True

    def is_readable(self) -> bool:
        """Whether the TAP would wake the loop."""
        return bool(self.source.frames)

    def is_writable(self) -> bool:
        """Whether the master has room: it said otherwise about one frame only."""
        return True

    def refuse(self, event: Refuse) -> None:
        """Let the master refuse a frame to come."""
        self.sink.refuse[self.sink.offered + event.ahead] = event.outcome

    def make_sink(self) -> MemorySink:
        """Return another master."""
        self.sink = MemorySink()
        return self.sink

    def collect(self) -> list[bytes]:
        """Return what has left since it was last asked for."""
        frames, self.sink.frames = self.sink.frames, []
        return frames


class Sockets:
    """The real edges, on pairs of sockets."""

    def __init__(self) -> None:
        self._tap, theirs = pair()
        self.source = TapSource(theirs.detach(), Slots())
        self._master, self._sink = self._tap, None

    def offer(self, data: bytes) -> bool:
        """Put a frame into the TAP, if there is room."""
        with contextlib.suppress(BlockingIOError):
            return bool(self._tap.send(data))
        return False

    def is_readable(self) -> bool:
        """Whether the TAP would wake the loop."""
        return bool(select.select([self.source.fileno()], [], [], 0)[0])

    def is_writable(self) -> bool:
        """Whether the master has room again."""
        return self._sink is not None and bool(select.select([], [self._sink], [], 0)[1])

    def refuse(self, event: Refuse) -> None:
        """Do nothing: it is the kernel that refuses here."""

    def make_sink(self) -> PacketSink:
        """Return another master, which has little room."""
        self.close_master()
        self._master, theirs = pair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        self._sink = PacketSink(theirs.detach())
        return self._sink

    def collect(self) -> list[bytes]:
        """Return what has left since it was last asked for."""
        frames: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while data := self._master.recv(70_000):
                frames.append(data)
        return frames

    def close_master(self) -> None:
        """Close our end of the master, if there is one yet."""
        if self._master is not self._tap:
            self._master.close()

    def close(self) -> None:
        """Close our ends."""
        self.close_master()
        self._tap.close()


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends that keep frames apart and do not block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return ours, theirs


class HistoryRig:
    """A path between such edges, what it was given, and what left and when."""

    def __init__(self, options: Options, ends: Fakes | Sockets) -> None:
        self.now_ns = START_NS
        self.offered_packets = 0
        self.left: list[tuple[int, bytes]] = []
        self.burst_bytes = 0  # the largest bucket of all
        self.pause_bytes = 0  # what may leave at once after a pause
        self.rates: list[tuple[int, int]] = []  # bits per second, and from when on
        self._row = memoryview(bytearray(SLOT_WORDS * WORD_BYTES)).cast("Q")
        self.path = Path(ends.source, self._row, b"")
        self._ends = ends
        self._number = 0
        self._options = options
        self._surplus_bytes = self._unit_bytes = 0
        self._configure(options)
        self._bind()
        self._run()

    def happen(self, event: object) -> None:
        """Let one thing happen, and the path be run where the loop would."""
        match event:
            case ArrivingFrames():
                self._arrive(event)
                return
            case Wait():
                self._advance(self.now_ns + event.nanoseconds)
                return
            case Refuse():
                self._ends.refuse(event)
                return
            case SettingChange():
                self._change(event)
            case "flush":
                self.path.flush()
            case "absorb":
                self.path.absorb()
            case "bind":
                self._bind()
            case "unbind":
                self._collect()
                self.path.bind(None)
        self._run()

    def finish(self) -> None:
        """Let a master without faults have what waits, for as long as it takes."""
        self._bind()
        self._configure(replace(self._options, rate_bits=10**10))
        self._run()
        self._advance(self.now_ns + SECOND_NS)

    @property
    def left_packets(self) -> int:
        """How many wire frames have left."""
        return sum(measure(data)[1] for _, data in self.left)

    @property
    def lost_packets(self) -> int:
        """How many wire frames are counted as lost, under whatever reason."""
        return sum(self.count(reason) for reason in DROP_REASONS)

    def count(self, name: str) -> int:
        """Return a counter of the path's row."""
        return self._row[FIELDS.index(name)]

    def excess_bits(self) -> int:
        """Return the most that left in any window beyond what the rate earned in it."""
        worst = excess = 0
        before_ns = START_NS
        for now_ns, data in self.left:
            excess = max(0, excess - self._earned_bits(before_ns, now_ns))
            excess += measure(data)[0] * 8
            worst, before_ns = max(worst, excess), now_ns
        return worst

    def _earned_bits(self, begin_ns: int, end_ns: int) -> int:
        """Return what the rates earned in some time, a microsecond's worth of which is given."""
        starts = [start_ns for start_ns, _ in self.rates]
        earned = 0
        for (start_ns, rate_bits), stop_ns in zip(self.rates, [*starts[1:], end_ns], strict=True):
            passed_ns = min(stop_ns, end_ns) - max(start_ns, begin_ns)
            earned += max(0, passed_ns) * rate_bits
        return -(-earned // SECOND_NS)

    def _arrive(self, arrival: ArrivingFrames) -> None:
        """Offer frames, each with a number behind its padding."""
        for _ in range(arrival.count):
            data = KINDS[arrival.kind]
            if arrival.kind in SINGLES:
                data += bytes(arrival.padding_bytes) + self._number.to_bytes(NUMBER_BYTES, "big")
            if self._ends.offer(data):
                self._number += 1
                self.offered_packets += measure(data)[1]

    def _change(self, change: SettingChange) -> None:
        rate_bits = change.rate_bits or self._options.rate_bits
        queue = change.queue or self._options.queue
        self._configure(replace(self._options, rate_bits=rate_bits, queue=queue))

    def _configure(self, options: Options) -> None:
        made = make_settings(options, MTU)
        assert isinstance(made, Settings)
        largest_bytes = max(made.unit_bytes, LARGEST_SINGLE_BYTES)
        self._unit_bytes = max(self._unit_bytes, largest_bytes)
        self._surplus_bytes = max(self._surplus_bytes, made.burst_bytes - made.unit_bytes)
        self.burst_bytes = self._unit_bytes + self._surplus_bytes
        # A departure is up to two steps late, of which one may be saved, and a round more.
        round_bytes = -(-options.rate_bits * 2 * ROUND_NS // (8 * SECOND_NS))
        least_bytes = -(-options.rate_bits * LEAST_STEP_NS // (8 * SECOND_NS))
        step_bytes = max(made.idle_bytes, least_bytes)
        # And sparse flows, which all are that begin, may owe so much more.
        self.pause_bytes = self._unit_bytes + 2 * step_bytes + round_bytes + made.reserve_bytes
        self._options = options
        self.rates.append((self.now_ns // TICK_NS * TICK_NS, options.rate_bits))
        self.path.configure(made, self.now_ns)

    def _bind(self) -> None:
        self._collect()
        self.path.bind(self._ends.make_sink())

    def _run(self) -> None:
        self.wants = self.path.run(self.now_ns)
        self._collect()
        self.now_ns += ROUND_NS

    def _collect(self) -> None:
        tick_ns = self.now_ns // TICK_NS * TICK_NS
        self.left += [(tick_ns, data) for data in self._ends.collect()]

    def _is_woken(self) -> bool:
        wants = self.wants
        if wants.wants_room and self._ends.is_writable():
            self.path.unblock()
            return True
        is_due = wants.deadline_ns is not None and wants.deadline_ns <= self.now_ns
        return is_due or (wants.wants_frames and self._ends.is_readable())

    def _advance(self, end_ns: int) -> None:
        """Let time pass as the loop does."""
        for _ in range(MOST_ROUNDS):
            if self._is_woken():
                self._run()
                continue
            deadline_ns = self.wants.deadline_ns
            if deadline_ns is None or deadline_ns > end_ns:
                self.now_ns = max(self.now_ns, end_ns)
                return
            self.now_ns = max(self.now_ns, deadline_ns)
        raise AssertionError("the path never comes to rest")


def numbers(rig: HistoryRig) -> list[int]:
    """Return the numbers of the frames that left, in order; those of trains bear none."""
    singles = [data for _, data in rig.left if data.startswith(ETHERNET)]
    return [int.from_bytes(data[-NUMBER_BYTES:], "big") for data in singles]
