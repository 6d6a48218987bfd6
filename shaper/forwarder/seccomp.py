"""The system calls a forwarder may make, and the seccomp filter that ends it at any other.

This module is data: a table of calls, and the classic BPF program made of it (seccomp(2),
Documentation/userspace-api/seccomp_filter.rst). `sandbox.confine` installs it.

The law: a call that is not in the table, or whose arguments fail one of its checks, kills the
process. So does a call by another architecture's numbers: those of x32 have a bit of their own and
match no entry, and those of another instruction set differ in the first word that is compared.

How it works: the program compares the number with one entry after the other, those that move
frames first. A check looks at the lower half of an argument. That is exact for descriptors,
commands and operations, which the kernel itself takes as 32 bits, and sufficient for the flags of
mmap and mprotect, which all lie there.

Limits: what a pointer leads to cannot be checked. So an address given with a frame is not seen,
and a packet socket's holder may send on any device of the network namespace.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

# Specified: include/uapi/linux/seccomp.h.
SECCOMP_RET_KILL_PROCESS = 0x80000000
SECCOMP_RET_ALLOW = 0x7FFF0000

# Specified: AUDIT_ARCH_* of linux/audit.h, and codes put together from linux/bpf_common.h.
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}
LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K
# Where struct seccomp_data has what; all three architectures have the lower half first.
NUMBER_AT = 0
ARCHITECTURE_AT = 4
ARGUMENTS_AT = 16

# Specified: include/uapi/linux/io_uring.h.
IORING_REGISTER_FILES_UPDATE = 6

# Specified: include/uapi/linux/futex.h, asm-generic/socket.h and
# asm-generic/mman-common.h.
_SOL_SOCKET = 1
_PROT_EXEC = 0x4
_MAP_ANONYMOUS = 0x20
_FUTEX_WAIT = 0
_FUTEX_WAKE = 1
_FUTEX_WAIT_BITSET = 9
_FUTEX_WAKE_BITSET = 10
_FUTEX_PRIVATE_FLAG = 128
_FUTEX_CLOCK_REALTIME = 256

_ALL_BITS = 0xFFFFFFFF
_STANDARD_STREAMS = (0, 1, 2)
_STANDARD_ERROR = 2

# Specified: arch/x86/entry/syscalls/syscall_64.tbl, and include/uapi/asm-generic/unistd.h, which
# aarch64 and riscv64 share. None: there is no such call.
# No ioctl: the TAP could be given away, and FIONBIO makes a socket block for all that share it.
NUMBERS: dict[str, tuple[int, int | None]] = {
    "read": (0, 63),
    "readv": (19, 65),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "pread64": (17, 67),
    "sendto": (44, 206),
    "sendmmsg": (307, 269),
    "write": (1, 64),
    "recvmsg": (47, 212),
    "getsockopt": (55, 209),
    "getsockname": (51, 204),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "epoll_ctl": (233, 21),
    "timerfd_settime": (286, 86),
    "close": (3, 57),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "getrandom": (318, 278),
    "clock_gettime": (228, 113),
    "fstat": (5, 80),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}

Instruction = tuple[int, int, int, int]  # code, how far to jump if true, if false, constant


@dataclass(frozen=True)
class Check:
    """A condition on one argument of a call.

    Attributes:
        argument: which, from 0 on.
        values: what it is compared with; nothing fits if there are none.
        mask: the bits of it that are compared.
        is_one: whether it has to be one of `values`, or none of them.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = _ALL_BITS
    is_one: bool = True


def checks(channel: int, ring: int | None = None) -> dict[str, tuple[Check, ...]]:
    """Return what is checked of the calls whose arguments matter.

    Args:
        channel: the descriptor of the forwarder's end of the channel.
        ring: that of its io_uring; None if it has none.
    """
    its_ring = Check(0, () if ring is None else (ring,))
    not_a_stream = Check(0, _STANDARD_STREAMS, is_one=False)
    not_executable = Check(2, (0,), mask=_PROT_EXEC)
    return {
        # The log may be a terminal: what is typed there is not the forwarder's to read.
        "read": (not_a_stream,),
        "readv": (not_a_stream,),
        "pread64": (not_a_stream,),
        # Of a ring that is restricted to reading (`uring`). Not to wait, nor with another mask of
        # signals; and one file is exchanged for another.
        "io_uring_enter": (its_ring, Check(2, (0,)), Check(3, (0,))),
        "io_uring_register": (its_ring, Check(1, (IORING_REGISTER_FILES_UPDATE,))),
        # Not on the channel: descriptors could travel beside its messages.
        "sendmmsg": (Check(0, (*_STANDARD_STREAMS, channel), is_one=False),),
        # Last words. Not on the TAP: the host would take it for a frame received.
        "write": (Check(0, (_STANDARD_ERROR,)),),
        "recvmsg": (Check(0, (channel,)),),
        # Python asks for the kind of a socket it is handed.
        "getsockopt": (Check(1, (_SOL_SOCKET,)),),
        "mmap": (not_executable, Check(3, (_MAP_ANONYMOUS,), mask=_MAP_ANONYMOUS)),
        # The C library's allocator, where the heap cannot grow.
        "mprotect": (not_executable,),
        "futex": (
            Check(
                1,
                (_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_WAIT_BITSET, _FUTEX_WAKE_BITSET),
                mask=_ALL_BITS & ~(_FUTEX_PRIVATE_FLAG | _FUTEX_CLOCK_REALTIME),
            ),
        ),
    }


def numbers(machine: str) -> dict[str, int]:
    """Return the numbers of the calls on a machine (`uname -m`).

    Raises KeyError for a machine that the table does not know.
    """
    column = 0 if AUDIT_ARCH[machine] == AUDIT_ARCH["x86_64"] else 1
    known = {name: both[column] for name, both in NUMBERS.items()}
    return {name: number for name, number in known.items() if number is not None}


def program(machine: str, channel: int, ring: int | None = None) -> list[Instruction]:
    """Return the filter for a machine (`uname -m`).

    Raises KeyError for a machine that the table does not know.

    Args:
        machine: as `uname -m` calls it.
        channel: the descriptor of the forwarder's end of the channel.
        ring: that of its io_uring; None if it has none.
    """
    made: list[Instruction] = [
        (LOAD_WORD, 0, 0, ARCHITECTURE_AT),
        (JUMP_IF_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (RETURN, 0, 0, SECCOMP_RET_KILL_PROCESS),
        (LOAD_WORD, 0, 0, NUMBER_AT),
    ]
    conditions = checks(channel, ring)
    for name, number in numbers(machine).items():
        body = [step for check in conditions.get(name, ()) for step in _compare(check)]
        body.append((RETURN, 0, 0, SECCOMP_RET_ALLOW))
        made += [(JUMP_IF_EQUAL, 0, len(body), number), *body]
    return [*made, (RETURN, 0, 0, SECCOMP_RET_KILL_PROCESS)]


def pack(instructions: list[Instruction]) -> bytes:
    """Return a program as the kernel takes it (struct sock_filter)."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _compare(check: Check) -> list[Instruction]:
    """Return steps that go on behind themselves if the check holds, and kill if not."""
    made: list[Instruction] = [(LOAD_WORD, 0, 0, ARGUMENTS_AT + 8 * check.argument)]
    if check.mask != _ALL_BITS:
        made.append((AND, 0, 0, check.mask))
    for left, value in zip(range(len(check.values), 0, -1), check.values, strict=True):
        if check.is_one:
            made.append((JUMP_IF_EQUAL, left, 0, value))
        else:
            made.append((JUMP_IF_EQUAL, left - 1, 1 if left == 1 else 0, value))
    return [*made, (RETURN, 0, 0, SECCOMP_RET_KILL_PROCESS)]
