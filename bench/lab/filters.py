"""Classic BPF programs that keep what is to be measured and cut it to its headers.

The kernel runs them before a frame is queued, so what is not wanted costs the capture nothing.
The instructions are those of Documentation/networking/filter.rst.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from dataclasses import dataclass

# Specified by include/uapi/linux/bpf_common.h, filter.h and asm-generic/socket.h.
LOAD_BYTE = 0x30
LOAD_HALF = 0x28
JUMP_EQUAL = 0x15
RETURN = 0x06
SO_ATTACH_FILTER = 26
INSTRUCTION = struct.Struct("=HBBI")  # code, jump if true, jump if false, operand

SOURCE_MAC_AT = 6
ETHER_TYPE_AT = 12
NETWORK_AT = 14  # where the payload of an Ethernet frame begins
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}

# By IP version: Ethernet type, offsets of protocol, destination and, without options or
# extension headers (the lab's own traffic has none), of the destination port.
HEADERS = {4: (0x0800, 9, 16, 22), 6: (0x86DD, 6, 24, 42)}

Step = tuple[int, int]  # instruction, operand


@dataclass(frozen=True)
class Wanted:
    """The frames a capture keeps; what is empty may be anything."""

    destination: str = ""  # an IPv4 or IPv6 address
    protocol: str = ""  # `tcp` or `udp`, to that destination
    port: int = 0  # the port there
    source_mac: str = ""  # as `02:00:00:00:00:01`


def _require_bytes(offset: int, value: bytes) -> list[Step]:
    """Go on only if the frame holds `value`, an even number of bytes, at `offset`."""
    steps = []
    for at in range(0, len(value), 2):
        wanted = int.from_bytes(value[at : at + 2], "big")
        steps += [(LOAD_HALF, offset + at), (JUMP_EQUAL, wanted)]
    return steps


def _require_flow(wanted: Wanted) -> list[Step]:
    """Go on only with IP to the destination, its protocol and its port."""
    address = ipaddress.ip_address(wanted.destination)
    ether_type, protocol_at, destination_at, port_at = HEADERS[address.version]
    steps = _require_bytes(ETHER_TYPE_AT, ether_type.to_bytes(2, "big"))
    steps += _require_bytes(NETWORK_AT + destination_at, address.packed)
    if wanted.protocol:
        number = PROTOCOLS[wanted.protocol]
        steps += [(LOAD_BYTE, NETWORK_AT + protocol_at), (JUMP_EQUAL, number)]
    if wanted.port:
        steps += _require_bytes(NETWORK_AT + port_at, wanted.port.to_bytes(2, "big"))
    return steps


def assemble(wanted: Wanted, snap_bytes: int) -> bytes:
    """Return the program that keeps the wanted frames, cut to `snap_bytes`.

    Raises:
        ValueError: a port without its protocol, or either without a destination.

    """
    if (wanted.port and not wanted.protocol) or (wanted.protocol and not wanted.destination):
        raise ValueError("a port needs a protocol, and a protocol a destination")
    steps = _require_flow(wanted) if wanted.destination else []
    if wanted.source_mac:
        steps += _require_bytes(SOURCE_MAC_AT, bytes.fromhex(wanted.source_mac.replace(":", "")))
    drop = len(steps) + 1  # the last instruction; the one before it keeps the frame
    code = [
        INSTRUCTION.pack(step, 0, drop - at - 1 if step == JUMP_EQUAL else 0, operand)
        for at, (step, operand) in enumerate(steps)
    ]
    code += [INSTRUCTION.pack(RETURN, 0, 0, snap_bytes), INSTRUCTION.pack(RETURN, 0, 0, 0)]
    return b"".join(code)


def attach(handle: socket.socket, program: bytes) -> None:
    """Make a socket receive only what the program keeps."""
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, and where they are.
    count = len(program) // INSTRUCTION.size
    described = struct.pack("@HP", count, ctypes.addressof(code))
    handle.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
