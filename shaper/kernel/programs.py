"""The eBPF programs that take traffic to a shaper, instruction by instruction. Pure.

Four programs and a stub, each for the traffic-control hook of a device (BPF_PROG_TYPE_SCHED_CLS):

    egress    on the master's egress   all frames go to the shaper
    cgroup    on the master's egress   those of one control group go to the shaper
    ingress   on the master's ingress  all frames go to the shaper
    reinject  on the shaper's egress   what the forwarder sent goes on as received on the master
    stub      on either                what the others do, for as long as the daemon lives

How a frame is not taken twice. What a shaper sends comes by a packet socket of ours, and the
kernel knows each socket by a number that is never used again, its cookie. The map `sockets` has
the cookies of ours and the shaper that each serves, or 0 where several share it. So `egress`
passes what its own shaper sent and takes everything else, the frames of other shapers too: that is
how limits nest. `cgroup` passes what any shaper sent, as the daemon itself may be of the group.
After `ingress` the forwarder sends by a socket on the shaper itself, where `reinject` knows its
frames from those that come to be shaped. It marks them, and `ingress` takes the mark off again and
lets them pass.

A verdict of NEXT lets the programs and filters after ours decide, as without us.

Sources: include/uapi/linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

# Specified: linux/bpf.h, linux/pkt_cls.h.
NEXT = -1  # TCX_NEXT, TC_ACT_UNSPEC
DROP = 2  # TC_ACT_SHOT
REDIRECT = 7  # TC_ACT_REDIRECT, what bpf_redirect answers
INSTRUCTION_BYTES = 8

MAP_LOOKUP = 1
SKB_STORE_BYTES = 9
TAIL_CALL = 12
REDIRECT_TO = 23
SKB_UNDER_CGROUP = 33
SKB_CHANGE_HEAD = 43
SOCKET_COOKIE = 46
_F_INGRESS = 1  # BPF_F_INGRESS, of bpf_redirect
_MARK_AT = 8  # struct __sk_buff
PROTOCOL_AT = 16  # network order

_ETHERNET_HEADER_BYTES = 14

# Operations.
MOVE = 0xBF  # dst = src
MOVE_CONSTANT = 0xB7  # dst = immediate, sign-extended
MOVE_WORD = 0xB4  # the lower half of dst = immediate, and the upper half 0
ADD_CONSTANT = 0x07
LOAD_MAP = 0x18  # in two instructions
LOAD_WORD = 0x61  # dst = 32 bits at src + offset
STORE_DOUBLE = 0x7B  # 64 bits at dst + offset = src
STORE_WORD = 0x63
STORE_HALF = 0x6B
STORE_CONSTANT = 0x7A  # 64 bits at dst + offset = immediate
IF_EQUAL = 0x15  # to the immediate
IF_NOT_EQUAL = 0x55
IF_WORD_NOT_EQUAL = 0x56  # the lower 32 bits
CALL = 0x85
EXIT = 0x95
_PSEUDO_MAP_FD = 1
CONTEXT = 6  # the register that keeps the frame over calls
STACK_END = 10  # the register that points behind the stack

_ENCODED = struct.Struct("=BBhi")
RESULT, FIRST, SECOND, THIRD, FOURTH, FIFTH = range(6)


class Instruction(NamedTuple):
    """One instruction, and what it is there for.

    A jump names the label it goes to; `label` names this instruction for others.
    """

    operation: int
    why: str
    dst: int = 0
    src: int = 0
    offset: int = 0
    immediate: int = 0
    to: str = ""
    label: str = ""


Program = tuple[Instruction, ...]


def egress(shaper: int, sockets: int, *, has_link_header: bool) -> Program:
    """Return the program for everything a device sends.

    Args:
        shaper: the index of the shaper.
        sockets: the descriptor of the map from cookies to indices.
        has_link_header: frames of the device begin with an Ethernet header.
    """
    return (
        *_look_up_socket(sockets, missing="capture"),
        *_compare_shaper(shaper, "another: limits nest", "capture"),
        *_pass(),
        *_redirect(shaper, has_link_header=has_link_header),
    )


def cgroup(shaper: int, sockets: int, groups: int, *, has_link_header: bool) -> Program:
    """Return the program for what the processes of a control group send.

    Args:
        shaper: the index of the shaper.
        sockets: the descriptor of the map from cookies to indices.
        groups: the descriptor of the array that has the group, or nothing while there is none.
        has_link_header: frames of the device begin with an Ethernet header.
    """
    return (
        *_look_up_socket(sockets, missing="foreign"),
        *_pass(label="pass"),
        Instruction(MOVE, "the frame", FIRST, CONTEXT, label="foreign"),
        *load_map(groups, SECOND, "the group, or none"),
        Instruction(MOVE_CONSTANT, "its place in the array", THIRD),
        Instruction(CALL, "1: of the group or below it", immediate=SKB_UNDER_CGROUP),
        Instruction(
            IF_NOT_EQUAL, "not, or no group, or no process", RESULT, immediate=1, to="pass"
        ),
        *_redirect(shaper, has_link_header=has_link_header),
    )


def ingress(shaper: int, mark: int, *, has_link_header: bool) -> Program:
    """Return the program for everything a device receives.

    Args:
        shaper: the index of the shaper.
        mark: what `reinject` has marked.
        has_link_header: frames of the device begin with an Ethernet header.
    """
    return (
        Instruction(MOVE, "keep the frame", CONTEXT, FIRST),
        Instruction(LOAD_WORD, "its mark", SECOND, CONTEXT, _MARK_AT),
        Instruction(
            IF_WORD_NOT_EQUAL, "not from the shaper", SECOND, immediate=mark, to="capture"
        ),
        Instruction(MOVE_CONSTANT, "no mark", SECOND),
        Instruction(STORE_WORD, "leave none behind", CONTEXT, SECOND, _MARK_AT),
        *_pass(),
        *_redirect(shaper, has_link_header=has_link_header),
    )


def reinject(shaper: int, master: int, sockets: int, mark: int) -> Program:
    """Return the program of a shaper's own egress: on with it, as received on the master.

    Args:
        shaper: the index of the shaper.
        master: the index of the device that the frames belong to.
        sockets: the descriptor of the map from cookies to indices.
        mark: what `ingress` knows them by.
    """
    return (
        *_look_up_socket(sockets, missing="pass"),
        *_compare_shaper(shaper, "another: to be shaped", "pass"),
        Instruction(MOVE_WORD, "the mark that says: has been shaped", SECOND, immediate=mark),
        Instruction(STORE_WORD, "mark the frame", CONTEXT, SECOND, _MARK_AT),
        Instruction(MOVE_CONSTANT, "the master", FIRST, immediate=master),
        Instruction(MOVE_CONSTANT, "into its ingress", SECOND, immediate=_F_INGRESS),
        Instruction(CALL, "redirect", immediate=REDIRECT_TO),
        Instruction(EXIT, "the verdict of the redirect"),
        *_pass(why="into the TAP's ring", label="pass"),
    )


def stub(programs: int) -> Program:
    """Return a program that runs another, and lets everything pass when that is gone.

    The kernel empties an array of programs when the last process that has it open is gone. A
    filter outlives the daemon; what it runs does not.

    Args:
        programs: the descriptor of the array that has the other at its place 0.
    """
    return (
        *load_map(programs, SECOND, "the array of the other program"),
        Instruction(MOVE_CONSTANT, "its place in it", THIRD),
        Instruction(CALL, "go on there, for good", immediate=TAIL_CALL),
        *_pass(why="the daemon is gone: as without us"),
    )


def load_map(descriptor: int, dst: int, why: str) -> Iterator[Instruction]:
    """Let a register lead to a map."""
    yield Instruction(LOAD_MAP, why, dst, _PSEUDO_MAP_FD, immediate=descriptor)
    yield Instruction(0, "(its second half)")


def encode(program: Program) -> bytes:
    """Return a program as bpf(2) takes it."""
    at = {each.label: number for number, each in enumerate(program) if each.label}
    return b"".join(_encode(each, number, at) for number, each in enumerate(program))


def _encode(instruction: Instruction, number: int, at: dict[str, int]) -> bytes:
    operation, _, dst, src, offset, immediate, to, _ = instruction
    if to:
        offset = at[to] - number - 1
    immediate = (immediate + (1 << 31)) % (1 << 32) - (1 << 31)
    return _ENCODED.pack(operation, dst | src << 4, offset, immediate)


def _look_up_socket(sockets: int, *, missing: str) -> Iterator[Instruction]:
    """Look the frame's socket up among ours; `missing` is where to go when it is not there."""
    yield Instruction(MOVE, "keep the frame", CONTEXT, FIRST)
    yield Instruction(CALL, "the cookie of its socket; 0: none", immediate=SOCKET_COOKIE)
    yield Instruction(STORE_DOUBLE, "keys lie in memory", STACK_END, RESULT, -8)
    yield from load_map(sockets, FIRST, "the sockets of ours")
    yield Instruction(MOVE, "where the key lies:", SECOND, STACK_END)
    yield Instruction(ADD_CONSTANT, "at the end of the stack", SECOND, immediate=-8)
    yield Instruction(CALL, "look it up", immediate=MAP_LOOKUP)
    yield Instruction(IF_EQUAL, "none of ours", RESULT, to=missing)


def _compare_shaper(shaper: int, why_not: str, to: str) -> Iterator[Instruction]:
    """Go on if the socket that was found serves this shaper."""
    yield Instruction(LOAD_WORD, "the shaper that the socket serves", FIRST, RESULT)
    yield Instruction(IF_WORD_NOT_EQUAL, why_not, FIRST, immediate=shaper, to=to)


def _pass(why: str = "let it pass", label: str = "") -> Iterator[Instruction]:
    yield Instruction(MOVE_CONSTANT, why, RESULT, immediate=NEXT, label=label)
    yield Instruction(EXIT, "on to the next program")


def _redirect(shaper: int, *, has_link_header: bool) -> Iterator[Instruction]:
    """Hand the frame to the shaper for sending, which is how it comes into the TAP's ring."""
    first = Instruction(MOVE_CONSTANT, "the shaper", FIRST, immediate=shaper)
    if has_link_header:
        yield first._replace(label="capture")
    else:
        yield from _add_link_header()
        yield first
    yield Instruction(MOVE_CONSTANT, "to be sent", SECOND)
    yield Instruction(CALL, "redirect", immediate=REDIRECT_TO)
    yield Instruction(EXIT, "the verdict of the redirect")


def _add_link_header() -> Iterator[Instruction]:
    """Put an Ethernet header before an IP packet; a TAP takes nothing else."""
    yield Instruction(MOVE, "the frame", FIRST, CONTEXT, label="capture")
    size = _ETHERNET_HEADER_BYTES
    yield Instruction(MOVE_CONSTANT, "of an Ethernet header", SECOND, immediate=size)
    yield Instruction(MOVE_CONSTANT, "no flags", THIRD)
    yield Instruction(CALL, "make room", immediate=SKB_CHANGE_HEAD)
    yield Instruction(IF_EQUAL, "made", RESULT, to="header")
    yield Instruction(MOVE_CONSTANT, "no memory: lost", RESULT, immediate=DROP)
    yield Instruction(EXIT, "")
    yield Instruction(STORE_CONSTANT, "addresses: none", STACK_END, offset=-16, label="header")
    yield Instruction(STORE_CONSTANT, "", STACK_END, offset=-8)
    yield Instruction(LOAD_WORD, "the protocol", SECOND, CONTEXT, PROTOCOL_AT)
    yield Instruction(STORE_HALF, "as type", STACK_END, SECOND, -4)
    yield Instruction(MOVE, "the frame", FIRST, CONTEXT)
    yield Instruction(MOVE_CONSTANT, "from its beginning on", SECOND)
    yield Instruction(MOVE, "where the header lies:", THIRD, STACK_END)
    yield Instruction(ADD_CONSTANT, "on the stack", THIRD, immediate=-16)
    yield Instruction(MOVE_CONSTANT, "its length", FOURTH, immediate=size)
    yield Instruction(MOVE_CONSTANT, "no flags", FIFTH)
    yield Instruction(CALL, "write it", immediate=SKB_STORE_BYTES)
