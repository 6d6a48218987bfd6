"""Slots with an io_uring hold what slots without one would, and the ring can do nothing else."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shaper.forwarder.ports import MAX_BATCH
from shaper.forwarder.slots import Slots
from shaper.forwarder.uring import Uring
from shaper.forwarder.uring_slots import UringSlots, make_slots

SLOT_BYTES = 4096
SLOTS = 4
# include/uapi/linux/io_uring.h
NR_REGISTER = 427
OFF_SQES = 0x10000000
OP_NOP, OP_READ_FIXED, OP_WRITE_FIXED, OP_SEND = 0, 4, 5, 26
FIXED_FILE, ASYNC = 1 << 0, 1 << 4


class SocketTap:
    """A device to read from, as a pair of sockets that keep the bounds of frames."""

    def __init__(self) -> None:
        self.sender, self.tap = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for each in (self.sender, self.tap):
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)

    def put(self, frames: list[bytes]) -> None:
        """Have frames wait."""
        for frame in frames:
            self.sender.send(frame)


@pytest.fixture
def wire() -> Iterator[SocketTap]:
    """Return a device."""
    wire = SocketTap()
    yield wire
    wire.sender.close()
    wire.tap.close()


@pytest.fixture
def slots() -> Iterator[UringSlots]:
    """Return slots with a ring, if the kernel gives one."""
    try:
        slots = UringSlots()
    except OSError as error:
        pytest.skip(f"needs io_uring: {error}")
    yield slots
    slots.uring.close()


@pytest.fixture
def ring() -> Iterator[Uring]:
    """Return a small ring, if the kernel gives one."""
    try:
        ring = Uring(mmap.mmap(-1, SLOTS * SLOT_BYTES), SLOT_BYTES)
    except OSError as error:
        pytest.skip(f"needs io_uring: {error}")
    yield ring
    ring.close()


def make_busy(slots: UringSlots, wire: SocketTap) -> None:
    """Have the next batch be read through the ring."""
    wire.put([b"x"] * MAX_BATCH)
    assert slots.fill(wire.tap.fileno(), MAX_BATCH) == 0


def test_batches_are_those_that_readv_would_read(slots: UringSlots, wire: SocketTap) -> None:
    """In order and byte for byte, by every limit, with the errno that ended each."""
    chance, plain, beside = random.Random(1), Slots(), SocketTap()
    for _ in range(200):
        lengths = [chance.choice((1, 74, 1524)) for _ in range(chance.choice((0, 3, 40, 130)))]
        frames = [os.urandom(length) for length in lengths]
        limit = chance.choice((1, 16, 17, 50, MAX_BATCH))
        for each in (wire, beside):
            each.put(frames)
        while plain.fill(beside.tap.fileno(), limit) == 0 or plain.count:
            slots.fill(wire.tap.fileno(), limit)
            assert slots.take() == plain.take()
            assert slots.is_drained == plain.is_drained
        assert slots.fill(wire.tap.fileno(), limit) == errno.EAGAIN
        assert (slots.count, slots.is_drained) == (0, True)
    beside.sender.close()
    beside.tap.close()


def test_a_busy_device_is_read_through_the_ring(
    slots: UringSlots, wire: SocketTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a batch of many small frames no readv is called; after few or large ones it is."""
    make_busy(slots, wire)
    monkeypatch.setattr(os, "readv", None)
    wire.put([b"y"] * 20)
    assert slots.fill(wire.tap.fileno(), MAX_BATCH) == errno.EAGAIN
    assert slots.count == 20
    wire.put([bytes(60_000)] * 20)
    slots.fill(wire.tap.fileno(), MAX_BATCH)
    assert slots.take() == [bytes(60_000)] * 20
    monkeypatch.undo()
    wire.put([bytes(60_000)] * 20)
    slots.fill(wire.tap.fileno(), MAX_BATCH)
    assert 2 <= slots.count < 20


def test_two_devices_take_turns(slots: UringSlots, wire: SocketTap) -> None:
    """Each batch is of the device that it was asked of."""
    other = SocketTap()
    make_busy(slots, wire)
    for _ in range(3):
        for each, data in ((wire, b"one"), (other, b"two")):
            each.put([data] * 20)
            slots.fill(each.tap.fileno(), MAX_BATCH)
            assert slots.take() == [data] * 20
    other.sender.close()
    other.tap.close()


def test_a_frame_that_came_between_two_reads_closes_up(
    slots: UringSlots, wire: SocketTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that found nothing, before one that found a frame, leaves no gap; all is in order."""
    make_busy(slots, wire)
    results = [3, -errno.EAGAIN, 2, 4, -errno.EAGAIN]
    slots.put([b"abc", b"---", b"de", b"fghi"])
    monkeypatch.setattr(slots.uring, "read", lambda *_: list(results))
    assert slots.fill(wire.tap.fileno(), MAX_BATCH) == errno.EAGAIN
    assert slots.take() == [b"abc", b"de", b"fghi"]
    assert slots.is_drained


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EBADFD])
def test_what_the_ring_cannot_read_is_read_without_it(
    slots: UringSlots, wire: SocketTap, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A first read that is refused is left to readv, which says what is the matter, if it is."""
    make_busy(slots, wire)
    monkeypatch.setattr(slots.uring, "read", lambda *_: [-number])
    wire.put([b"frame"] * 20)
    assert slots.fill(wire.tap.fileno(), MAX_BATCH) == errno.EAGAIN
    assert slots.take() == [b"frame"] * 20


def test_a_kernel_short_of_memory_is_asked_again(
    slots: UringSlots, wire: SocketTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer results than reads are a batch that ended early; what was not read still waits."""
    make_busy(slots, wire)
    monkeypatch.setattr(slots.uring, "read", lambda *_: [])
    wire.put([b"frame"] * 20)
    assert slots.fill(wire.tap.fileno(), MAX_BATCH) == errno.EAGAIN
    assert (slots.count, slots.is_drained) == (0, True)
    monkeypatch.undo()
    slots.fill(wire.tap.fileno(), MAX_BATCH)
    assert slots.take() == [b"frame"] * 20


def test_a_released_device_is_closed(slots: UringSlots, wire: SocketTap) -> None:
    """The ring keeps no file open, and another under the same number is read."""
    other = SocketTap()
    make_busy(slots, wire)
    wire.put([b"x"] * 20)
    slots.fill(wire.tap.fileno(), MAX_BATCH)
    number = wire.tap.fileno()
    slots.release(number)
    wire.tap.close()
    wire.sender.setblocking(True)
    wire.sender.settimeout(5)
    assert wire.sender.recv(1) == b""
    os.dup2(other.tap.fileno(), number)
    make_busy(slots, other)
    other.put([b"other"] * 20)
    slots.fill(number, MAX_BATCH)
    assert slots.take() == [b"other"] * 20
    slots.release(number)
    os.close(number)
    other.sender.close()
    other.tap.close()


def test_requests_may_go_around_the_ring(ring: Uring, wire: SocketTap) -> None:
    """Any number, also where the queues begin anew, and again when nothing waits."""
    assert ring.admit(wire.tap.fileno())
    for count in (1, 2, 3, 4, 3, 2, 4, 1, 3) * 5:
        wire.put([bytes(each + 1) for each in range(count)])
        assert ring.read(wire.tap.fileno(), count) == list(range(1, count + 1))
        assert ring.read(wire.tap.fileno(), count) == [-errno.EAGAIN] * count


@pytest.mark.parametrize(
    ("operation", "flags"),
    [
        (OP_NOP, FIXED_FILE),
        (OP_WRITE_FIXED, FIXED_FILE),
        (OP_SEND, FIXED_FILE),
        (OP_READ_FIXED, 0),
        (OP_READ_FIXED, FIXED_FILE | ASYNC),
    ],
    ids=["nothing", "write", "send", "read any descriptor", "read in a thread"],
)
def test_the_ring_refuses_all_else(
    ring: Uring, wire: SocketTap, operation: int, flags: int
) -> None:
    """A request that is no read of a registered file is refused by the kernel."""
    assert ring.admit(wire.tap.fileno())
    wire.put([b"frame"])
    requests = mmap.mmap(ring.fileno(), mmap.PAGESIZE, offset=OFF_SQES)
    requests[0], requests[1] = operation, flags
    assert ring.read(wire.tap.fileno(), 1) == [-errno.EACCES]
    requests[0], requests[1] = OP_READ_FIXED, FIXED_FILE
    assert ring.read(wire.tap.fileno(), 1) == [5]


@pytest.mark.parametrize("operation", [0, 1, 2, 4, 9, 11, 12, 16, 20, 22])
def test_nothing_but_files_can_be_registered(ring: Uring, operation: int) -> None:
    """Neither memory nor anything else, and the restrictions are never lifted."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(NR_REGISTER, ring.fileno(), operation, bytes(16), 1) == -1
    assert ctypes.get_errno() == errno.EACCES


def test_a_log_that_can_be_read_leaves_the_forwarder_without_a_ring(tmp_path: Path) -> None:
    """A terminal is read and written; what is typed there is not the forwarder's to read."""
    main, terminal = os.openpty()
    assert type(make_slots(terminal)) is Slots
    os.close(terminal)
    os.close(main)
    with (tmp_path / "log").open("ab") as log:
        slots = make_slots(log.fileno())
        if isinstance(slots, UringSlots):  # unless the kernel gives none
            slots.uring.close()


def test_without_io_uring_there_are_slots_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel, container or limit that refuses a ring costs speed and nothing else."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "refused")

    monkeypatch.setattr(Uring, "__init__", refuse)
    with (tmp_path / "log").open("ab") as log:
        assert type(make_slots(log.fileno())) is Slots
