"""sendmmsg hands over every message whole and in order, and says which one was refused."""

from __future__ import annotations

import errno
import os
import socket
import tracemalloc
from collections.abc import Iterator

import pytest

from shaper.forwarder.edges import PacketSink
from shaper.forwarder.ports import Outcome
from shaper.forwarder.sendmmsg import Messages


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return two connected datagram sockets; the one that is sent on blocks."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_every_length_arrives_as_it_was(ends: tuple[socket.socket, socket.socket]) -> None:
    """Frames of all kinds of length, with zero bytes in them, in one call and in order."""
    ours, theirs = ends
    batch = [bytes([number]) * length for number, length in enumerate((1, 10, 60, 1524, 20_000))]
    batch.append(b"a\0b\0")
    assert Messages(8).send(ours.fileno(), batch) == (len(batch), 0)
    assert [theirs.recv(65_536) for _ in batch] == batch


def test_room_is_used_again(ends: tuple[socket.socket, socket.socket]) -> None:
    """A shorter batch after a longer one sends nothing of the longer one."""
    ours, theirs = ends
    messages = Messages(4)
    messages.send(ours.fileno(), [b"1", b"2", b"3", b"4"])
    assert messages.send(ours.fileno(), [b"five"]) == (1, 0)
    assert [theirs.recv(10) for _ in range(5)] == [b"1", b"2", b"3", b"4", b"five"]
    with pytest.raises(BlockingIOError):
        theirs.recv(10)


def test_a_full_socket_says_how_far_it_came(ends: tuple[socket.socket, socket.socket]) -> None:
    """EAGAIN and the number of messages sent before it: none is sent twice, none is lost."""
    ours, theirs = ends
    messages, sent, number = Messages(64), 0, 0
    while number == 0:
        done, number = messages.send(ours.fileno(), [sent.to_bytes(4, "big")] * 64)
        sent += done
    assert number == errno.EAGAIN
    for _ in range(sent):
        theirs.recv(10)
    with pytest.raises(BlockingIOError):
        theirs.recv(10)


@pytest.mark.parametrize("number", [1, 4, 5, 64])
def test_a_sink_sends_few_frames_as_it_sends_many(
    ends: tuple[socket.socket, socket.socket], number: int
) -> None:
    """In order, until the socket is full: what was sent is said, and nothing is sent twice."""
    ours, theirs = ends
    sink = PacketSink(os.dup(ours.fileno()))
    frames, outcome, sent = [b"%d" % each for each in range(number)], Outcome.SENT, number
    received = []
    try:
        while outcome is Outcome.SENT:
            assert sent == number
            sent, outcome = sink.write(frames)
            received += frames[:sent]
        assert outcome is Outcome.BLOCKED
        assert sent < number
        assert [theirs.recv(10) for _ in received] == received
        with pytest.raises(BlockingIOError):
            theirs.recv(10)
    finally:
        sink.close()


def test_a_sink_says_which_of_few_frames_was_refused(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """What went before it has left, and what comes after it has not."""
    ours, theirs = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5000)
    sink = PacketSink(os.dup(ours.fileno()))
    try:
        assert sink.write([b"1", bytes(60_000), b"2"]) == (1, Outcome.OVERSIZE)
        assert theirs.recv(10) == b"1"
        with pytest.raises(BlockingIOError):
            theirs.recv(10)
    finally:
        sink.close()


def test_a_sink_takes_little_memory(ends: tuple[socket.socket, socket.socket]) -> None:
    """There may be thousands in a forwarder: what is used for one batch only, they share."""
    number = 50
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        sinks = [PacketSink(os.dup(ends[0].fileno())) for _ in range(number)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for sink in sinks:
        sink.close()
    assert after - before < number * 2000


def test_no_send_waits(ends: tuple[socket.socket, socket.socket]) -> None:
    """Another forwarder may have made the socket block that both have: none sleeps for it."""
    ours, _ = ends
    sink = PacketSink(os.dup(ours.fileno()))
    try:
        while (outcome := sink.write_one(b"frame")) is Outcome.SENT:
            pass
        assert outcome is Outcome.BLOCKED
        assert sink.write([b"frame"]) == (0, Outcome.BLOCKED)
    finally:
        sink.close()
