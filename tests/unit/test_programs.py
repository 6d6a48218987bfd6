"""The eBPF programs, on a machine of the tests' own: what each does with every kind of frame."""

from __future__ import annotations

import pytest

from shaper.kernel import programs
from tests.unit.bpf_machine import Skb, disassemble, run

SHAPER, OTHER, MASTER = 7, 8, 3
SOCKETS, GROUPS, PROGRAMS = 11, 12, 13  # descriptors of maps
MARK = 0xFEEDBEEF  # with its highest bit set, as half of all random ones
OURS = {501: SHAPER, 502: OTHER}
PACKET = b"\x45packet"

EGRESS = programs.encode(programs.egress(SHAPER, SOCKETS, has_link_header=True))
CGROUP = programs.encode(programs.cgroup(SHAPER, SOCKETS, GROUPS, has_link_header=True))
INGRESS = programs.encode(programs.ingress(SHAPER, MARK, has_link_header=True))
REINJECT = programs.encode(programs.reinject(SHAPER, MASTER, SOCKETS, MARK))
STUB = programs.encode(programs.stub(PROGRAMS))


def test_the_programs_are_what_their_text_says() -> None:
    """The bytes, disassembled as bpftool would, are these instructions."""
    assert disassemble(EGRESS) == [
        "0: r6 = r1",
        "1: call get_socket_cookie#46",
        "2: *(u64 *)(r10 -8) = r0",
        "3: r1 = map[fd:11]",
        "5: r2 = r10",
        "6: r2 += -8",
        "7: call map_lookup_elem#1",
        "8: if r0 == 0x0 goto pc+4",
        "9: r1 = *(u32 *)(r0 +0)",
        "10: if w1 != 0x7 goto pc+2",
        "11: r0 = -1",
        "12: exit",
        "13: r1 = 7",
        "14: r2 = 0",
        "15: call redirect#23",
        "16: exit",
    ]
    assert disassemble(CGROUP)[8:] == [
        "9: r0 = -1",
        "10: exit",
        "11: r1 = r6",
        "12: r2 = map[fd:12]",
        "14: r3 = 0",
        "15: call skb_under_cgroup#33",
        "16: if r0 != 0x1 goto pc-8",
        "17: r1 = 7",
        "18: r2 = 0",
        "19: call redirect#23",
        "20: exit",
    ]
    assert disassemble(INGRESS) == [
        "0: r6 = r1",
        "1: r2 = *(u32 *)(r6 +8)",
        f"2: if w2 != {MARK - (1 << 32):#x} goto pc+4",
        "3: r2 = 0",
        "4: *(u32 *)(r6 +8) = r2",
        "5: r0 = -1",
        "6: exit",
        "7: r1 = 7",
        "8: r2 = 0",
        "9: call redirect#23",
        "10: exit",
    ]
    assert disassemble(REINJECT)[7:] == [
        "8: if r0 == 0x0 goto pc+8",
        "9: r1 = *(u32 *)(r0 +0)",
        "10: if w1 != 0x7 goto pc+6",
        f"11: w2 = {MARK - (1 << 32)}",
        "12: *(u32 *)(r6 +8) = r2",
        "13: r1 = 3",
        "14: r2 = 1",
        "15: call redirect#23",
        "16: exit",
        "17: r0 = -1",
        "18: exit",
    ]
    assert disassemble(STUB) == [
        "0: r2 = map[fd:13]",
        "2: r3 = 0",
        "3: call tail_call#12",
        "4: r0 = -1",
        "5: exit",
    ]


@pytest.mark.parametrize("cookie", [0, 99, 502])
def test_egress_takes_what_its_own_shaper_did_not_send(cookie: int) -> None:
    """A forwarded frame, one of a process, and one of another shaper: limits nest."""
    skb = Skb(cookie=cookie, sockets=OURS)
    assert (run(EGRESS, skb), skb.redirected) == (programs.REDIRECT, (SHAPER, 0))


def test_egress_passes_what_its_own_shaper_sent() -> None:
    """It goes on to the programs of others, with the mark that it has."""
    skb = Skb(cookie=501, sockets=OURS, mark=5)
    assert (run(EGRESS, skb), skb.redirected, skb.mark) == (programs.NEXT, None, 5)


@pytest.mark.parametrize(("answer", "verdict"), [(1, 7), (0, -1), (-11, -1), (-2, -1)])
def test_cgroup_takes_what_the_group_sent(answer: int, verdict: int) -> None:
    """Not what others did, nor anything while there is no group (EAGAIN), or no process."""
    skb = Skb(cookie=99, sockets=OURS, is_of_group=answer)
    assert run(CGROUP, skb) == verdict
    assert skb.redirected == ((SHAPER, 0) if verdict == programs.REDIRECT else None)


@pytest.mark.parametrize("cookie", OURS)
def test_cgroup_passes_what_any_shaper_sent(cookie: int) -> None:
    """Although the daemon, and so its sockets, may belong to the group."""
    skb = Skb(cookie=cookie, sockets=OURS, is_of_group=1)
    assert (run(CGROUP, skb), skb.redirected) == (programs.NEXT, None)


def test_what_ingress_takes_comes_back_once() -> None:
    """It goes to the shaper, from there to the master's ingress, and is not taken again."""
    skb = Skb(sockets=OURS)
    assert (run(INGRESS, skb), skb.redirected) == (programs.REDIRECT, (SHAPER, 0))
    skb.redirected = None
    assert (run(REINJECT, skb), skb.redirected) == (programs.NEXT, None)  # into the TAP's ring
    skb.cookie = 501  # sent by the forwarder
    assert (run(REINJECT, skb), skb.redirected) == (programs.REDIRECT, (MASTER, 1))
    skb.redirected = None
    assert skb.mark == MARK
    assert (run(INGRESS, skb), skb.redirected, skb.mark) == (programs.NEXT, None, 0)


def test_a_shaper_on_top_of_another_is_shaped_by_both() -> None:
    """What another shaper sends by this one is not received by anybody yet."""
    skb = Skb(cookie=502, sockets=OURS)
    assert (run(REINJECT, skb), skb.redirected, skb.mark) == (programs.NEXT, None, 0)


def test_a_mark_of_others_is_left_alone() -> None:
    """Only ours says that a frame has been shaped."""
    skb = Skb(mark=MARK & 0x7FFFFFFF)
    assert run(INGRESS, skb) == programs.REDIRECT
    assert skb.mark == MARK & 0x7FFFFFFF


@pytest.mark.parametrize(
    "program",
    [
        programs.egress(SHAPER, SOCKETS, has_link_header=False),
        programs.cgroup(SHAPER, SOCKETS, GROUPS, has_link_header=False),
        programs.ingress(SHAPER, MARK, has_link_header=False),
    ],
)
@pytest.mark.parametrize("protocol", [b"\x08\x00", b"\x86\xdd"])
def test_a_bare_packet_gets_an_ethernet_header(program: programs.Program, protocol: bytes) -> None:
    """A TAP takes nothing else; where there is no memory for it the packet is lost."""
    code = programs.encode(program)
    skb = Skb(PACKET, protocol=protocol, is_of_group=1)
    assert (run(code, skb), skb.redirected) == (programs.REDIRECT, (SHAPER, 0))
    assert skb.data == bytes(12) + protocol + PACKET
    poor = Skb(PACKET, protocol=protocol, is_of_group=1, has_memory=False)
    assert (run(code, poor), poor.redirected) == (programs.DROP, None)


def test_the_stub_passes_everything_once_the_daemon_is_gone() -> None:
    """Until then the other program decides."""
    assert run(STUB, Skb(has_program=True)) is None
    assert run(STUB, Skb()) == programs.NEXT


def test_every_instruction_says_what_it_is_for() -> None:
    """But for those that the one before has explained."""
    for program in (
        programs.egress(SHAPER, SOCKETS, has_link_header=True),
        programs.cgroup(SHAPER, SOCKETS, GROUPS, has_link_header=True),
        programs.ingress(SHAPER, MARK, has_link_header=True),
        programs.reinject(SHAPER, MASTER, SOCKETS, MARK),
        programs.stub(PROGRAMS),
    ):
        assert all(each.why for each in program)
