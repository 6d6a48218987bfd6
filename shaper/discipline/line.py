"""The link behind the bucket: holds each frame for its delay, and loses, doubles or damages it.

    bucket --enter--> [cut, loss, corruption, duplication] --> under way --leave--> master

The law: a frame leaves at the earliest when its delay has passed, and frames leave in the order
in which they entered, whatever the jitter: one that would arrive before its predecessor arrives
with it. Only `reorder` makes a frame overtake. What a frame meets is decided when it enters, so a
change of the options concerns later frames only: one that is under way neither is lost nor
overtaken.

Decisions are made frame by frame as on the wire: an offload frame is cut first, unless a fixed
delay is all there is. What is under way is limited; what exceeds the limit is dropped and counted
as `line`, what the link lost as `loss`.

Time is nanoseconds, passed in as `now_ns`. An object of this class exists only where something is
set that is not the default.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random

from shaper.discipline.chance import Chance, DelayProcess, Fate, generator, make_loss
from shaper.line_options import FRAME_OVERHEAD_BYTES, LineOptions
from shaper.packet.checksum import flip_bit
from shaper.packet.frame import Frame
from shaper.packet.segment import split

# What is decided for each frame, by a sequence of its own: fields of `LineOptions`.
_DECISIONS = ("delay", "loss", "duplicate", "corrupt", "reorder")


class _Decisions:
    """What is decided for each frame, each by a sequence of its own."""

    delay: DelayProcess
    doubles: Chance
    damages: Chance
    bits: Random
    _overtakes: Chance

    def __init__(self) -> None:
        self.loses: Fate | None = None
        self._since_reordered = 0

    def begin(self, options: LineOptions, keys: Iterable[str]) -> None:
        """Begin some of the sequences."""
        for key in keys:
            random = generator(options, key)
            match key:
                case "delay":
                    self.delay = DelayProcess(options.delay, random)
                case "loss":
                    self.loses = make_loss(options.loss, random) if options.loss else None
                case "duplicate":
                    self.doubles = Chance(options.duplicate, random)
                case "corrupt":
                    self.damages = Chance(options.corrupt, random)
                    self.bits = generator(options, "bit")
                case _:
                    self._overtakes = Chance(options.reorder, random)

    def is_overtaking(self, gap: int) -> bool:
        """Whether the next frame overtakes: every `gap`-th may, with its probability."""
        self._since_reordered += 1
        if self._since_reordered < gap or not self._overtakes():
            return False
        self._since_reordered = 0
        return True


class Line:
    """Frames under way.

    Args:
        options: what happens to them.
        limit: how many bytes of memory they may take (`LineOptions.limit_bytes`).

    Attributes:
        backlog_bytes: wire bytes under way.
        backlog_packets: wire frames under way.
        dropped: wire frames lost as the link was told to (`loss`), and because too much was under
            way (`line`).
        altered: wire frames that were doubled or damaged, or overtook others.
    """

    def __init__(self, options: LineOptions, limit: int) -> None:
        self.backlog_bytes = self.backlog_packets = 0
        self.dropped = {"loss": 0, "line": 0}
        self.altered = {"duplicated": 0, "corrupted": 0, "reordered": 0}
        self._under_way: deque[tuple[int, Frame]] = deque()
        self._held_bytes = 0
        self._latest_ns = 0  # when the last of them leaves
        self._limit_bytes = limit
        self._options = options
        self._decisions = _Decisions()
        self._decisions.begin(options, _DECISIONS)

    def configure(self, options: LineOptions, limit: int) -> None:
        """Change what happens to frames that enter from now on.

        What does not change goes on: a loss is not drawn from its beginning again because the
        delay has another value.
        """
        self._limit_bytes = limit
        before, self._options = self._options, options
        is_anew = options.seed != before.seed
        self._decisions.begin(
            options,
            [
                key
                for key in _DECISIONS
                if is_anew or getattr(before, key) != getattr(options, key)
            ],
        )

    def enter(self, frames: Iterable[Frame], now_ns: int) -> list[Frame]:
        """Take in frames that leave the bucket; return those that overtake all others now."""
        if not self._options.is_by_frame:
            for frame in frames:
                self._hold(frame, now_ns + self._decisions.delay.next_ns())
            return []
        ahead: list[Frame] = []
        for frame in frames:
            for each in split(frame):
                self._meet(each, now_ns, ahead)
        return ahead

    def leave(self, now_ns: int) -> list[Frame]:
        """Return the frames that are due, in order."""
        left = []
        under_way = self._under_way
        while under_way and under_way[0][0] <= now_ns:
            left.append(self._release(under_way.popleft()[1]))
        return left

    def next_ns(self) -> int | None:
        """Return when the next frame leaves; None while there is none."""
        return self._under_way[0][0] if self._under_way else None

    def drain(self) -> list[Frame]:
        """Return all frames under way, in order, and hold none."""
        frames = [frame for _, frame in self._under_way]
        self._under_way.clear()
        self.backlog_bytes = self.backlog_packets = self._held_bytes = 0
        return frames

    def _meet(self, frame: Frame, now_ns: int, ahead: list[Frame]) -> None:
        """Let one wire frame meet what the link has for it."""
        options, decisions = self._options, self._decisions
        if decisions.loses is not None and decisions.loses():
            self.dropped["loss"] += frame.packets
            return
        if options.corrupt and decisions.damages():
            self.altered["corrupted"] += 1
            damaged = flip_bit(frame.data, decisions.bits.getrandbits(32))
            frame = Frame(damaged, frame.wire_bytes, frame.packets)
        copies = 1
        if options.duplicate and decisions.doubles():
            self.altered["duplicated"] += 1
            copies = 2
        if options.reorder and decisions.is_overtaking(options.reorder_gap):
            self.altered["reordered"] += 1
            ahead += [frame] * copies
            return
        leaves_ns = now_ns + decisions.delay.next_ns()
        for _ in range(copies):
            self._hold(frame, leaves_ns)

    def _hold(self, frame: Frame, leaves_ns: int) -> None:
        held_bytes = self._held_bytes + FRAME_OVERHEAD_BYTES + len(frame.data)
        if held_bytes > self._limit_bytes:
            self.dropped["line"] += frame.packets
            return
        # A frame never leaves before one that entered earlier.
        self._latest_ns = leaves_ns if not self._under_way else max(leaves_ns, self._latest_ns)
        self._under_way.append((self._latest_ns, frame))
        self._held_bytes = held_bytes
        self.backlog_bytes += frame.wire_bytes
        self.backlog_packets += frame.packets

    def _release(self, frame: Frame) -> Frame:
        self._held_bytes -= FRAME_OVERHEAD_BYTES + len(frame.data)
        self.backlog_bytes -= frame.wire_bytes
        self.backlog_packets -= frame.packets
        return frame
