"""What a client sends along is closed where it keeps no caller waiting."""

from __future__ import annotations

import asyncio
import os
import socket
import threading

import pytest

from shaper.control.closer import Closer, accepts_descriptors, bytes_without_descriptors
from tests.unit.instantly import instantly

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Pair:
    """Return the ends of a client and of ours, as before Linux 6.16."""
    client, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    assert accepts_descriptors(ours)
    return client, ours


def test_descriptors_are_seen_before_they_are_taken(pair: Pair) -> None:
    """In the first piece or behind others."""
    client, ours = pair
    with pytest.raises(BlockingIOError):
        bytes_without_descriptors(ours, 4096)
    client.send(b"abc")
    assert bytes_without_descriptors(ours, 4096) == 3
    socket.send_fds(client, [b"de"], [client.fileno()])
    assert bytes_without_descriptors(ours, 4096) is None
    ours.recv(3)
    assert bytes_without_descriptors(ours, 4096) is None
    client.close()
    ours.close()


def test_the_end_is_no_bytes(pair: Pair) -> None:
    """A client that has gone is read as such."""
    client, ours = pair
    client.close()
    assert bytes_without_descriptors(ours, 4096) == 0
    ours.close()


@instantly
async def test_what_holds_nothing_is_closed_at_once(pair: Pair) -> None:
    """And no thread is made for it."""
    client, ours = pair
    closed = asyncio.Event()
    before = threading.active_count()
    Closer().close(ours, closed.set)
    assert closed.is_set()
    assert threading.active_count() == before
    client.close()


def test_what_may_hold_descriptors_is_closed_elsewhere(pair: Pair) -> None:
    """The caller is told when it is; a descriptor that was sent is closed by then."""
    asyncio.run(close_elsewhere(*pair))


async def close_elsewhere(client: socket.socket, ours: socket.socket) -> None:
    """Close an end with a pipe in it."""
    reading, writing = os.pipe()
    socket.send_fds(client, [b"x"], [writing])
    os.close(writing)
    closed = asyncio.Event()
    closer = Closer()
    closer.close(ours, closed.set)
    assert ours.fileno() == -1
    await asyncio.wait_for(closed.wait(), 5)
    assert os.read(reading, 1) == b""
    assert not closer.is_crowded
    os.close(reading)
    client.close()
