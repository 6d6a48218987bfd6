"""The bell of the program on a TAP: what wakes a forwarder that does not watch the TAP. Pure.

A forwarder with a backlog sleeps until frames may leave, and frames that come do not
wake it, but for those of sparse flows: where BELL is set, a frame whose flow had less than
SPARSE_BYTES, itself included, while SPARSE_FRAMES were read puts the row and the time into a ring
buffer, and the kernel wakes the forwarder. BELL is cleared then, so it rings once. It rings just
before the frame is in the ring.

Limits. Where the buffer is full, as when more shapers than a page has records for ring while their
forwarder does not run, BELL is cleared all the same. Such a frame waits for the next departure,
which is at most two jiffies away unless the queue is full (`forwarder.wants`). Flows that meet
in a place are sparse together or not at all. And where more flows than SPARSE_FRAMES send frames
of less than SPARSE_BYTES, each of them seems sparse: the meter bounds how often they ring.
"""

from __future__ import annotations

from collections.abc import Iterator

from shaper.kernel.programs import (
    ADD_CONSTANT,
    CALL,
    CONTEXT,
    FIRST,
    FOURTH,
    IF_EQUAL,
    LOAD_WORD,
    MOVE,
    MOVE_CONSTANT,
    RESULT,
    SECOND,
    STACK_END,
    STORE_CONSTANT,
    STORE_DOUBLE,
    STORE_WORD,
    THIRD,
    Instruction,
    load_map,
)
from shaper.kernel.ring_parts import (
    ADD_WORD,
    FORCE_WAKEUP,
    GO,
    IF_NOT_LESS_THAN,
    IF_WORD_SAME,
    KEY_AT,
    KTIME_GET_NS,
    LENGTH_AT,
    NOW,
    PLACE,
    RING_OUTPUT,
    ROW,
    SHIFT_RIGHT,
    STORE_WORD_CONSTANT,
    at,
    load,
    look_up,
)
from shaper.model import RingWord

# Chosen.
_SPAN_SHIFT = 6
SPARSE_FRAMES = 1 << _SPAN_SHIFT
SPARSE_BYTES = 1514  # a full frame of Ethernet, as the queue has it: such a flow is not sparse
BELL_BYTES = 16  # what is put into the ring buffer: the row, and the time
# Of a flow's place; before them are the window and the frames that caps count (`ring_program`).
_SPAN_AT, _BYTES_AT = 8, 12
PLACE_BYTES = 16

_RUNG_TIME_AT, _RUNG_AT = -56, -64  # where they lie below the end of the stack


def look(bell: int | None) -> Iterator[Instruction]:
    """Let the frame enter unless it may ring."""
    if bell is None:
        yield Instruction(GO, "there is no bell", to="enter", label="room")
        return
    yield load(RingWord.BELL, FIRST, "whether the bell is set")._replace(label="room")
    yield Instruction(IF_EQUAL, "it is not", FIRST, to="enter")


def skip_caps(bell: int | None) -> Iterator[Instruction]:
    """Ring at once where no cap holds."""
    if bell is not None:
        yield Instruction(IF_EQUAL, "not too many wait", NOW, to="sparse")


def ring(row: int, flows: int, bell: int | None) -> Iterator[Instruction]:
    """Ring, if the bell is set and the flow is sparse."""
    if bell is None:
        return
    yield load(RingWord.BELL, FIRST, "whether the bell is set")
    yield Instruction(IF_EQUAL, "it is not", FIRST, to="enter")
    yield Instruction(STORE_WORD, "the key", STACK_END, PLACE, KEY_AT, label="sparse")
    yield from look_up(flows, "the flows", missing="enter")
    yield load(RingWord.READ, FIRST, "the frames that were read")
    yield Instruction(SHIFT_RIGHT, "the window", FIRST, immediate=_SPAN_SHIFT)
    yield Instruction(LOAD_WORD, "the one counted in", SECOND, RESULT, _SPAN_AT)
    yield Instruction(IF_WORD_SAME, "still the same", FIRST, SECOND, to="span")
    yield Instruction(STORE_WORD, "another now", RESULT, FIRST, _SPAN_AT)
    yield Instruction(STORE_WORD_CONSTANT, "nothing of it yet", RESULT, offset=_BYTES_AT)
    yield Instruction(LOAD_WORD, "its bytes", FIRST, RESULT, _BYTES_AT, label="span")
    yield Instruction(LOAD_WORD, "those of the frame", SECOND, CONTEXT, LENGTH_AT)
    yield Instruction(ADD_WORD, "with them", FIRST, SECOND)
    yield Instruction(STORE_WORD, "keep that", RESULT, FIRST, _BYTES_AT)
    yield Instruction(IF_NOT_LESS_THAN, "too many", FIRST, immediate=SPARSE_BYTES, to="enter")
    yield Instruction(STORE_CONSTANT, "ring once", ROW, offset=at(RingWord.BELL))
    yield Instruction(CALL, "the time", immediate=KTIME_GET_NS)
    yield Instruction(STORE_DOUBLE, "tell it", STACK_END, RESULT, _RUNG_TIME_AT)
    yield Instruction(STORE_CONSTANT, "and the row", STACK_END, offset=_RUNG_AT, immediate=row)
    yield from load_map(bell, FIRST, "the bell")
    yield Instruction(MOVE, "where it lies:", SECOND, STACK_END)
    yield Instruction(ADD_CONSTANT, "on the stack", SECOND, immediate=_RUNG_AT)
    yield Instruction(MOVE_CONSTANT, "so many bytes", THIRD, immediate=BELL_BYTES)
    yield Instruction(MOVE_CONSTANT, "wake the forwarder", FOURTH, immediate=FORCE_WAKEUP)
    yield Instruction(CALL, "ring", immediate=RING_OUTPUT)
