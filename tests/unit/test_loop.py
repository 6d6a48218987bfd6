"""The loop obeys the supervisor and moves frames, with sockets in the place of devices."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from shaper.channel import messages
from shaper.channel.board import Board
from shaper.forwarder.loop import Loop
from shaper.forwarder.states import PathState
from shaper.model import Queue, Settings

SECONDS = 5.0  # for anything that is owed within a round
HEADER = bytes(10) + bytes(12) + b"\x08\x00"  # of virtio-net, and of Ethernet with IPv4
FAST = Settings(
    rate_bits=10**10,
    unit_bytes=1514,
    burst_bytes=10**6,
    queue=Queue.FIFO,
    limit_packets=1000,
    hz=1000,
)
SLOW = replace(FAST, rate_bits=8, burst_bytes=1514)  # a frame in a quarter of an hour


def frame(number: int) -> bytes:
    """Return a frame of 800 bytes on the wire, as a TAP gives it."""
    return HEADER + number.to_bytes(2, "big") + bytes(784)


class Wire:
    """Our ends of what a path reads and writes: `tap` is put into, `master` is taken from."""

    def __init__(self) -> None:
        self.tap, self.tap_theirs = _pair()
        self.master, self.master_theirs = _pair()
        self.master_theirs.setblocking(False)  # as the supervisor opens it

    def received(self, frames: int) -> list[bytes]:
        """Return so many frames that left."""
        return [self.master.recv(2000) for _ in range(frames)]

    def close(self) -> None:
        """Close all ends."""
        for each in (self.tap, self.tap_theirs, self.master, self.master_theirs):
            each.close()


class Rig:
    """A loop in a thread, and the supervisor's end of its channel."""

    def __init__(self) -> None:
        self.end, self._theirs = messages.pair()
        self.end.settimeout(SECONDS)
        self.board = Board.create(4)
        self.loop = Loop(self._theirs)
        self._thread = threading.Thread(target=self.loop.run)
        self._serial = 0
        self._wires: list[Wire] = []

    def __enter__(self) -> Rig:
        self._thread.start()
        assert self.ask("board", self.board.descriptor) is None
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end.close()
        self.wait_for_end()
        self._theirs.close()
        for path in self.loop._paths.values():
            path.close()
        for wire in self._wires:
            wire.close()

    def wire(self) -> Wire:
        """Return a TAP and a master that are not given to a path yet."""
        self._wires.append(Wire())
        return self._wires[-1]

    def ask(self, verb: str, descriptor: int | None = None, **fields: Any) -> str | None:
        """Have a message obeyed; return why it was not, or None."""
        self._serial += 1
        messages.send(self.end, {"verb": verb, "serial": self._serial, **fields}, descriptor)
        received = messages.receive(self.end)
        assert received is not None
        answer, _ = received
        assert answer["serial"] == self._serial
        return answer.get("failed")

    def until(self, is_so: Callable[[], bool]) -> None:
        """Let rounds go by until something holds."""
        deadline = time.monotonic() + SECONDS
        while not is_so():
            assert time.monotonic() < deadline, "it never came to that"
            assert self.ask("ping") is None

    def path(self, slot: int = 0, settings: Settings = FAST, wire: Wire | None = None) -> Wire:
        """Open, configure and bind a path, as the supervisor does."""
        wire = wire or self.wire()
        assert self.ask("open", wire.tap_theirs.fileno(), slot=slot) is None
        assert self.configure(settings, slot) is None
        assert self.bind(wire, slot) is None
        wire.tap_theirs.close()
        return wire

    def configure(self, settings: Settings | None, slot: int = 0) -> str | None:
        """Change the settings of a path."""
        return self.ask("configure", slot=slot, settings=messages.pack_settings(settings))

    def bind(self, wire: Wire, slot: int = 0) -> str | None:
        """Let a path send to the master of this wire."""
        answer = self.ask("bind", wire.master_theirs.fileno(), slot=slot, has_header=True)
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


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Run a loop without paths."""
    with Rig() as rig:
        yield rig


def test_frames_pass(rig: Rig) -> None:
    """What is put into the TAP leaves through the master, untouched, in order, and is counted."""
    wire = rig.path()
    frames = [frame(number) for number in range(20)]
    for each in frames:
        wire.tap.send(each)
    assert wire.received(20) == frames
    rig.until(lambda: rig.count("sent_packets") == 20)
    assert rig.count("sent_bytes") == 20 * 800


def test_frames_leave_at_their_time(rig: Rig) -> None:
    """The timer wakes the loop for a frame that had to wait, and not before it is paid for."""
    wire = rig.path(settings=replace(SLOW, rate_bits=320_000))
    before_ns = time.monotonic_ns()
    for number in range(4):
        wire.tap.send(frame(number))
    assert wire.received(4) == [frame(number) for number in range(4)]
    paid_for_ns = (4 * 800 - 1514) * 8 * 10**9 // 320_000
    assert time.monotonic_ns() - before_ns >= paid_for_ns


@pytest.mark.parametrize("missing", ["settings", "master"])
def test_a_path_that_is_not_complete_holds_its_frames(rig: Rig, missing: str) -> None:
    """Without a speed or a master frames wait in the TAP, and leave when it has both."""
    wire, other = rig.path(), rig.wire()
    if missing == "settings":
        assert rig.configure(None) is None
    else:
        assert rig.ask("unbind", slot=0) is None
        assert wire.received(1) == [b""], "the master's socket is closed"
    wire.tap.send(frame(1))
    assert rig.ask("ping") is None
    assert _seen(rig) == 0
    assert rig.bind(other) is None
    assert rig.configure(FAST) is None
    assert other.received(1) == [frame(1)]


def test_another_master_gets_what_comes_next(rig: Rig) -> None:
    """A path that is bound again sends to the new master alone, and lets go of the old one."""
    wire, other = rig.path(), rig.wire()
    assert rig.bind(other) is None
    wire.tap.send(frame(1))
    assert other.received(1) == [frame(1)]
    assert wire.received(1) == [b""]


def test_flushing_drops_and_counts(rig: Rig) -> None:
    """What waits, in the queue or in the TAP, is dropped as `flush`; what comes later is not."""
    wire = rig.path(settings=SLOW)
    for number in range(3):
        wire.tap.send(frame(number))
    assert wire.received(1) == [frame(0)]
    assert rig.ask("flush", slot=0) is None
    assert rig.count("flush") == 2
    assert rig.count("backlog_packets") == 0
    assert rig.configure(FAST) is None
    wire.tap.send(frame(9))
    assert wire.received(1) == [frame(9)]


def test_absorbing_empties_the_tap(rig: Rig) -> None:
    """A path that is full reads its TAP all the same when told to, and loses nothing of it."""
    wire = rig.path(settings=replace(SLOW, limit_packets=2))
    frames = _fill(rig, wire, lambda: rig.count("backlog_packets") == 2)
    assert wire.received(1) == [frame(0)]
    assert rig.ask("absorb", slot=0) is None
    wire.tap.send(frame(frames))
    assert rig.configure(FAST) is None
    assert wire.received(frames) == [frame(number) for number in range(1, frames + 1)]


def test_closing_lets_go_of_everything(rig: Rig) -> None:
    """Both descriptors are closed, and slot and descriptor numbers are free for another path."""
    wire, next_wire = rig.path(settings=SLOW), rig.wire()
    for number in range(3):
        wire.tap.send(frame(number))
    assert wire.received(1) == [frame(0)]
    assert rig.ask("close", slot=0) is None
    assert wire.tap.recv(1) == b""
    assert wire.received(1) == [b""]
    assert rig.ask("flush", slot=0) is not None
    rig.path(wire=next_wire).tap.send(frame(7))
    assert next_wire.received(1) == [frame(7)]


def test_a_closed_path_counts_no_more(rig: Rig) -> None:
    """A deadline that comes after its path was closed does not write to the row it had."""
    wire = rig.path(settings=replace(SLOW, rate_bits=320_000))
    for number in range(4):
        wire.tap.send(frame(number))
    assert wire.received(1) == [frame(0)]
    assert rig.ask("close", slot=0) is None
    rig.board.clear(0)
    end_ns = time.monotonic_ns() + 100_000_000  # the last frame was to leave within 42 ms
    rig.until(lambda: time.monotonic_ns() > end_ns)
    assert rig.count("sent_packets") == 0


def test_paths_do_not_know_of_each_other(rig: Rig) -> None:
    """One that waits, is flushed and closed, leaves the other as it was."""
    slow, fast = rig.path(0, SLOW), rig.path(1, FAST)
    for number in range(3):
        slow.tap.send(frame(number))
        fast.tap.send(frame(number))
    assert fast.received(3) == [frame(0), frame(1), frame(2)]
    assert rig.ask("flush", slot=0) is None
    assert rig.ask("close", slot=0) is None
    fast.tap.send(frame(3))
    assert fast.received(1) == [frame(3)]
    assert rig.count("flush", 1) == 0


@pytest.mark.parametrize(
    ("verb", "fields"),
    [
        ("trace", {"slot": 0}),
        ("trace", {}),
        ("flush", {"slot": 3}),
        ("flush", {}),
        ("close", {"slot": 3}),
        ("configure", {"slot": 0}),
        ("configure", {"slot": 0, "settings": {"queue": "lifo"}}),
        ("open", {"slot": 0}),
        ("bind", {"slot": 0, "has_header": True}),
        ("board", {}),
    ],
)
def test_what_cannot_be_obeyed_is_refused_and_changes_nothing(
    rig: Rig, verb: str, fields: dict[str, Any]
) -> None:
    """An unknown verb or slot, or a descriptor lost on its way, is answered with a reason."""
    wire = rig.path()
    assert rig.ask(verb, **fields)
    wire.tap.send(frame(1))
    assert wire.received(1) == [frame(1)]


@pytest.mark.parametrize(
    ("verb", "fields"),
    [("trace", {"slot": 0}), ("bind", {"slot": 3, "has_header": True}), ("open", {})],
)
def test_a_refused_descriptor_is_closed(rig: Rig, verb: str, fields: dict[str, Any]) -> None:
    """Whoever holds the other end sees end of file; what a path uses stays open."""
    wire = rig.path()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(SECONDS)
    with ours:
        with theirs:
            assert rig.ask(verb, theirs.fileno(), **fields)
        assert ours.recv(1) == b""
    wire.tap.send(frame(1))
    assert wire.received(1) == [frame(1)]


def test_a_lost_descriptor_is_named(rig: Rig) -> None:
    """Too many descriptors is what an administrator can do something about."""
    assert "ulimit -n" in str(rig.ask("open", slot=0))


def test_a_full_master_is_waited_for(rig: Rig) -> None:
    """What its socket has no room for waits, in the TAP too, and leaves in order, all of it."""
    wire = rig.path()
    frames = _fill(rig, wire, lambda: rig.loop._paths[0].state is PathState.BLOCKED)
    assert rig.count("sent_packets") < frames
    assert wire.received(frames) == [frame(number) for number in range(frames)]
    rig.until(lambda: rig.count("sent_packets") == frames)


def test_a_full_master_may_be_replaced(rig: Rig) -> None:
    """A path that waits for room is not left waiting for a socket that is closed."""
    wire, other = rig.path(), rig.wire()
    _fill(rig, wire, lambda: rig.loop._paths[0].state is PathState.BLOCKED)
    sent = rig.count("sent_packets")
    assert rig.bind(other) is None
    assert other.received(1) == [frame(sent)]


def _fill(rig: Rig, wire: Wire, is_stuck: Callable[[], bool]) -> int:
    """Put frames into a TAP until nothing moves any more; return how many."""
    wire.tap.setblocking(False)
    frames = 0
    deadline = time.monotonic() + SECONDS
    while not is_stuck():
        assert time.monotonic() < deadline, "there is room for everything"
        frames = _fill_tap(wire, frames)
        assert rig.ask("ping") is None
    assert rig.ask("ping") is None
    return _fill_tap(wire, frames)


def _fill_tap(wire: Wire, frames: int) -> int:
    with contextlib.suppress(BlockingIOError):
        while True:
            wire.tap.send(frame(frames))
            frames += 1
    return frames


def test_deadlines_do_not_pile_up(rig: Rig) -> None:
    """A path that runs often while its deadline stays the same is in the heap once."""
    wire = rig.path(settings=SLOW)
    for number in range(100):
        wire.tap.send(frame(number))
        rig.until(lambda number=number: _seen(rig) == number + 1)
    rig.end.close()
    rig.wait_for_end()
    assert len(rig.loop._deadlines) == 1


def _seen(rig: Rig) -> int:
    return rig.count("backlog_packets") + rig.count("sent_packets")


def test_the_end_of_the_channel_ends_the_loop(rig: Rig) -> None:
    """A supervisor that is gone, or went while it was answered, leaves no forwarder behind."""
    rig.end.close()
    rig.wait_for_end()


def test_a_supervisor_that_does_not_wait_for_its_answer(rig: Rig) -> None:
    """It went with a question under way: the loop ends without a traceback."""
    for serial in range(100, 110):
        messages.send(rig.end, {"verb": "ping", "serial": serial})
    rig.end.close()
    rig.wait_for_end()
