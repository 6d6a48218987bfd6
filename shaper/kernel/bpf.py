"""bpf(2): maps, programs and links, as descriptors. There is no binding for it, hence ctypes.

Every function raises OSError with the kernel's errno: EPERM without CAP_BPF (or in a user
namespace), EINVAL for what an older kernel does not know. A link, and what it attached, ends with
its last descriptor.

Sources: include/uapi/linux/bpf.h (union bpf_attr), bpf(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from enum import IntEnum

from shaper.kernel.programs import INSTRUCTION_BYTES

# Specified: arch/*/include/uapi/asm/unistd*.h.
_NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "armv7l": 386,
    "i686": 357,
    "ppc64le": 361,
    "s390x": 351,
}

# Specified: linux/bpf.h.
_MAP_CREATE, _MAP_UPDATE, _MAP_DELETE, _PROG_LOAD = 0, 2, 3, 5
_PROG_TEST_RUN, _LINK_CREATE, _LINK_UPDATE = 10, 28, 29
_PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD, _PROG_QUERY = 13, 15, 16
_F_NO_PREALLOC, _F_MMAPABLE = 1, 1 << 10
_F_BEFORE, _F_AFTER, _F_LINK = 1 << 3, 1 << 4, 1 << 13
_NAME_BYTES = 16  # the last one is a NUL
_MAP_ATTRIBUTES = struct.Struct("=IIIIIII16s")
_ELEMENT_ATTRIBUTES = struct.Struct("=IxxxxQQQ")
_LOAD_ATTRIBUTES = struct.Struct("=IIQQIIQII16s")
_RUN_ATTRIBUTES = struct.Struct("=IIIIQQIIIIQQ")
_LINK_ATTRIBUTES = struct.Struct("=IIIIIxxxxQ")
_UPDATE_ATTRIBUTES = struct.Struct("=IIII")
_QUERY_ATTRIBUTES = struct.Struct("=IIIIQI")
_QUERY_BYTES = 64
_INFORMATION_BYTES, _INFORMATION_NAME_AT = 80, 64  # the beginning of struct bpf_prog_info
_LINK_INFORMATION_BYTES, _LINK_DEVICE_AT = 24, 16  # the beginning of struct bpf_link_info
_NO_DEVICE = 0  # no device has this index
_CONTEXT_BYTES = 192  # more than any kernel's struct __sk_buff that a test would set

# Chosen.
_LICENCE = b"Dual MIT/GPL\0"  # no helper that is used asks for it
_LOG_BYTES = 1 << 16
_MOST_PROGRAMS = 64  # of a device and direction; that is the kernel's own limit, too

_libc = ctypes.CDLL(None, use_errno=True)


class Map(IntEnum):
    """Kinds of maps (BPF_MAP_TYPE_*)."""

    HASH = 1
    ARRAY = 2
    PROGRAMS = 3
    GROUPS = 8
    RING = 27  # a ring buffer, from 5.8 on


class ProgramKind(IntEnum):
    """Kinds of programs (BPF_PROG_TYPE_*)."""

    SOCKET_FILTER = 1  # also of a TAP
    SCHED_CLS = 3


class Hook(IntEnum):
    """Where a program is attached (BPF_TCX_*)."""

    INGRESS = 46
    EGRESS = 47


def create_map(
    kind: Map,
    name: str,
    *,
    key_bytes: int,
    value_bytes: int,
    entries: int,
    is_shared: bool = False,
) -> int:
    """Return the descriptor of a new map; a shared one may be mapped (mmap), from 5.5 on."""
    flags = _F_NO_PREALLOC if kind is Map.HASH else _F_MMAPABLE if is_shared else 0
    attributes = (kind, key_bytes, value_bytes, entries, flags, 0, 0, _name(name))
    return _call(_MAP_CREATE, _MAP_ATTRIBUTES.pack(*attributes))


def put(descriptor: int, key: bytes, value: bytes) -> None:
    """Set an entry of a map."""
    _element(_MAP_UPDATE, descriptor, key, value)


def take_out(descriptor: int, key: bytes) -> None:
    """Remove an entry of a map, if it is there."""
    try:
        _element(_MAP_DELETE, descriptor, key, None)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def load(name: str, code: bytes, kind: ProgramKind = ProgramKind.SCHED_CLS) -> int:
    """Return the descriptor of a program, of the traffic-control hooks unless said otherwise.

    A program that the kernel's verifier refuses is a fault of ours: what it says is in the error.
    """
    try:
        return _load(name, code, kind, None)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        return _load(name, code, kind, log)
    except OSError as error:
        said = log.value.decode(errors="replace").strip()
        number = error.errno or errno.EIO
        raise OSError(number, f"{os.strerror(number)}: {said}" if said else "") from error


def run(program: int, frame: bytes, context: bytes = b"") -> tuple[int, bytes, bytes]:
    """Run a program on a frame; return its verdict, the frame and the context afterwards.

    This is BPF_PROG_TEST_RUN: nothing is sent. The context is a struct __sk_buff, of
    which the kernel lets a few fields be set.
    """
    data = ctypes.create_string_buffer(frame, len(frame))
    after = ctypes.create_string_buffer(len(frame) + 256)
    given = ctypes.create_string_buffer(context.ljust(_CONTEXT_BYTES, b"\0"), _CONTEXT_BYTES)
    left = ctypes.create_string_buffer(_CONTEXT_BYTES)
    attributes = ctypes.create_string_buffer(
        _RUN_ATTRIBUTES.pack(
            *(program, 0, len(frame), len(after), _address(data), _address(after)),
            *(1, 0, _CONTEXT_BYTES, _CONTEXT_BYTES, _address(given), _address(left)),
        )
    )
    _call_with(_PROG_TEST_RUN, attributes, _RUN_ATTRIBUTES.size)
    _, verdict, _, length, *_ = _RUN_ATTRIBUTES.unpack_from(attributes)
    return ctypes.c_int32(verdict).value, after.raw[:length], left.raw


def attach(program: int, ifindex: int, hook: Hook, *, after_link: int | None = None) -> int:
    """Attach a program to a device; return the descriptor of the link that holds it there.

    It becomes the first program of the hook, or the one after `after_link`.
    """
    flags = _F_BEFORE if after_link is None else _F_AFTER | _F_LINK
    attributes = (program, ifindex, hook, flags, after_link or 0, 0)
    return _call(_LINK_CREATE, _LINK_ATTRIBUTES.pack(*attributes))


def has_links(program: int) -> bool:
    """Whether this kernel (6.6 or later) attaches programs to devices by links.

    It is asked for a device that cannot be, and an older one refuses before it looks for that.
    """
    try:
        os.close(attach(program, _NO_DEVICE, Hook.EGRESS))
    except OSError as error:
        if error.errno not in (errno.ENODEV, errno.EINVAL):
            raise
        return error.errno == errno.ENODEV
    return True


def replace_program(link: int, program: int) -> None:
    """Let a link run another program from the next frame on."""
    _call(_LINK_UPDATE, _UPDATE_ATTRIBUTES.pack(link, program, 0, 0))


def device_of(link: int) -> int:
    """Return the index of the device that a link is on; 0 once it was taken off."""
    information = ctypes.create_string_buffer(_LINK_INFORMATION_BYTES)
    attributes = struct.pack("=IIQ", link, _LINK_INFORMATION_BYTES, _address(information))
    _call(_OBJ_GET_INFO_BY_FD, attributes)
    (ifindex,) = struct.unpack_from("=I", information, _LINK_DEVICE_AT)
    return int(ifindex)


def names(ifindex: int, hook: Hook) -> list[str]:
    """Return the names of the programs that are attached to a device there, in their order."""
    identifiers = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    attributes = ctypes.create_string_buffer(
        _QUERY_ATTRIBUTES.pack(ifindex, hook, 0, 0, ctypes.addressof(identifiers), _MOST_PROGRAMS),
        _QUERY_BYTES,
    )
    _call_with(_PROG_QUERY, attributes, _QUERY_BYTES)
    count = _QUERY_ATTRIBUTES.unpack_from(attributes)[-1]
    return [_program_name(identifiers[each]) for each in range(min(count, _MOST_PROGRAMS))]


def _program_name(identifier: int) -> str:
    descriptor = _call(_PROG_GET_FD_BY_ID, struct.pack("=III", identifier, 0, 0))
    try:
        information = ctypes.create_string_buffer(_INFORMATION_BYTES)
        attributes = struct.pack("=IIQ", descriptor, _INFORMATION_BYTES, _address(information))
        _call(_OBJ_GET_INFO_BY_FD, attributes)
        name = information.raw[_INFORMATION_NAME_AT : _INFORMATION_NAME_AT + _NAME_BYTES]
        return name.partition(b"\0")[0].decode(errors="replace") or "without a name"
    finally:
        os.close(descriptor)


def _load(
    name: str, code: bytes, kind: ProgramKind, log: ctypes.Array[ctypes.c_char] | None
) -> int:
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(_LICENCE)
    count = len(code) // INSTRUCTION_BYTES
    logging = (1, len(log), _address(log)) if log is not None else (0, 0, 0)
    attributes = _LOAD_ATTRIBUTES.pack(
        *(kind, count, _address(instructions), _address(licence)),
        *(*logging, 0, 0, _name(name)),
    )
    return _call(_PROG_LOAD, attributes)


def _element(command: int, descriptor: int, key: bytes, value: bytes | None) -> None:
    keys = ctypes.create_string_buffer(key, len(key))
    values = None if value is None else ctypes.create_string_buffer(value, len(value))
    at = 0 if values is None else _address(values)
    _call(command, _ELEMENT_ATTRIBUTES.pack(descriptor, _address(keys), at, 0))


def _call(command: int, attributes: bytes) -> int:
    return _call_with(command, ctypes.create_string_buffer(attributes), len(attributes))


def _call_with(command: int, attributes: ctypes.Array[ctypes.c_char], size: int) -> int:
    """Call; what is answered is left in the attributes."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    answer = int(_libc.syscall(number, command, attributes, size))
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def _name(name: str) -> bytes:
    return name.encode()[: _NAME_BYTES - 1]
