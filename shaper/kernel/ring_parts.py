"""What the program on a TAP is made of: operations, registers, its row, look-ups. Pure.

Sources: include/uapi/linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

from collections.abc import Iterator

from shaper.kernel.programs import (
    ADD_CONSTANT,
    CALL,
    FIRST,
    IF_EQUAL,
    MAP_LOOKUP,
    MOVE,
    RESULT,
    SECOND,
    STACK_END,
    Instruction,
    load_map,
)
from shaper.model import RING_WORD_BYTES, RingWord

# Specified: linux/bpf.h, and codes put together from its operations.
KTIME_GET_NS = 5
SKB_LOAD_BYTES = 26
RING_OUTPUT = 130
FORCE_WAKEUP = 2  # BPF_RB_FORCE_WAKEUP
LENGTH_AT = 0  # struct __sk_buff
LOAD_DOUBLE = 0x79
LOAD_HALF = 0x69
LOAD_BYTE = 0x71
STORE_WORD_CONSTANT = 0x62
ADD_ATOMIC = 0xDB
SUBTRACT = 0x1F
SHIFT_LEFT = 0x67
SHIFT_RIGHT = 0x77
AND_CONSTANT = 0x57
MULTIPLY_WORD = 0x24
ADD_WORD = 0x0C
SHIFT_WORD_RIGHT = 0x74
GO = 0x05
IF_SAME = 0x1D
IF_LESS = 0xAD
IF_NOT_LESS_THAN = 0x35  # the immediate
IF_AT_MOST_SIGNED = 0xDD
IF_WORD_EQUAL = 0x16
IF_WORD_SAME = 0x1E

PLACE, ROW, NOW = 7, 8, 9  # registers that keep them over calls
KEY_AT = -4  # where a key lies below the end of the stack


def at(word: RingWord) -> int:
    """Return where a word lies in a row."""
    return word * RING_WORD_BYTES


def load(word: RingWord, dst: int, why: str) -> Instruction:
    """Load a word of the row."""
    return Instruction(LOAD_DOUBLE, why, dst, ROW, at(word))


def look_up(descriptor: int, what: str, missing: str) -> Iterator[Instruction]:
    """Look up in an array by the key on the stack."""
    yield from load_map(descriptor, FIRST, what)
    yield Instruction(MOVE, "where the key lies:", SECOND, STACK_END)
    yield Instruction(ADD_CONSTANT, "at the end of the stack", SECOND, immediate=KEY_AT)
    yield Instruction(CALL, "look it up", immediate=MAP_LOOKUP)
    yield Instruction(IF_EQUAL, "no such entry, which cannot be", RESULT, to=missing)
