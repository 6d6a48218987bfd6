"""The program that shares out a TAP's ring, in the kernel: its verifier takes it, and it works."""

from __future__ import annotations

import mmap
import os
import select
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from shaper.channel.bell import Bell
from shaper.kernel import bpf, ring_program
from shaper.kernel.programs import encode
from shaper.kernel.ring_bell import PLACE_BYTES
from shaper.kernel.ring_caps import RingCaps
from shaper.kernel.ring_program import CAP_FRAMES, PLACES
from shaper.kernel.tap import Tap
from shaper.model import RING_ROW_BYTES, RING_WORD_BYTES, RingWord
from tests.unit.test_ring_program import ARP, IPV4, IPV6, SOURCES, VLAN, four, six

ROW, ROWS = 3, 64
KEY = 0x1E3779B1
PASSED = -1
MACHINE_NS = 10**10


class LoadedProgram:
    """The program, loaded, and the row that it shares."""

    def __init__(self) -> None:
        rows = {"key_bytes": 4, "value_bytes": RING_ROW_BYTES, "entries": ROWS}
        self._rows = bpf.create_map(bpf.Map.ARRAY, "test", **rows, is_shared=True)
        flows = {"key_bytes": 4, "value_bytes": PLACE_BYTES, "entries": PLACES}
        self._flows = bpf.create_map(bpf.Map.ARRAY, "test", **flows)
        self._caps = RingCaps(1, 1)
        bell = self._caps.bells[0] if self._caps.bells else None
        self.bell = Bell(os.dup(bell)) if bell is not None else None
        code = encode(ring_program.cap(ROW, self._rows, self._flows, KEY, bell))
        self._program = bpf.load("test", code, bpf.ProgramKind.SOCKET_FILTER)
        memory = mmap.mmap(self._rows, ROWS * RING_ROW_BYTES)
        words = RING_ROW_BYTES // RING_WORD_BYTES
        self.row = memoryview(memory).cast("Q")[ROW * words : (ROW + 1) * words]

    def close(self) -> None:
        """Let go of it."""
        for each in (self._program, self._flows, self._rows):
            os.close(each)
        if self.bell is not None:
            self.bell.close()
        self._caps.close()

    def successor(self) -> Bell:
        """Return the bell as another forwarder maps it."""
        return Bell(os.dup(self._caps.bells[0]))

    def rings(self, port: int, payload_bytes: int = 0) -> bool:
        """Set the bell, and return whether a frame of a flow rings it."""
        self.row[RingWord.BELL] = 1
        assert self.comes(four(port=port) + bytes(payload_bytes), IPV4) == PASSED
        return not self.row[RingWord.BELL]

    def stand(self) -> None:
        """Let the ring stand, with a lease, and two flows in it."""
        self.row[RingWord.ENTERED] = 1000
        self.row[RingWord.UNTIL_NS] = time.monotonic_ns() + MACHINE_NS
        self.row[RingWord.OTHER_SEEN_NS] = time.monotonic_ns()

    def comes(self, data: bytes, protocol: bytes) -> int:
        """Return the verdict on a frame.

        A test run takes off a header for the type of it, which a TAP does not: so there are two.
        """
        return bpf.run(self._program, bytes(12) + protocol + data)[0]


@pytest.fixture
def program() -> Iterator[LoadedProgram]:
    """Load the program."""
    try:
        loaded = LoadedProgram()
    except PermissionError:
        pytest.skip("needs CAP_BPF, outside of a user namespace")
    yield loaded
    loaded.close()


@pytest.mark.parametrize(("make", "protocol"), [(four, IPV4), (six, IPV6)], ids=["IPv4", "IPv6"])
def test_a_flow_has_its_cap_and_another_is_not_held_up(
    program: LoadedProgram, make: Callable[..., bytes], protocol: bytes
) -> None:
    """In a ring that stands; what enters is counted, and what is dropped is not."""
    program.stand()
    assert [program.comes(make(), protocol) for _ in range(100)].count(PASSED) == CAP_FRAMES
    assert program.row[RingWord.ENTERED] == 1000 + CAP_FRAMES
    assert program.comes(make(port=7), protocol) == PASSED


def test_everything_passes_while_the_ring_does_not_stand(program: LoadedProgram) -> None:
    """Nor does a flow that is alone meet a cap, or what is not IP, or too short."""
    assert [program.comes(four(), IPV4) for _ in range(100)].count(PASSED) == 100
    program.stand()
    program.row[RingWord.OTHER_SEEN_NS] = 0
    assert [program.comes(four(SOURCES[1]), IPV4) for _ in range(100)].count(PASSED) == 100
    program.stand()
    for data, protocol in ((four(), ARP), (four(), VLAN), (bytes(20), IPV4)):
        assert [program.comes(data, protocol) for _ in range(100)].count(PASSED) == 100


@pytest.fixture
def bell(program: LoadedProgram) -> Bell:
    """Return the bell that the program rings."""
    if program.bell is None:
        pytest.skip("needs Linux 5.8")
    return program.bell


def test_a_sparse_flow_rings_and_wakes_and_bulk_does_not(
    program: LoadedProgram, bell: Bell
) -> None:
    """Once for each time that it is set; it is readable until that was taken."""
    with select.epoll() as epoll:
        epoll.register(bell.fileno(), select.EPOLLIN)
        before_ns = time.monotonic_ns()
        assert program.rings(port=1)
        assert program.comes(four(port=2), IPV4) == PASSED
        assert epoll.poll(1) == [(bell.fileno(), select.EPOLLIN)]
        (call,) = bell.take()
        assert call.row == ROW
        assert before_ns <= call.at_ns <= time.monotonic_ns()
        assert not program.rings(port=3, payload_bytes=1500)
        assert epoll.poll(0) == []
    program.stand()
    program.row[RingWord.READ] = 100
    assert program.rings(port=4)
    assert [each.row for each in bell.take()] == [ROW]


@pytest.mark.parametrize("said", [8, 25, 2**63, 2**64 - 8])
def test_no_lie_outlasts_a_forwarder(program: LoadedProgram, bell: Bell, said: int) -> None:
    """Of how far it has read: else the bell would be readable for ever, or never ring again."""
    assert program.rings(port=1)
    descriptor = bell.fileno()
    with mmap.mmap(descriptor, mmap.PAGESIZE) as reader:
        reader[:8] = said.to_bytes(8, sys.byteorder)
    successor = program.successor()
    successor.begin()
    with select.epoll() as epoll:
        epoll.register(successor.fileno(), select.EPOLLIN)
        assert epoll.poll(0) == []
        assert program.rings(port=2)
        assert [each.row for each in successor.take()] == [ROW]
        assert epoll.poll(0) == []
    successor.close()


def test_a_bell_that_is_full_rings_again_once_it_was_read(
    program: LoadedProgram, bell: Bell
) -> None:
    """What rang meanwhile passed as ever."""
    rung = sum(program.rings(port) for port in range(300))
    assert rung > 250
    assert 100 < len(bell.take()) < rung
    assert program.rings(port=1000)
    assert len(bell.take()) == 1


def test_programs_are_put_on_and_taken_off() -> None:
    """Again and again, also what another daemon has put there."""
    caps = RingCaps(1, ROWS)
    if caps.refusal:
        pytest.skip(caps.refusal)
    tap = Tap("shaper0")
    try:
        for _ in range(2):
            caps.put_on(tap, 0, ROW)
        caps.take_off(tap)
        caps.take_off(tap)
    finally:
        tap.remove()
        caps.close()
