"""Frames of a loop are found by their lengths, and those of other traffic are not taken for it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from itertools import count

import pytest

from shaper.forwarder.tunnel_loop import LoopWatch
from tests.unit.path_rig import VNET

MS = 1_000_000
MTU = 1500
HEADERS = 10 + 14

_identifications = count()


def packet(length: int, host: int = 1, *, fragment: int = 0, protocol: int = 17) -> bytes:
    """Return an IPv4 packet of so many bytes, header included, as it is read from a TAP."""
    identification = next(_identifications) % 65536
    header = bytes([0x45, 0]) + length.to_bytes(2) + identification.to_bytes(2)
    header += fragment.to_bytes(2)
    header += bytes([64, protocol]) + bytes(2) + bytes(4) + bytes([10, 9, 0, host])
    return VNET + bytes(12) + b"\x08\x00" + header + bytes(length - 20)


def six(length: int) -> bytes:
    """Return the same of IPv6."""
    header = bytes([0x60]) + bytes(5) + bytes([17, 64]) + bytes(31) + b"\x01"
    return VNET + bytes(12) + b"\x86\xdd" + header + bytes(length - 40)


def fragments(length: int) -> Iterator[bytes]:
    """Return the packets that a packet of the tunnel leaves in."""
    if length <= MTU:
        yield packet(length, 77)
        return
    most = (MTU - 20) // 8 * 8
    payload, offset = length - 20, 0
    while payload > 0:
        size = min(payload, most)
        payload -= size
        yield packet(size + 20, 77, fragment=offset // 8 | (0x2000 if payload else 0))
        offset += size


class TunnelLoop:
    """A shaper and a tunnel whose far end is routed over it.

    Args:
        added_bytes: by encapsulation.
        block_bytes: the tunnel pads to multiples of it.
        loss: the share of frames that are lost on their way round.
    """

    def __init__(self, added_bytes: int, block_bytes: int = 1, loss: float = 0.0) -> None:
        self.watch = LoopWatch()
        self.queue: deque[bytes] = deque()
        self.sent = self.dropped = 0
        self.now_ns = 0
        self._added, self._block, self._loss = added_bytes, block_bytes, loss
        self._chance = random.Random(1)

    def put(self, data: bytes) -> None:
        """Let a frame arrive."""
        self.watch.now_ns = self.now_ns
        if self.watch.is_returning(data):
            self.dropped += 1
        else:
            self.queue.append(data)

    def turn(self) -> None:
        """Send a frame, and let what the tunnel makes of it arrive."""
        self.now_ns += MS // 16
        data = self.queue.popleft()
        self.watch.now_ns = self.now_ns
        self.watch.sent([data])
        self.sent += 1
        if self._chance.random() >= self._loss:
            inner = -(-(len(data) - HEADERS) // self._block) * self._block
            for each in fragments(inner + self._added):
                self.put(each)

    def spin(self, most: int = 5000) -> bool:
        """Turn until nothing is left; return whether that came about."""
        while self.queue and self.sent < most:
            self.turn()
        return not self.queue


TUNNELS = [(20, 1), (24, 1), (28, 1), (50, 1), (60, 16), (77, 16), (80, 1), (133, 8)]


@pytest.mark.parametrize(("added", "block"), TUNNELS)
def test_one_ping_ends(added: int, block: int) -> None:
    """Whatever the tunnel adds, a single packet is sent a dozen times and a few more."""
    loop = TunnelLoop(added, block)
    loop.put(packet(84, protocol=1))
    assert loop.spin()
    assert loop.sent <= 40
    assert loop.dropped > 0


@pytest.mark.no_cover  # three times as long beside coverage
@pytest.mark.parametrize(("added", "block"), TUNNELS)
@pytest.mark.parametrize("length", [40, 576, 1400, 1500])
@pytest.mark.parametrize("frames", [5, 30])
def test_a_burst_ends(added: int, block: int, length: int, frames: int) -> None:
    """So do many at once, full ones that come back as fragments too."""
    loop = TunnelLoop(added, block)
    for _ in range(frames):
        loop.put(packet(length, protocol=6))
    assert loop.spin()


@pytest.mark.parametrize("loss", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("length", [84, 1400])
def test_a_ring_that_loses_frames_ends(length: int, loss: float) -> None:
    """A loop is found although some of its frames are lost."""
    loop = TunnelLoop(60, 16, loss)
    for _ in range(20):
        loop.put(packet(length, protocol=1))
    assert loop.spin()


def test_mixed_traffic_in_a_ring_ends() -> None:
    """Frames of all lengths that go round together are found as well."""
    loop = TunnelLoop(28)
    lengths = random.Random(3)
    for _ in range(40):
        loop.put(packet(lengths.randrange(40, 1500), lengths.randrange(1, 9), protocol=6))
    assert loop.spin()


def test_what_is_found_is_let_go_after_a_while() -> None:
    """A second later the same flow passes, until it is shown to be a loop again."""
    loop = TunnelLoop(28)
    for _ in range(3):
        loop.put(packet(84, protocol=1))
    assert loop.spin()
    assert loop.watch.has_news
    loop.watch.now_ns += 500 * MS
    assert loop.watch.is_returning(packet(700, 77))
    loop.watch.now_ns += 1000 * MS
    assert not loop.watch.is_returning(packet(700, 77))


def test_ipv6_loop() -> None:
    """IPv6 is told apart in the same way."""
    watch, length = LoopWatch(), 104
    for turn in range(50):
        data = six(length)
        watch.now_ns = turn * MS
        if watch.is_returning(data):
            return
        watch.sent([data])
        length += 48
    pytest.fail("not found")


def constant(chance: random.Random) -> bytes:
    """Return a frame of a bulk flow."""
    return packet(1500, 1)


def two_streams(chance: random.Random) -> bytes:
    """Return one of two streams, of which one could be the other in a tunnel."""
    return chance.choice([packet(1340, 1), packet(1400, 2)])


def three_lengths(chance: random.Random) -> bytes:
    """Return a frame of a flow of lengths at equal distances, as of video."""
    return packet(chance.choice([1280, 1340, 1400]), 1)


def blocks(chance: random.Random) -> bytes:
    """Return a frame of a flow that is padded to blocks, as of another tunnel."""
    return packet(60 + 16 * chance.randrange(1, 90), 1)


def anything(chance: random.Random) -> bytes:
    """Return a frame of any length, of a few flows."""
    return packet(chance.randrange(28, 1501), chance.randrange(4))


def duplex(chance: random.Random) -> bytes:
    """Return data or acknowledgement, of many connections."""
    return packet(chance.choice([52, 64, 1500]), chance.randrange(200), protocol=6)


@pytest.mark.no_cover  # three times as long beside coverage
@pytest.mark.parametrize(
    "traffic", [constant, two_streams, three_lengths, blocks, anything, duplex]
)
@pytest.mark.parametrize("waiting", [0, 1, 3, 60])
def test_ordinary_traffic_is_no_ring(traffic, waiting: int) -> None:  # type: ignore[no-untyped-def]
    """No frame is dropped of floods of any make, with queues of any length."""
    watch, chance = LoopWatch(), random.Random(waiting)
    queue: deque[bytes] = deque()
    for turn in range(6000):
        data = traffic(chance)
        watch.now_ns = turn * MS // 10
        assert not watch.is_returning(data)
        queue.append(data)
        while len(queue) > waiting:
            watch.sent([queue.popleft()])


@pytest.mark.no_cover  # three times as long beside coverage
@pytest.mark.parametrize("waiting", [0, 1, 3, 60])
@pytest.mark.parametrize("payload", [1480, 1500, 1600, 2900, 8000])
def test_fragments_of_one_size_are_no_loop(payload: int, waiting: int) -> None:
    """A flow of datagrams that leave in fragments: 1528 bytes are 1500 in a tunnel of 28."""
    watch = LoopWatch()
    queue: deque[bytes] = deque()
    for turn in range(2000):
        for data in fragments(payload + 28):
            watch.now_ns = turn * MS // 10
            assert not watch.is_returning(data)
            queue.append(data)
        while len(queue) > waiting:
            watch.sent([queue.popleft()])


@pytest.mark.parametrize("step", [8, 28, 60])
@pytest.mark.parametrize("pause_ns", [MS, 200 * MS])
def test_pings_of_growing_length_are_no_loop(step: int, pause_ns: int) -> None:
    """A sweep of lengths, a step each time that the last was answered, did not come back."""
    watch = LoopWatch()
    for _ in range(20):
        for length in range(64, 1500, step):
            data = packet(length, 3, protocol=1)
            watch.now_ns += pause_ns
            assert not watch.is_returning(data)
            watch.sent([data])


def test_memory_is_bounded() -> None:
    """Traffic between any number of hosts is remembered for the last few alone."""
    watch = LoopWatch()
    for host in range(5000):
        data = packet(100, host % 250, protocol=host // 250)
        watch.now_ns = host
        assert not watch.is_returning(data)
        watch.sent([data])
    assert len(watch._flows) <= 64
    assert len(watch._sent) <= 1024


@pytest.mark.parametrize("step", [20, 75, 100])
def test_a_program_that_tries_lengths_is_no_loop(step: int) -> None:
    """Datagrams that grow by a step, each after the last was sent: one in a while is lost."""
    watch, lost = LoopWatch(), 0
    for length in [*range(28, 1500, step)] * 10:
        watch.now_ns += MS // 10
        data = packet(length, 3)
        if watch.is_returning(data):
            lost += 1
        else:
            watch.sent([data])
    assert lost <= 1 + watch.now_ns // (1000 * MS)
