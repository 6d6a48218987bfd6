"""The program that shares out a TAP's ring, on a machine of the tests' own."""

from __future__ import annotations

import struct

import pytest

from shaper.kernel import ring_program
from shaper.kernel.programs import encode
from shaper.kernel.ring_bell import PLACE_BYTES, SPARSE_BYTES, SPARSE_FRAMES
from shaper.kernel.ring_program import CAP_FRAMES, PLACES, WINDOW_FRAMES, WITH_PORTS
from shaper.model import RING_ROW_BYTES, RingWord
from shaper.packet import flow
from tests.unit.bpf_machine import ARRAYS, Array, Skb, disassemble, run
from tests.unit.ring_program_text import TEXT

ROW, ROWS, FLOWS, BELL, KEY = 5, 11, 12, 13, 0x1E3779B1
PROGRAM = ring_program.cap(ROW, ROWS, FLOWS, KEY, BELL)
CODE = encode(PROGRAM)
NOW_NS = 10**13
SECOND_NS = 10**9
THRESHOLD = 200
PASSED, DROPPED = -1, 0
UDP, TCP, ICMP, GRE = 17, 6, 1, 47
SOURCES = b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"


def four(
    source: bytes = SOURCES[0],
    port: int = 1,
    protocol: int = UDP,
    *,
    fragment: int = 0,
    options: int = 0,
) -> bytes:
    """Return an Ethernet frame with an IPv4 packet; `options` in words."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45 + options, 0, 100, 7, fragment, 64, protocol, 0, source, b"\x0a\x00\x00\x09"),
    )
    return bytes(14) + header + bytes(4 * options) + struct.pack("!HH", port, 9) + bytes(8)


def six(source: int = 1, port: int = 1, protocol: int = UDP) -> bytes:
    """Return an Ethernet frame with an IPv6 packet."""
    header = struct.pack("!IHBB", 6 << 28, 12, protocol, 64)
    addresses = bytes(15) + bytes([source]) + bytes(15) + b"\x09"
    return bytes(14) + header + addresses + struct.pack("!HH", port, 9) + bytes(8)


IPV4, IPV6, ARP, VLAN = b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x81\x00"


class StandingRing:
    """A ring that stands, with the lease of a forwarder that is behind."""

    def __init__(self, waiting: int = THRESHOLD + 1, read: int = 5 * WINDOW_FRAMES) -> None:
        self.rows = Array(ARRAYS, RING_ROW_BYTES)
        self.flows = Array(2 * ARRAYS, PLACE_BYTES)
        self.now_ns = NOW_NS
        self.code = CODE
        self.rung: list[tuple[int, bytes, int]] = []
        self[RingWord.READ] = read
        self[RingWord.ENTERED] = read + waiting
        self[RingWord.THRESHOLD] = THRESHOLD
        self[RingWord.UNTIL_NS] = NOW_NS + 1

    def __getitem__(self, word: RingWord) -> int:
        return self.rows.word(ROW, 8 * word)

    def __setitem__(self, word: RingWord, value: int) -> None:
        self.rows.set_word(ROW, 8 * word, value)

    def comes(self, data: bytes, protocol: bytes = IPV4) -> int | None:
        """Return the verdict on a frame."""
        arrays = {ROWS: self.rows, FLOWS: self.flows}
        skb = Skb(data, protocol=protocol, now_ns=self.now_ns, arrays=arrays)
        verdict = run(self.code, skb)
        self.rung += skb.rung
        return verdict

    def rings_for(self, data: bytes, protocol: bytes = IPV4) -> bool:
        """Set the bell; return whether a frame rings it, and passes."""
        self[RingWord.BELL] = 1
        before = len(self.rung)
        assert self.comes(data, protocol) == PASSED
        assert (self[RingWord.BELL] == 0) == (len(self.rung) == before + 1)
        return len(self.rung) > before

    def passed(self, data: bytes, protocol: bytes = IPV4, *, frames: int = 100) -> int:
        """Return how many of equal frames pass."""
        return [self.comes(data, protocol) for _ in range(frames)].count(PASSED)


@pytest.fixture
def ring() -> StandingRing:
    """Return a ring that stands, in which two flows were seen lately."""
    ring = StandingRing()
    ring[RingWord.OTHER_SEEN_NS] = NOW_NS
    return ring


def test_the_program_is_what_its_text_says() -> None:
    """The bytes, disassembled as bpftool would, are these instructions."""
    assert disassemble(CODE) == TEXT.splitlines()


def test_every_instruction_says_what_it_is_for() -> None:
    """So that the program can be read."""
    assert all(each.why for each in PROGRAM)


def test_frames_that_may_wait_are_counted_and_pass() -> None:
    """Up to the threshold every frame does, whatever it is."""
    ring = StandingRing(waiting=THRESHOLD - 3)
    ring[RingWord.OTHER_SEEN_NS] = NOW_NS
    assert ring.passed(four(), frames=4) == 4
    assert ring[RingWord.ENTERED] - ring[RingWord.READ] == THRESHOLD + 1
    assert ring.passed(four(), frames=100) == CAP_FRAMES


def test_a_reader_ahead_of_the_count_lets_all_pass() -> None:
    """It may have read a frame that another processor is about to count."""
    ring = StandingRing(waiting=-3)
    assert ring.passed(four(), frames=50) == 50


def test_a_flow_has_its_part_of_each_window(ring: StandingRing) -> None:
    """So many frames while 256 are read; what is dropped is not counted as waiting."""
    before = ring[RingWord.ENTERED]
    assert ring.passed(four(), frames=1000) == CAP_FRAMES
    assert ring[RingWord.ENTERED] == before + CAP_FRAMES
    ring[RingWord.READ] += WINDOW_FRAMES
    ring[RingWord.ENTERED] += WINDOW_FRAMES
    assert ring.passed(four(), frames=1000) == CAP_FRAMES


def test_a_sparse_flow_is_not_held_up_by_another(ring: StandingRing) -> None:
    """Nor is one of another protocol, port or address."""
    assert ring.passed(four()) == CAP_FRAMES
    for data in (four(port=2), four(SOURCES[1]), four(protocol=ICMP)):
        assert ring.comes(data) == PASSED
    assert ring.passed(six(), IPV6) == CAP_FRAMES
    for data in (six(port=2), six(source=2), six(protocol=58)):
        assert ring.comes(data, IPV6) == PASSED


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        (four(), ARP),
        (four(), VLAN),
        (bytes(14) + b"\x45" + bytes(18), IPV4),
        (bytes(14) + bytes(39), IPV6),
        (bytes(14), b"\x88\xcc"),
    ],
    ids=["ARP", "a tag among its bytes", "short IPv4", "short IPv6", "LLDP"],
)
def test_what_has_no_flow_passes(ring: StandingRing, data: bytes, protocol: bytes) -> None:
    """The host's own questions are never dropped here."""
    assert ring.passed(data, protocol, frames=100) == 100


@pytest.mark.parametrize("fragment", [0x2000, 0x0001, 0x1FFF])
def test_all_fragments_between_two_hosts_are_one_flow(ring: StandingRing, fragment: int) -> None:
    """What lies where ports would be makes no flows of them, in the first of a datagram too."""
    frames = [four(port=port, fragment=fragment) for port in range(100)]
    assert [ring.comes(each) for each in frames].count(PASSED) == CAP_FRAMES


def test_a_frame_that_may_not_be_fragmented_has_ports(ring: StandingRing) -> None:
    """The DF flag is none of a fragment."""
    frames = [four(port=port, fragment=0x4000) for port in range(100)]
    assert [ring.comes(each) for each in frames].count(PASSED) > 90


@pytest.mark.parametrize("protocol", [ICMP, GRE, 58])
def test_what_has_no_ports_goes_by_its_addresses(ring: StandingRing, protocol: int) -> None:
    """An echo's checksum, which differs from frame to frame, makes no flows."""
    frames = [four(port=port, protocol=protocol) for port in range(100)]
    assert [ring.comes(each) for each in frames].count(PASSED) == CAP_FRAMES
    frames = [six(port=port, protocol=protocol) for port in range(100)]
    assert [ring.comes(each, IPV6) for each in frames].count(PASSED) == CAP_FRAMES


def test_ports_are_found_behind_options(ring: StandingRing) -> None:
    """A header of more than five words is skipped; ports cut off are none."""
    frames = [four(port=port, options=3) for port in range(100)]
    assert [ring.comes(each) for each in frames].count(PASSED) > 90
    assert ring.passed(four()[:36]) == CAP_FRAMES


def test_ports_are_what_the_queue_takes_for_ports() -> None:
    """Both know the same protocols."""
    assert set(WITH_PORTS) == flow.WITH_PORTS


def test_flows_spread_over_the_places() -> None:
    """A thousand neighbouring ports lie in as many places as chance would have it, or more."""
    ring = StandingRing()
    places = set()
    for port in range(1000):
        ring.comes(four(port=port))
        places.add(ring[RingWord.FLOW])
        ring.now_ns += 5 * SECOND_NS  # so that each is known anew
        ring[RingWord.UNTIL_NS] = ring.now_ns + 1
    assert max(places) < PLACES
    assert len(places) > 550


def test_a_flow_that_is_alone_has_the_whole_ring() -> None:
    """Neither one that was always alone, nor one that has been for over four seconds."""
    ring = StandingRing()
    assert ring.passed(four(), frames=1000) == 1000
    assert ring.comes(four(SOURCES[1])) == PASSED
    assert ring.passed(four(), frames=1000) == CAP_FRAMES
    ring.now_ns += 5 * SECOND_NS
    ring[RingWord.UNTIL_NS] = ring.now_ns + 1
    assert ring.passed(four(), frames=1000) == 1000


def test_the_flow_that_is_known_may_be_the_sparse_one() -> None:
    """Whichever came first; when it is gone the other is alone."""
    ring = StandingRing()
    assert ring.comes(four(SOURCES[1])) == PASSED
    assert ring.passed(four(), frames=1000) == CAP_FRAMES
    ring.now_ns += 5 * SECOND_NS
    ring[RingWord.UNTIL_NS] = ring.now_ns + 1
    assert ring.passed(four(), frames=1000) == 1000


def test_nothing_is_dropped_once_the_lease_has_lapsed(ring: StandingRing) -> None:
    """The forwarder is gone, hangs or has found the ring to be short again."""
    ring.now_ns = ring[RingWord.UNTIL_NS]
    assert ring.passed(four(), frames=1000) == 1000
    fresh = StandingRing()
    fresh[RingWord.UNTIL_NS] = fresh[RingWord.THRESHOLD] = 0
    assert fresh.passed(four(), frames=1000) == 1000


@pytest.fixture
def quiet() -> StandingRing:
    """Return a ring with a frame in it."""
    return StandingRing(waiting=1, read=5 * SPARSE_FRAMES)


def test_a_frame_of_a_sparse_flow_rings_once(quiet: StandingRing) -> None:
    """It says of which row it is, and when that was; then the bell is silent until set again."""
    quiet[RingWord.BELL] = 1
    assert [quiet.comes(four(port=port)) for port in (1, 2, 3)] == [PASSED] * 3
    assert quiet.rung == [(BELL, struct.pack("=QQ", ROW, NOW_NS), 2)]
    assert quiet.rings_for(four(port=4))


def test_nothing_rings_where_the_bell_is_not_set(quiet: StandingRing) -> None:
    """The forwarder watches the TAP, then, or has none to wake for."""
    assert quiet.passed(four(), frames=10) == 10
    assert quiet.rung == []


def test_a_flow_that_sends_full_frames_does_not_ring(quiet: StandingRing) -> None:
    """Nor once what it sent while so many frames were read is as much as one."""
    assert not quiet.rings_for(four() + bytes(SPARSE_BYTES - len(four())))
    small = four(port=2) + bytes(500 - len(four()))
    assert [quiet.rings_for(small) for _ in range(5)] == [True] * 3 + [False] * 2
    assert quiet.rings_for(four(port=3))
    quiet[RingWord.READ] += SPARSE_FRAMES
    assert quiet.rings_for(small)


def test_a_sparse_flow_rings_beside_a_flood(ring: StandingRing) -> None:
    """Where caps hold, too; what is dropped does not ring."""
    assert ring.rings_for(four())
    ring.passed(four(), frames=1000)
    ring[RingWord.BELL] = 1
    before = len(ring.rung)
    assert ring.comes(four()) == DROPPED
    assert len(ring.rung) == before
    assert ring.rings_for(four(port=2))
    assert ring.rings_for(six(), IPV6)


@pytest.mark.parametrize(("data", "protocol"), [(four(), ARP), (bytes(14) + b"\x45", IPV4)])
def test_what_has_no_flow_does_not_ring(quiet: StandingRing, data: bytes, protocol: bytes) -> None:
    """It is read with the next frames that leave."""
    assert not quiet.rings_for(data, protocol)


def test_without_a_ring_buffer_nothing_rings(quiet: StandingRing) -> None:
    """Before 5.8; caps hold all the same."""
    quiet.code = encode(ring_program.cap(ROW, ROWS, FLOWS, KEY))
    assert not quiet.rings_for(four())
    standing = StandingRing()
    standing.code = quiet.code
    standing[RingWord.OTHER_SEEN_NS] = NOW_NS
    assert standing.passed(four()) == CAP_FRAMES
