"""Slots hold a batch of frames where it was read, and send it from there."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from shaper.forwarder.ports import MAX_BATCH, Measure
from shaper.forwarder.slots import Slots
from shaper.packet.frame import parse_all
from tests.unit.strategies import Train, offload

VNET = bytes(10)
FRAME = VNET + bytes(12) + b"\x08\x00\x45" + bytes(99)
SIX = VNET + bytes(12) + b"\x86\xdd\x60" + bytes(5) + b"\x11" + bytes(100)
ARP = VNET + bytes(12) + b"\x08\x06" + bytes(28)
DISCOVERY = VNET + bytes(12) + b"\x86\xdd\x60" + bytes(5) + b"\x3a\xff" + bytes(32) + b"\x87" * 30


class Ends:
    """A device to read from and one to send to, as pairs of sockets."""

    def __init__(self) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
        (self.source, self.tap), (self.master, self.sink) = pairs
        for each in (*pairs[0], *pairs[1]):
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)

    def fill(self, slots: Slots, frames: list[bytes], limit: int = MAX_BATCH) -> int:
        """Let frames be read; return what ended it."""
        for frame in frames:
            self.source.send(frame)
        return slots.fill(self.tap.fileno(), limit)

    def arrived(self, count: int) -> list[bytes]:
        """Return what was sent."""
        return [self.master.recv(70_000) for _ in range(count)]

    def close(self) -> None:
        """Close all ends."""
        for each in (self.source, self.tap, self.master, self.sink):
            each.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Return the ends of a path."""
    ends = Ends()
    yield ends
    ends.close()


def test_a_batch_leaves_as_it_came(ends: Ends) -> None:
    """Every length, byte for byte and in order, and a shorter batch after a longer one."""
    slots = Slots()
    for lengths in ((60, 1524, 11, 65_000), (80, 20), (1,)):
        frames = [bytes([number + 1]) * length for number, length in enumerate(lengths)]
        assert ends.fill(slots, frames) == errno.EAGAIN
        assert slots.count == len(frames)
        assert slots.take() == frames
        assert slots.send(ends.sink.fileno()) == (len(frames), 0)
        assert ends.arrived(len(frames)) == frames


def test_no_more_is_read_than_asked_for(ends: Ends) -> None:
    """The rest waits in the device for the next batch."""
    slots = Slots()
    frames = [FRAME + bytes([number]) for number in range(5)]
    assert ends.fill(slots, frames, limit=3) == 0
    assert slots.take() == frames[:3]
    assert ends.fill(slots, []) == errno.EAGAIN
    assert slots.take() == frames[3:]


def test_a_batch_is_bounded_in_bytes_too(ends: Ends) -> None:
    """Large frames make a short batch, and none is lost."""
    slots = Slots()
    frames = [bytes([number]) * 65_000 for number in range(6)]
    assert ends.fill(slots, frames) == 0
    first = slots.take()
    assert 2 <= len(first) < 6
    ends.fill(slots, [])
    assert first + slots.take() == frames


@pytest.mark.parametrize("frames", [[FRAME], [FRAME, FRAME + b"12"], [SIX], [FRAME, SIX]])
@pytest.mark.parametrize("removed", [0, 14])
def test_a_batch_measures_what_its_frames_do(
    ends: Ends, frames: list[bytes], removed: int
) -> None:
    """Of IPv4, of IPv6 and of both, with the header that the master transmits and without."""
    slots = Slots()
    ends.fill(slots, frames)
    wire = [frame.wire_bytes for frame in parse_all(frames, removed)[0]]
    assert slots.measure(removed) == Measure(len(frames), sum(wire), wire[-1], max(wire))


def test_offload_frames_count_their_segments(ends: Ends) -> None:
    """One among others makes the batch as large as what it becomes on the wire."""
    slots = Slots()
    train = offload(Train(payload_bytes=3000))
    frames = [FRAME, train]
    ends.fill(slots, frames)
    parsed, _ = parse_all(frames)
    wire = [frame.wire_bytes for frame in parsed]
    assert slots.measure(0) == Measure(4, sum(wire), wire[1], wire[1])


@pytest.mark.parametrize("neighbour", [ARP, DISCOVERY])
def test_a_batch_with_neighbour_traffic_has_no_measure(ends: Ends, neighbour: bytes) -> None:
    """It may not leave as a whole, wherever in it that frame is."""
    slots = Slots()
    for frames in ([neighbour], [FRAME, neighbour], [neighbour, FRAME]):
        ends.fill(slots, frames)
        assert slots.measure(0) is None


def test_a_full_master_says_how_far_it_came(ends: Ends) -> None:
    """EAGAIN and the number of frames that were sent; the rest is still in the slots."""
    slots = Slots()
    frames = [bytes([number + 1]) * 100 for number in range(MAX_BATCH)]
    sent = number = 0
    while number == 0:
        ends.fill(slots, frames)
        sent, number = slots.send(ends.sink.fileno())
    assert number == errno.EAGAIN
    assert sent < MAX_BATCH
    assert slots.take()[sent:] == frames[sent:]
