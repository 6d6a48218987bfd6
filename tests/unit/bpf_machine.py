"""A machine for the eBPF programs of `kernel/programs`, and their text, for tests.

Both start from the encoded bytes, so they share nothing with what made them. The text is that of
the kernel's own disassembler (kernel/bpf/disasm.c), which bpftool prints.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, field

CODE = struct.Struct("=BBhi")
HELPERS = {
    1: "map_lookup_elem",
    5: "ktime_get_ns",
    9: "skb_store_bytes",
    12: "tail_call",
    23: "redirect",
    26: "skb_load_bytes",
    33: "skb_under_cgroup",
    43: "skb_change_head",
    46: "get_socket_cookie",
    130: "ringbuf_output",
}
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
SIGNS = {0x00: "+=", 0x10: "-=", 0x20: "*=", 0x50: "&=", 0x60: "<<=", 0x70: ">>=", 0xB0: "="}
CONDITIONS = {0x10: "==", 0x30: ">=", 0x50: "!=", 0xA0: "<", 0xD0: "s<="}
TAIL_CALL = 12
MOST_STEPS = 200  # more than any program has instructions
LENGTH_AT, MARK_AT, PROTOCOL_AT = 0, 8, 16
STACK, VALUE, CONTEXT, ARRAYS = 1 << 20, 2 << 20, 3 << 20, 4 << 20  # where these lie


def decode(code: bytes) -> list[tuple[int, int, int, int, int]]:
    """Return operation, destination, source, offset and immediate of each instruction."""
    return [
        (operation, registers & 15, registers >> 4, offset, immediate)
        for operation, registers, offset, immediate in CODE.iter_unpack(code)
    ]


def disassemble(code: bytes) -> list[str]:
    """Return a program as text, the second half of a wide instruction left out."""
    instructions = decode(code)
    lines = []
    is_second = False
    for number, instruction in enumerate(instructions):
        if not is_second:
            lines.append(f"{number}: {_text(number, *instruction)}")
        is_second = instruction[0] == 0x18
    return lines


def _text(number: int, operation: int, dst: int, src: int, offset: int, immediate: int) -> str:
    kind, size = operation & 7, f"u{8 * SIZES[operation & 0x18]}"
    memory = f"*({size} *)(r{dst} {offset:+})"
    match kind:
        case 0 if operation == 0x18:
            return f"r{dst} = map[fd:{immediate}]"
        case 1:
            return f"r{dst} = *({size} *)(r{src} {offset:+})"
        case 2:
            return f"{memory} = {immediate}"
        case 3 if operation == 0xDB:
            return f"lock {memory} += r{src}"
        case 3:
            return f"{memory} = r{src}"
        case 5 if operation == 0x05:
            return f"goto pc{offset:+}"
        case 5 if operation == 0x85:
            return f"call {HELPERS[immediate]}#{immediate}"
        case 5 if operation == 0x95:
            return "exit"
    name = "w" if kind in (4, 6) else "r"
    other = f"{name}{src}" if operation & 8 else None
    if kind in (4, 7):
        return f"{name}{dst} {SIGNS[operation & 0xF0]} {other or immediate}"
    condition = CONDITIONS[operation & 0xF0]
    return f"if {name}{dst} {condition} {other or hex(immediate)} goto pc{offset:+}"


class Memory(dict[int, int]):
    """Bytes by address; those that were never written are 0."""

    def load(self, address: int, size: int) -> int:
        """Return a number, in the order of the machine."""
        return int.from_bytes(self.read(address, size), sys.byteorder)

    def store(self, address: int, value: int, size: int) -> None:
        """Keep a number."""
        self.write(address, (value % (1 << 8 * size)).to_bytes(size, sys.byteorder))

    def read(self, address: int, size: int) -> bytes:
        """Return bytes."""
        return bytes(self.get(address + at, 0) for at in range(size))

    def write(self, address: int, data: bytes) -> None:
        """Keep bytes."""
        self.update(enumerate(data, address))


@dataclass
class Array:
    """A map that is an array: where its entries lie, and how large each is."""

    address: int
    entry_bytes: int
    memory: Memory = field(default_factory=Memory)

    def word(self, entry: int, at: int, size: int = 8) -> int:
        """Return a word of an entry."""
        return self.memory.load(self.address + entry * self.entry_bytes + at, size)

    def set_word(self, entry: int, at: int, value: int) -> None:
        """Set a word of 64 bits."""
        self.memory.store(self.address + entry * self.entry_bytes + at, value, 8)


@dataclass
class Skb:
    """A frame as the kernel sees it, and what the helpers would know."""

    data: bytes = bytes(14) + b"\x45"
    mark: int = 0
    protocol: bytes = b"\x08\x00"
    cookie: int = 0
    sockets: dict[int, int] = field(default_factory=dict)  # cookie: index of the shaper
    is_of_group: int = 0
    has_memory: bool = True
    has_program: bool = False
    redirected: tuple[int, int] | None = None  # index, flags
    now_ns: int = 0
    arrays: dict[int, Array] = field(default_factory=dict)  # by descriptor
    rung: list[tuple[int, bytes, int]] = field(default_factory=list)  # descriptor, record, flags


def run(code: bytes, skb: Skb) -> int | None:
    """Return the verdict of a program on a frame; None if it went on in another program."""
    instructions = decode(code)
    registers = [0] * 11
    registers[1], registers[10] = CONTEXT, STACK + 512
    memory = Memory()
    at = 0
    for _ in range(MOST_STEPS):
        operation, dst, src, offset, immediate = instructions[at]
        at += 1
        kind, size = operation & 7, SIZES[operation & 0x18]
        if operation == 0x95:
            return struct.unpack("=i", struct.pack("=I", registers[0] & 0xFFFFFFFF))[0]
        if operation == 0x18:
            registers[dst] = immediate
            at += 1
        elif operation == 0x85:
            if immediate == TAIL_CALL:
                if skb.has_program:
                    return None
                continue
            registers[0] = _help(immediate, registers, memory, skb)
            registers[1:6] = [0xDEAD] * 5  # the verifier lets nobody read them
        elif operation == 0x05:
            at += offset
        elif kind == 1:
            registers[dst] = _load(registers[src] + offset, size, memory, skb)
        elif kind in (2, 3):
            value = registers[src] if kind == 3 else immediate
            if operation == 0xDB:
                value += _load(registers[dst] + offset, size, memory, skb)
            _store(registers[dst] + offset, value, size, memory, skb)
        else:
            bits = 32 if kind in (4, 6) else 64
            own, other = registers[dst], registers[src] if operation & 8 else immediate
            own, other = own % (1 << bits), other % (1 << bits)
            if kind in (4, 7):
                registers[dst] = _compute(operation & 0xF0, own, other) % (1 << bits)
            elif _holds(operation & 0xF0, own, other):
                at += offset
    raise AssertionError("the program does not end")


def _compute(operation: int, own: int, other: int) -> int:
    match SIGNS[operation]:
        case "+=":
            return own + other
        case "-=":
            return own - other
        case "*=":
            return own * other
        case "&=":
            return own & other
        case "<<=":
            return own << other
        case ">>=":
            return own >> other
        case _:
            return other


def _holds(operation: int, own: int, other: int) -> bool:
    match CONDITIONS[operation]:
        case "==":
            return own == other
        case "!=":
            return own != other
        case ">=":
            return own >= other
        case "<":
            return own < other
        case _:  # as signed numbers of 64 bits
            return (own ^ 1 << 63) <= (other ^ 1 << 63)


def _array(address: int, skb: Skb) -> Array | None:
    """Return the array that an address lies in."""
    arrays = sorted(skb.arrays.values(), key=lambda each: each.address)
    return next((each for each in reversed(arrays) if ARRAYS <= each.address <= address), None)


def _load(address: int, size: int, memory: Memory, skb: Skb) -> int:
    if address == CONTEXT + MARK_AT:
        return skb.mark
    if address == CONTEXT + LENGTH_AT:
        return len(skb.data)
    if address == CONTEXT + PROTOCOL_AT:
        return int.from_bytes(skb.protocol, sys.byteorder)
    array = _array(address, skb)
    return (array.memory if array is not None else memory).load(address, size)


def _store(address: int, value: int, size: int, memory: Memory, skb: Skb) -> None:
    if address == CONTEXT + MARK_AT:
        skb.mark = value
        return
    array = _array(address, skb)
    (array.memory if array is not None else memory).store(address, value, size)


def _help(number: int, registers: list[int], memory: Memory, skb: Skb) -> int:
    """Return what a helper answers."""
    _, first, second, third, fourth, _, *_ = registers
    match HELPERS[number]:
        case "get_socket_cookie":
            assert first == CONTEXT
            return skb.cookie
        case "map_lookup_elem" if first in skb.arrays:
            array = skb.arrays[first]
            return array.address + memory.load(second, 4) * array.entry_bytes
        case "map_lookup_elem":
            shaper = skb.sockets.get(memory.load(second, 8))
            memory.store(VALUE, shaper or 0, 4)
            return 0 if shaper is None else VALUE
        case "ktime_get_ns":
            return skb.now_ns
        case "skb_load_bytes":
            assert first == CONTEXT
            if second + fourth > len(skb.data):
                memory.write(third, bytes(fourth))
                return -14 % (1 << 64)
            memory.write(third, skb.data[second : second + fourth])
            return 0
        case "ringbuf_output":
            skb.rung.append((first, memory.read(second, third), fourth))
            return 0
        case "skb_under_cgroup":
            assert (first, third) == (CONTEXT, 0)
            return skb.is_of_group % (1 << 64)
        case "skb_change_head":
            assert (first, third) == (CONTEXT, 0)
            if not skb.has_memory:
                return -12 % (1 << 64)
            skb.data = bytes(second) + skb.data
            return 0
        case "skb_store_bytes":
            assert (first, second, fourth) == (CONTEXT, 0, 14)
            skb.data = memory.read(third, fourth) + skb.data[fourth:]
            return 0
        case _:
            skb.redirected = first, second
            return 7
