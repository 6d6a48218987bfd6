"""A machine for the eBPF programs of `kernel/programs`, and their text, for tests.

Both start from the encoded bytes, so they share nothing with what made them. The text is that of
the kernel's own disassembler (kernel/bpf/disasm.c), which bpftool prints.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

CODE = struct.Struct("=BBhi")
HELPERS = {
    1: "map_lookup_elem",
    9: "skb_store_bytes",
    12: "tail_call",
    23: "redirect",
    33: "skb_under_cgroup",
    43: "skb_change_head",
    46: "get_socket_cookie",
}
SIZES = {0x00: "u32", 0x08: "u16", 0x18: "u64"}
TAIL_CALL = 12
MOST_STEPS = 100  # more than any program has instructions
MARK_AT, PROTOCOL_AT = 8, 16
STACK, VALUE, CONTEXT = 1 << 20, 2 << 20, 3 << 20  # where these lie


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
    kind, size = operation & 7, SIZES.get(operation & 0x18)
    memory = f"*({size} *)(r{dst} {offset:+})"
    match kind:
        case 0 if operation == 0x18:
            return f"r{dst} = map[fd:{immediate}]"
        case 1:
            return f"r{dst} = *({size} *)(r{src} {offset:+})"
        case 2:
            return f"{memory} = {immediate}"
        case 3:
            return f"{memory} = r{src}"
        case 4 | 7:
            name = "w" if kind == 4 else "r"
            sign = {0x00: "+=", 0xB0: "="}[operation & 0xF0]
            value = f"{name}{src}" if operation & 8 else str(immediate)
            return f"{name}{dst} {sign} {value}"
        case 5 if operation == 0x85:
            return f"call {HELPERS[immediate]}#{immediate}"
        case 5 if operation == 0x95:
            return "exit"
        case _:
            name = "w" if kind == 6 else "r"
            sign = {0x10: "==", 0x50: "!="}[operation & 0xF0]
            return f"if {name}{dst} {sign} {immediate:#x} goto pc{offset:+}"


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


def run(code: bytes, skb: Skb) -> int | None:
    """Return the verdict of a program on a frame; None if it went on in another program."""
    instructions = decode(code)
    registers = [0] * 11
    registers[1], registers[10] = CONTEXT, STACK + 512
    memory: dict[int, int] = {}
    at = 0
    for _ in range(MOST_STEPS):
        operation, dst, src, offset, immediate = instructions[at]
        at += 1
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
        elif operation & 7 == 1:
            registers[dst] = _load(registers[src] + offset, memory, skb)
        elif operation & 7 in (2, 3):
            value = registers[src] if operation & 7 == 3 else immediate
            _store(registers[dst] + offset, value, memory, skb)
        elif operation & 7 in (4, 7):
            value = registers[src] if operation & 8 else immediate
            value += registers[dst] if operation & 0xF0 == 0 else 0
            registers[dst] = value % (1 << (32 if operation & 7 == 4 else 64))
        else:
            bits = 32 if operation & 7 == 6 else 64
            is_equal = registers[dst] % (1 << bits) == immediate % (1 << bits)
            at += offset if is_equal is (operation & 0xF0 == 0x10) else 0
    raise AssertionError("the program does not end")


def _load(address: int, memory: dict[int, int], skb: Skb) -> int:
    if address == CONTEXT + MARK_AT:
        return skb.mark
    if address == CONTEXT + PROTOCOL_AT:
        return int.from_bytes(skb.protocol, "little")
    return memory[address]


def _store(address: int, value: int, memory: dict[int, int], skb: Skb) -> None:
    if address == CONTEXT + MARK_AT:
        skb.mark = value
    else:
        memory[address] = value


def _help(number: int, registers: list[int], memory: dict[int, int], skb: Skb) -> int:
    """Return what a helper answers."""
    _, first, second, third, fourth, _, *_ = registers
    match HELPERS[number]:
        case "get_socket_cookie":
            assert first == CONTEXT
            return skb.cookie
        case "map_lookup_elem":
            shaper = skb.sockets.get(memory[second])
            memory[VALUE] = shaper or 0
            return 0 if shaper is None else VALUE
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
            assert (memory[third], memory[third + 8]) == (0, 0)
            header = bytes(12) + memory[third + 12].to_bytes(2, "little")
            skb.data = header + skb.data[fourth:]
            return 0
        case _:
            skb.redirected = first, second
            return 7
