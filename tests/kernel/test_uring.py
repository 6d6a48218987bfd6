"""A TAP is read through an io_uring, where the kernel gives one, as it is without."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import Pair
from shaper.forwarder.ports import MAX_BATCH
from shaper.forwarder.uring_slots import UringSlots
from shaper.kernel.tap import Tap
from tests.kernel.steps import SHAPER, shape

MORE = 40


def numbered(count: int) -> list[bytes]:
    """Return frames of an experimental protocol, each with its number."""
    head = b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5"
    return [head + number.to_bytes(2, "big").ljust(60) for number in range(count)]


@pytest.fixture
def slots() -> UringSlots:
    """Return slots with a ring, if the kernel gives one."""
    try:
        return UringSlots()
    except OSError as error:
        pytest.skip(f"needs io_uring: {error}")


def test_frames_of_a_tap_are_read_in_order(pair: Pair, slots: UringSlots) -> None:
    """A batch by the ring holds each frame that waits, and a removed device answers EBADFD."""
    frames = numbered(MAX_BATCH + MORE)
    with pair.host.enter(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        tap = Tap(SHAPER)
        descriptor = tap.lend()
        pair.host.ip(f"link set {SHAPER} addrgenmode none", f"link set {SHAPER} up")
        sender.bind((SHAPER, 0))
        for frame in frames:
            sender.send(frame)
        assert slots.fill(descriptor, MAX_BATCH) == 0
        read = slots.take()
        assert slots.fill(descriptor, MAX_BATCH) == errno.EAGAIN
        assert [data[10:] for data in read + slots.take()] == frames
        pair.host.ip(f"link delete {SHAPER}")
        assert slots.fill(descriptor, MAX_BATCH) == errno.EBADFD
    slots.uring.close()
    os.close(descriptor)


def test_a_forwarder_has_a_ring(pair: Pair, slots: UringSlots) -> None:
    """Where the tests may have one, the forwarder of a daemon with a log in a file does too."""
    slots.uring.close()
    with Shaperd(pair.host) as daemon:
        shape(daemon, pair)
        (pid,) = daemon.forwarder_pids()
        held = []
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                held.append(str(each.readlink()))
        assert "anon_inode:[io_uring]" in held
