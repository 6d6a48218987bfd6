"""A forwarder's loop in a thread, with sockets in the place of devices."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from shaper.channel import messages
from shaper.channel.board import Board
from shaper.channel.messages import (
    Begin,
    Bind,
    Configure,
    Done,
    Notice,
    Open,
    Order,
    Ping,
)
from shaper.forwarder.loop import Loop
from shaper.model import Framing, Queue, Settings

PULSE = 3  # its row
SECONDS = 5.0  # for anything that is owed within a round
HEADER = bytes(10) + bytes(12) + b"\x08\x00"  # of virtio-net, and of Ethernet with IPv4
FAST = Settings(
    rate_bits=10**10,
    unit_bytes=1514,
    burst_bytes=10**6,
    queue=Queue.FIFO,
    limit_packets=1000,
    ticks_per_second=1000,
)
SLOW = replace(FAST, rate_bits=8, burst_bytes=1514)  # a frame in a quarter of an hour


def frame(number: int) -> bytes:
    """Return a frame of 800 bytes on the wire, as a TAP gives it."""
    return HEADER + number.to_bytes(2, "big") + bytes(784)


class RigWire:
    """Our ends of what a path reads and writes: `tap` is put into, `master` is taken from."""

    def __init__(self) -> None:
        self.tap, self.tap_theirs = _pair()
        self.tap_theirs.setblocking(False)
        self.master, self.master_theirs = _pair()
        self.master_theirs.setblocking(False)  # as the supervisor opens it

    def received(self, frames: int) -> list[bytes]:
        """Return so many frames that left."""
        return [self.master.recv(2000) for _ in range(frames)]

    def close(self) -> None:
        """Close all ends."""
        for each in (self.tap, self.tap_theirs, self.master, self.master_theirs):
            each.close()


class LoopRig:
    """A loop in a thread, the supervisor's end of its channel, and the notices it sent."""

    def __init__(self) -> None:
        self.end, self._theirs = messages.pair()
        self.end.settimeout(SECONDS)
        self.board = Board.create(4)
        self.loop = Loop(self._theirs)
        self._thread = threading.Thread(target=self.loop.run)
        self._serial = 0
        self._wires: list[RigWire] = []
        self.notices: list[Notice] = []

    def __enter__(self) -> LoopRig:
        self._thread.start()
        assert self.ask(Begin(PULSE), self.board.descriptor) is None
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end.close()
        self.wait_for_end()
        self._theirs.close()
        for path in self.loop.paths.values():
            path.close()
        for wire in self._wires:
            wire.close()

    def wire(self) -> RigWire:
        """Return a TAP and a master that are not given to a path yet."""
        self._wires.append(RigWire())
        return self._wires[-1]

    def ask(self, order: Order, descriptor: int | None = None) -> str | None:
        """Have an order carried out; return why it was not, or None."""
        self._serial += 1
        messages.send_order(self.end, self._serial, order, descriptor)
        while not isinstance(answer := messages.receive_report(self.end), Done):
            assert answer is not None
            self.notices.append(answer)
        assert answer.serial == self._serial
        return answer.failed

    def until(self, is_so: Callable[[], bool]) -> None:
        """Let rounds go by until something holds."""
        deadline = time.monotonic() + SECONDS
        while not is_so():
            assert time.monotonic() < deadline, "it never came to that"
            assert self.ask(Ping()) is None

    def path(
        self, slot: int = 0, settings: Settings = FAST, wire: RigWire | None = None
    ) -> RigWire:
        """Open, configure and bind a path, as the supervisor does."""
        wire = wire or self.wire()
        assert self.ask(Open(slot), wire.tap_theirs.fileno()) is None
        assert self.configure(settings, slot) is None
        assert self.bind(wire, slot) is None
        wire.tap_theirs.close()
        return wire

    def configure(self, settings: Settings | None, slot: int = 0) -> str | None:
        """Change the settings of a path."""
        return self.ask(Configure(slot, settings))

    def bind(self, wire: RigWire, slot: int = 0) -> str | None:
        """Let a path send to the master of this wire."""
        answer = self.ask(Bind(slot, Framing.ETHERNET), wire.master_theirs.fileno())
        wire.master_theirs.close()
        return answer

    def count(self, field: str, slot: int = 0) -> int:
        """Return a counter."""
        return self.board.read(slot)[field]

    def wait_for_end(self) -> None:
        """Return once the loop has ended; fail if it does not."""
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


def _pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends that keep frames apart; ours gives up after a while."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(SECONDS)
    return ours, theirs
