"""The eBPF program that shares out a TAP's ring, instruction by instruction. Pure.

A TAP drops a frame when its ring is full, whatever flow it is of, so a flood that is never read to
its end leaves no room for others, and what does get in waits for a whole ring. This program sees
each frame before the ring does (TUNSETFILTEREBPF, a socket filter) and lets it in or drops it. The
kernel counts a drop as it counts that of a full ring.

The law. A frame is dropped only if all of this holds:

    the forwarder has said lately that the ring stands, as a lease that it renews (UNTIL_NS);
    more frames wait than THRESHOLD, which are those that ENTERED less those that were READ;
    frames of another flow came within the last four seconds, too, while so many waited;
    its own flow has had CAP_FRAMES of the present window, which lasts for WINDOW_FRAMES reads.

So a flow that is alone has the whole ring, and so has everything while no forwarder reads: the
lease lapses. A flow is addresses and ports, and has one of PLACES places by a hash with a random
key. Fragments and protocols without ports go by their addresses alone.

What is not IP, is too short, or has a VLAN tag among its bytes (a tag that the kernel keeps beside
them is none of that) is never dropped. Flows that meet in a place share its cap; so many flows at
their caps that they are all that is read (eight, if equal) fill the ring as without the program.

Words are written without locks. Processors that race may let a few frames more in, or fewer.

Sources: include/uapi/linux/bpf.h, drivers/net/tun.c (tun_net_xmit, run_ebpf_filter).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from shaper.kernel import ring_bell
from shaper.kernel.programs import (
    ADD_CONSTANT,
    CALL,
    CONTEXT,
    EXIT,
    FIRST,
    FOURTH,
    IF_EQUAL,
    IF_NOT_EQUAL,
    LOAD_WORD,
    MOVE,
    MOVE_CONSTANT,
    MOVE_WORD,
    PROTOCOL_AT,
    RESULT,
    SECOND,
    STACK_END,
    STORE_DOUBLE,
    STORE_WORD,
    THIRD,
    Instruction,
    Program,
)
from shaper.kernel.ring_parts import (
    ADD_ATOMIC,
    ADD_WORD,
    AND_CONSTANT,
    GO,
    IF_AT_MOST_SIGNED,
    IF_LESS,
    IF_NOT_LESS_THAN,
    IF_SAME,
    IF_WORD_EQUAL,
    IF_WORD_SAME,
    KEY_AT,
    KTIME_GET_NS,
    LOAD_BYTE,
    LOAD_HALF,
    MULTIPLY_WORD,
    NOW,
    PLACE,
    ROW,
    SHIFT_LEFT,
    SHIFT_RIGHT,
    SHIFT_WORD_RIGHT,
    SKB_LOAD_BYTES,
    STORE_WORD_CONSTANT,
    SUBTRACT,
    at,
    load,
    look_up,
)
from shaper.model import RingWord

# Specified: RFC 791, 8200 and the IANA's protocol numbers: where things lie in a header.
_NETWORK_AT = 14  # behind the Ethernet header
_FOUR_BYTES, _FOUR_FRAGMENT_AT, _FOUR_PROTOCOL_AT, _FOUR_ADDRESSES_AT = 20, 6, 9, 12
_SIX_BYTES, _SIX_PROTOCOL_AT, _SIX_ADDRESSES_AT = 40, 6, 8
_PORTS_BYTES = 4
WITH_PORTS = (6, 17, 33, 50, 132, 136)  # as `packet.flow` has them

# Chosen.
CAP_FRAMES = 32
_WINDOW_SHIFT = 8
WINDOW_FRAMES = 1 << _WINDOW_SHIFT
_ALONE_SHIFT = 32  # nanoseconds: 4.3 s
_PLACE_BITS = 10
PLACES = 1 << _PLACE_BITS
_FRAMES_AT = 4

_WHOLE = -1  # more bytes than any frame has
# Where things lie below the end of the stack.
_PORTS_AT, _HEADER_AT = -8, -48


def cap(row: int, rows: int, flows: int, key: int, bell: int | None = None) -> Program:
    """Return the program for one TAP.

    Args:
        row: which of the rows is its own.
        rows: the descriptor of the array of rows (`model.RingWord`).
        flows: the descriptor of an array of PLACES, of its own.
        key: an odd number of 32 bits, at random, so that no sender can choose where flows meet.
        bell: the descriptor of the ring buffer that rings; None: nothing does.
    """
    return (
        *_find_row(row, rows),
        *_look_at_ring(),
        *ring_bell.look(bell),
        *_read_header(key),
        *_find_place(key),
        *ring_bell.skip_caps(bell),
        *_look_for_others(),
        *_count_in_window(flows),
        *ring_bell.ring(row, flows, bell),
        Instruction(MOVE_CONSTANT, "a frame more", FIRST, immediate=1, label="enter"),
        Instruction(ADD_ATOMIC, "has entered", ROW, FIRST, at(RingWord.ENTERED)),
        Instruction(MOVE_WORD, "all of its bytes", RESULT, immediate=_WHOLE, label="pass"),
        Instruction(EXIT, "go into the ring"),
        Instruction(MOVE_WORD, "none of its bytes", RESULT, label="drop"),
        Instruction(EXIT, "do: it is dropped, and counted by the kernel"),
    )


def _in_network_order(*octets: int) -> int:
    """Return what a load gives for these bytes."""
    return int.from_bytes(bytes(octets), sys.byteorder)


def _find_row(row: int, rows: int) -> Iterator[Instruction]:
    yield Instruction(MOVE, "keep the frame", CONTEXT, FIRST)
    yield Instruction(STORE_WORD_CONSTANT, "the key", STACK_END, offset=KEY_AT, immediate=row)
    yield from look_up(rows, "the rows of all TAPs", missing="pass")
    yield Instruction(MOVE, "keep the row", ROW, RESULT)


def _look_at_ring() -> Iterator[Instruction]:
    """Let NOW be the time if too many wait and the lease holds, else 0."""
    yield Instruction(MOVE_CONSTANT, "no cap so far", NOW)
    yield load(RingWord.ENTERED, FIRST, "those that entered")
    yield load(RingWord.READ, SECOND, "those that were read")
    yield Instruction(SUBTRACT, "so many wait", FIRST, SECOND)
    yield load(RingWord.THRESHOLD, SECOND, "so many may")
    yield Instruction(IF_AT_MOST_SIGNED, "not too many", FIRST, SECOND, to="room")
    yield Instruction(CALL, "the time", immediate=KTIME_GET_NS)
    yield Instruction(MOVE, "keep the time", NOW, RESULT)
    yield load(RingWord.UNTIL_NS, FIRST, "the end of the lease")
    yield Instruction(IF_LESS, "it holds", NOW, FIRST, to="parse")
    yield Instruction(MOVE_CONSTANT, "it has lapsed", NOW)


def _load_bytes(at: int, count: int, missing: str) -> Iterator[Instruction]:
    """Copy bytes of the frame to the stack, from the offset in the second register on."""
    yield Instruction(MOVE, "the frame", FIRST, CONTEXT)
    yield Instruction(MOVE, "where to:", THIRD, STACK_END)
    yield Instruction(ADD_CONSTANT, "on the stack", THIRD, immediate=at)
    yield Instruction(MOVE_CONSTANT, "so many bytes", FOURTH, immediate=count)
    yield Instruction(CALL, "copy them", immediate=SKB_LOAD_BYTES)
    yield Instruction(IF_NOT_EQUAL, "it is too short", RESULT, to=missing)


def _read_header(key: int) -> Iterator[Instruction]:
    """Hash the addresses; leave the protocol in THIRD and where its header is in SECOND."""
    four, six = _in_network_order(0x08, 0x00), _in_network_order(0x86, 0xDD)
    yield Instruction(LOAD_WORD, "the EtherType", FIRST, CONTEXT, PROTOCOL_AT, label="parse")
    yield Instruction(MOVE_CONSTANT, "behind Ethernet", SECOND, immediate=_NETWORK_AT)
    yield Instruction(IF_WORD_EQUAL, "IPv6", FIRST, immediate=six, to="six")
    yield Instruction(IF_WORD_EQUAL, "IPv4", FIRST, immediate=four, to="four")
    yield Instruction(GO, "neither: ARP and the like", to="enter")
    yield from _read_four(key)
    yield from _read_six(key)


def _read_four(key: int) -> Iterator[Instruction]:
    first, *rest = _load_bytes(_HEADER_AT, _FOUR_BYTES, missing="enter")
    yield first._replace(label="four")
    yield from rest
    yield from _hash(_HEADER_AT + _FOUR_ADDRESSES_AT, 2, key)
    yield _stacked(LOAD_HALF, "the fragment", FIRST, _FOUR_FRAGMENT_AT)
    fragment = _in_network_order(0x3F, 0xFF)
    yield Instruction(AND_CONSTANT, "its offset, and whether more", FIRST, immediate=fragment)
    yield Instruction(IF_NOT_EQUAL, "only the first has ports", FIRST, to="place")
    yield _stacked(LOAD_BYTE, "the protocol", THIRD, _FOUR_PROTOCOL_AT)
    yield _stacked(LOAD_BYTE, "version and length", SECOND, 0)
    yield Instruction(AND_CONSTANT, "the length, in words", SECOND, immediate=0x0F)
    yield Instruction(SHIFT_LEFT, "in bytes", SECOND, immediate=2)
    yield Instruction(ADD_CONSTANT, "behind Ethernet", SECOND, immediate=_NETWORK_AT)
    yield Instruction(GO, "on to the ports", to="ports")


def _read_six(key: int) -> Iterator[Instruction]:
    first, *rest = _load_bytes(_HEADER_AT, _SIX_BYTES, missing="enter")
    yield first._replace(label="six")
    yield from rest
    yield from _hash(_HEADER_AT + _SIX_ADDRESSES_AT, 8, key)
    yield _stacked(LOAD_BYTE, "the protocol, or an extension", THIRD, _SIX_PROTOCOL_AT)
    behind = _NETWORK_AT + _SIX_BYTES
    yield Instruction(MOVE_CONSTANT, "behind the header", SECOND, immediate=behind)


def _stacked(operation: int, why: str, dst: int, at: int) -> Instruction:
    return Instruction(operation, why, dst, STACK_END, _HEADER_AT + at)


def _hash(at: int, words: int, key: int) -> Iterator[Instruction]:
    """Let the hash be that of so many words on the stack."""
    yield Instruction(LOAD_WORD, "the first word", PLACE, STACK_END, at)
    for number in range(1, words):
        yield from _hash_more(at + 4 * number, key)


def _hash_more(at: int, key: int) -> Iterator[Instruction]:
    yield Instruction(MULTIPLY_WORD, "spread what there is", PLACE, immediate=key)
    yield Instruction(LOAD_WORD, "the next word", FIRST, STACK_END, at)
    yield Instruction(ADD_WORD, "with it", PLACE, FIRST)


def _find_place(key: int) -> Iterator[Instruction]:
    """Hash the ports, if there are any, and make the hash a place."""
    first, *others = (
        Instruction(IF_EQUAL, "has ports", THIRD, immediate=protocol, to="with ports")
        for protocol in WITH_PORTS
    )
    yield first._replace(label="ports")
    yield from others
    yield Instruction(GO, "has none", to="place")
    first, *rest = _load_bytes(_PORTS_AT, _PORTS_BYTES, missing="place")
    yield first._replace(label="with ports")
    yield from rest
    yield from _hash_more(_PORTS_AT, key)
    yield Instruction(MULTIPLY_WORD, "spread it", PLACE, immediate=key, label="place")
    shift = 32 - _PLACE_BITS
    yield Instruction(SHIFT_WORD_RIGHT, "the highest bits", PLACE, immediate=shift)


def _look_for_others() -> Iterator[Instruction]:
    """Let the frame enter if its flow has been alone for a while."""
    yield load(RingWord.FLOW, FIRST, "the flow that is known")
    yield Instruction(IF_SAME, "the same", FIRST, PLACE, to="known")
    yield from _age(RingWord.FLOW_SEEN_NS)
    yield Instruction(IF_NOT_EQUAL, "it is no more", SECOND, to="another")
    yield _store(RingWord.OTHER_SEEN_NS, NOW, "there are two")
    yield Instruction(GO, "so caps hold", to="count")
    yield _store(RingWord.FLOW, PLACE, "know this one")._replace(label="another")
    yield _store(RingWord.FLOW_SEEN_NS, NOW, "it is there")._replace(label="known")
    yield from _age(RingWord.OTHER_SEEN_NS)
    yield Instruction(IF_NOT_EQUAL, "it is alone", SECOND, to="enter")


def _age(word: RingWord) -> Iterator[Instruction]:
    """Let SECOND be 0 if that was lately."""
    yield Instruction(MOVE, "now", SECOND, NOW)
    yield load(word, THIRD, "when it was seen")
    yield Instruction(SUBTRACT, "so long ago", SECOND, THIRD)
    yield Instruction(SHIFT_RIGHT, "four seconds or more", SECOND, immediate=_ALONE_SHIFT)


def _store(word: RingWord, src: int, why: str) -> Instruction:
    return Instruction(STORE_DOUBLE, why, ROW, src, at(word))


def _count_in_window(flows: int) -> Iterator[Instruction]:
    """Drop the frame if its flow has had its part of this window."""
    yield Instruction(STORE_WORD, "the key", STACK_END, PLACE, KEY_AT, label="count")
    yield from look_up(flows, "the flows", missing="enter")
    yield load(RingWord.READ, FIRST, "the frames that were read")
    yield Instruction(SHIFT_RIGHT, "the window", FIRST, immediate=_WINDOW_SHIFT)
    yield Instruction(LOAD_WORD, "the one counted in", SECOND, RESULT)
    yield Instruction(IF_WORD_SAME, "still the same", FIRST, SECOND, to="same")
    yield Instruction(STORE_WORD, "another now", RESULT, FIRST)
    yield Instruction(STORE_WORD_CONSTANT, "nothing of it yet", RESULT, offset=_FRAMES_AT)
    yield Instruction(LOAD_WORD, "its frames", FIRST, RESULT, _FRAMES_AT, label="same")
    yield Instruction(IF_NOT_LESS_THAN, "it has had all", FIRST, immediate=CAP_FRAMES, to="drop")
    yield Instruction(ADD_CONSTANT, "one more", FIRST, immediate=1)
    yield Instruction(STORE_WORD, "keep that", RESULT, FIRST, _FRAMES_AT)
