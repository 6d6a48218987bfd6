"""The loop obeys the supervisor and moves frames, with sockets in the place of devices."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from shaper.channel import messages
from shaper.channel.board import MAX_SHAPERS
from shaper.channel.messages import (
    Absorb,
    Begin,
    Bind,
    Close,
    Flush,
    Open,
    Order,
    Ping,
    ReadFailed,
    Rings,
    Serve,
    Unbind,
)
from shaper.forwarder.path_states import PathState
from shaper.model import RING_ROW_BYTES, Framing, Queue, RingWord
from tests.unit.loop_rig import FAST, PULSE, SECONDS, SLOW, LoopRig, RigWire, frame


@pytest.fixture
def rig() -> Iterator[LoopRig]:
    """Run a loop without paths."""
    with LoopRig() as rig:
        yield rig


def test_frames_pass(rig: LoopRig) -> None:
    """What is put into the TAP leaves through the master, untouched, in order, and is counted."""
    wire = rig.path()
    frames = [frame(number) for number in range(20)]
    for each in frames:
        wire.tap.send(each)
    assert wire.received(20) == frames
    rig.until(lambda: rig.count("sent_packets") == 20)
    assert rig.count("sent_bytes") == 20 * 800


def test_frames_leave_at_their_time(rig: LoopRig) -> None:
    """The timer wakes the loop for a frame that had to wait, and not before it is paid for."""
    wire = rig.path(settings=replace(SLOW, rate_bits=320_000))
    before_ns = time.monotonic_ns()
    for number in range(4):
        wire.tap.send(frame(number))
    assert wire.received(4) == [frame(number) for number in range(4)]
    paid_for_ns = (4 * 800 - 1514) * 8 * 10**9 // 320_000
    assert time.monotonic_ns() - before_ns >= paid_for_ns


@pytest.mark.parametrize("missing", ["settings", "master"])
def test_a_path_that_is_not_complete_holds_its_frames(rig: LoopRig, missing: str) -> None:
    """Without a speed or a master frames wait in the TAP, and leave when it has both."""
    wire, other = rig.path(), rig.wire()
    if missing == "settings":
        assert rig.configure(None) is None
    else:
        assert rig.ask(Unbind(0)) is None
        assert wire.received(1) == [b""], "the master's socket is closed"
    wire.tap.send(frame(1))
    assert rig.ask(Ping()) is None
    assert _seen(rig) == 0
    assert rig.bind(other) is None
    assert rig.configure(FAST) is None
    assert other.received(1) == [frame(1)]


def test_another_master_gets_what_comes_next(rig: LoopRig) -> None:
    """A path that is bound again sends to the new master alone, and lets go of the old one."""
    wire, other = rig.path(), rig.wire()
    assert rig.bind(other) is None
    wire.tap.send(frame(1))
    assert other.received(1) == [frame(1)]
    assert wire.received(1) == [b""]


def test_flushing_drops_and_counts(rig: LoopRig) -> None:
    """What waits, in the queue or in the TAP, is dropped as `flush`; what comes later is not."""
    wire = rig.path(settings=SLOW)
    for number in range(3):
        wire.tap.send(frame(number))
    assert wire.received(1) == [frame(0)]
    assert rig.ask(Flush(0)) is None
    assert rig.count("flush") == 2
    assert rig.count("backlog_packets") == 0
    assert rig.configure(FAST) is None
    wire.tap.send(frame(9))
    assert wire.received(1) == [frame(9)]


def test_absorbing_empties_the_tap(rig: LoopRig) -> None:
    """A path that is full reads its TAP all the same when told to, and loses nothing of it."""
    wire = rig.path(settings=replace(SLOW, limit_packets=2))
    frames = _fill(rig, wire, lambda: rig.count("backlog_packets") == 2)
    assert wire.received(1) == [frame(0)]
    assert rig.ask(Absorb(0)) is None
    wire.tap.send(frame(frames))
    assert rig.configure(FAST) is None
    assert wire.received(frames) == [frame(number) for number in range(1, frames + 1)]


def test_closing_lets_go_of_everything(rig: LoopRig) -> None:
    """Both descriptors are closed, and slot and descriptor numbers are free for another path."""
    wire, next_wire = rig.path(settings=SLOW), rig.wire()
    for number in range(3):
        wire.tap.send(frame(number))
    assert wire.received(1) == [frame(0)]
    assert rig.ask(Close(0)) is None
    assert wire.tap.recv(1) == b""
    assert wire.received(1) == [b""]
    assert rig.ask(Flush(0)) is not None
    rig.path(wire=next_wire).tap.send(frame(7))
    assert next_wire.received(1) == [frame(7)]


def test_a_closed_path_counts_no_more(rig: LoopRig) -> None:
    """A deadline that comes after its path was closed does not write to the row it had."""
    wire = rig.path(settings=replace(SLOW, rate_bits=320_000))
    for number in range(4):
        wire.tap.send(frame(number))
    assert wire.received(1) == [frame(0)]
    assert rig.ask(Close(0)) is None
    rig.board.clear(0)
    end_ns = time.monotonic_ns() + 100_000_000  # the last frame was to leave within 42 ms
    rig.until(lambda: time.monotonic_ns() > end_ns)
    assert rig.count("sent_packets") == 0


def test_paths_do_not_know_of_each_other(rig: LoopRig) -> None:
    """One that waits, is flushed and closed, leaves the other as it was."""
    slow, fast = rig.path(0, SLOW), rig.path(1, FAST)
    for number in range(3):
        slow.tap.send(frame(number))
        fast.tap.send(frame(number))
    assert fast.received(3) == [frame(0), frame(1), frame(2)]
    assert rig.ask(Flush(0)) is None
    assert rig.ask(Close(0)) is None
    fast.tap.send(frame(3))
    assert fast.received(1) == [frame(3)]
    assert rig.count("flush", 1) == 0


@pytest.mark.parametrize(
    "order", [Flush(3), Close(3), Unbind(3), Open(0), Bind(0, Framing.ETHERNET), Begin(PULSE)]
)
def test_what_cannot_be_obeyed_is_refused_and_changes_nothing(rig: LoopRig, order: Order) -> None:
    """An unknown slot, or a descriptor lost on its way, is answered with a reason."""
    wire = rig.path()
    assert rig.ask(order)
    wire.tap.send(frame(1))
    assert wire.received(1) == [frame(1)]


@pytest.mark.parametrize("order", [Bind(3, Framing.ETHERNET), Open(9999), Begin(9999)])
def test_a_refused_descriptor_is_closed(rig: LoopRig, order: Order) -> None:
    """What holds the other end sees end of file; what a path uses stays open."""
    wire = rig.path()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(SECONDS)
    with ours:
        with theirs:
            assert rig.ask(order, theirs.fileno())
        assert ours.recv(1) == b""
    wire.tap.send(frame(1))
    assert wire.received(1) == [frame(1)]


def test_rings_are_metered_in_the_rows_of_its_place(rig: LoopRig) -> None:
    """Those of other places, which one that stands by has too, are let go of when it serves."""
    descriptors = [os.memfd_create("rows") for _ in range(2)]
    for place, descriptor in enumerate(descriptors):
        os.ftruncate(descriptor, MAX_SHAPERS * RING_ROW_BYTES)
        assert rig.ask(Rings(place), descriptor) is None
    rows = [mmap.mmap(each, MAX_SHAPERS * RING_ROW_BYTES) for each in descriptors]
    words = [memoryview(each).cast("Q")[2 * 8 : 3 * 8] for each in rows]
    assert rig.ask(Serve(1)) is None
    wire = rig.path(2, replace(FAST, queue=Queue.FQ_CODEL))
    words[1][RingWord.ENTERED] = 5
    wire.tap.send(frame(1))
    assert wire.received(1) == [frame(1)]
    wire.tap.send(frame(2))
    rig.until(lambda: words[1][RingWord.READ] == 5)
    assert words[1][RingWord.THRESHOLD] > 0
    assert bytes(words[0]) == bytes(RING_ROW_BYTES)
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_lost_descriptor_is_named(rig: LoopRig) -> None:
    """Too many descriptors is what an administrator can do something about."""
    assert "ulimit -n" in str(rig.ask(Open(0)))


def test_a_full_master_is_waited_for(rig: LoopRig) -> None:
    """What its socket has no room for waits, in the TAP too, and leaves in order, all of it."""
    wire = rig.path()
    frames = _fill(rig, wire, lambda: rig.loop.paths[0].state is PathState.BLOCKED)
    assert rig.count("sent_packets") < frames
    assert wire.received(frames) == [frame(number) for number in range(frames)]
    rig.until(lambda: rig.count("sent_packets") == frames)


def test_a_full_master_may_be_replaced(rig: LoopRig) -> None:
    """A path that waits for room is not left waiting for a socket that is closed."""
    wire, other = rig.path(), rig.wire()
    _fill(rig, wire, lambda: rig.loop.paths[0].state is PathState.BLOCKED)
    sent = rig.count("sent_packets")
    assert rig.bind(other) is None
    assert other.received(1) == [frame(sent)]


def _fill(rig: LoopRig, wire: RigWire, is_stuck: Callable[[], bool]) -> int:
    """Put frames into a TAP until nothing moves any more; return how many."""
    wire.tap.setblocking(False)
    frames = 0
    deadline = time.monotonic() + SECONDS
    while not is_stuck():
        assert time.monotonic() < deadline, "there is room for everything"
        frames = _fill_tap(wire, frames)
        assert rig.ask(Ping()) is None
    assert rig.ask(Ping()) is None
    return _fill_tap(wire, frames)


def _fill_tap(wire: RigWire, frames: int) -> int:
    with contextlib.suppress(BlockingIOError):
        while True:
            wire.tap.send(frame(frames))
            frames += 1
    return frames


def test_deadlines_do_not_pile_up(rig: LoopRig) -> None:
    """A path that runs often while its deadlines stay the same is in the heap once for each.

    There are two: the next frame's, and that of what `show` has of delays.
    """
    wire = rig.path(settings=SLOW)
    for number in range(100):
        wire.tap.send(frame(number))
        rig.until(lambda number=number: _seen(rig) == number + 1)
    rig.end.close()
    rig.wait_for_end()
    assert len(rig.loop._deadlines) == 2


def _seen(rig: LoopRig) -> int:
    return rig.count("backlog_packets") + rig.count("sent_packets")


def test_the_end_of_the_channel_ends_the_loop(rig: LoopRig) -> None:
    """A supervisor that is gone, or went while it was answered, leaves no forwarder behind."""
    rig.end.close()
    rig.wait_for_end()


def test_a_supervisor_that_does_not_wait_for_its_answer(rig: LoopRig) -> None:
    """It went with a question under way: the loop ends without a traceback."""
    for serial in range(100, 110):
        messages.send_order(rig.end, serial, Ping())
    rig.end.close()
    rig.wait_for_end()


@pytest.mark.parametrize("number", [errno.EIO, errno.EBADFD, errno.EINVAL])
def test_a_tap_that_cannot_be_read_is_left_alone_and_comes_back(
    rig: LoopRig, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It is tried a few times a second, counted and told of once; then all frames leave."""
    wire = rig.path()
    descriptor = rig.loop.paths[0].source.fileno()
    failures: list[int] = []
    read, readv = os.read, os.readv
    is_broken = threading.Event()

    def fail(asked: int) -> None:
        if asked == descriptor and is_broken.is_set():
            failures.append(asked)
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "read", lambda fd, size: (fail(fd), read(fd, size))[1])
    monkeypatch.setattr(os, "readv", lambda fd, vector: (fail(fd), readv(fd, vector))[1])
    is_broken.set()
    frames = [frame(each) for each in range(5)]
    for each in frames:
        wire.tap.send(each)
    rig.until(lambda: len(failures) >= 4)
    assert len(failures) < 10
    is_broken.clear()
    assert wire.received(5) == frames
    assert rig.ask(Ping()) is None
    assert rig.notices == [ReadFailed(0, number)]
    assert rig.count("error") == (number != errno.EBADFD)


def test_a_path_that_runs_shows_in_the_pulse(rig: LoopRig) -> None:
    """The supervisor tells a busy forwarder from a stuck one by it."""
    wire = rig.path()
    before = rig.board.pulse(PULSE)
    wire.tap.send(frame(1))
    assert wire.received(1) == [frame(1)]
    rig.until(lambda: rig.board.pulse(PULSE) > before)


def test_a_slot_may_be_opened_anew(rig: LoopRig) -> None:
    """The path that was there lets go of its descriptors, and the new one goes on counting."""
    wire = rig.path()
    wire.tap.send(frame(1))
    assert wire.received(1) == [frame(1)]
    other = rig.path()
    assert wire.received(1) == [b""]
    other.tap.send(frame(2))
    assert other.received(1) == [frame(2)]
    rig.until(lambda: rig.count("sent_packets") == 2)
