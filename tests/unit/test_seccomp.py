"""The filter of system calls, run by an interpreter of the few instructions it is made of."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from shaper.forwarder import seccomp
from shaper.forwarder.seccomp import (
    AUDIT_ARCH,
    NUMBERS,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_KILL_PROCESS,
    program,
)

CHANNEL = 7
RING = 8  # the descriptor of the io_uring
OTHER = 9  # a descriptor that is none of these, nor a standard stream
X32_BIT = 0x40000000  # arch/x86/include/uapi/asm/unistd.h
MACHINES = sorted(AUDIT_ARCH)
HEADERS = Path("/usr/include")

# What each call with conditions may be made with, and what it may not; a call without an entry
# here may be made with anything.
PRIVATE = 128
FIT: dict[str, tuple[list[tuple[int, ...]], list[tuple[int, ...]]]] = {
    "read": ([(OTHER,)], [(0,), (1,), (2,)]),
    "readv": ([(OTHER,)], [(0,), (1,), (2,)]),
    "pread64": ([(OTHER,)], [(0,), (1,), (2,)]),
    "io_uring_enter": (
        [(RING, 64, 0, 0)],
        [(OTHER, 64, 0, 0), (RING, 64, 1, 0), (RING, 64, 0, 1), (RING, 0, 0, 16)],
    ),
    "io_uring_register": ([(RING, 6)], [(OTHER, 6), (RING, 0), (RING, 11), (RING, 20)]),
    "sendmmsg": ([(OTHER,)], [(0,), (1,), (2,), (CHANNEL,)]),
    "write": ([(2,)], [(0,), (1,), (3,), (CHANNEL,), (OTHER,)]),
    "recvmsg": ([(CHANNEL,)], [(2,), (OTHER,)]),
    "getsockopt": ([(OTHER, 1)], [(OTHER, 0), (OTHER, 263)]),
    "mmap": (
        [(0, 4096, 3, 0x22), (0, 4096, 0, 0x4022)],
        [(0, 4096, 7, 0x22), (0, 4096, 4, 0x22), (0, 4096, 3, 0x2), (0, 4096, 1, 0x1)],
    ),
    "mprotect": ([(0, 4096, 3)], [(0, 4096, 4), (0, 4096, 7)]),
    "futex": (
        [(0, each | PRIVATE) for each in (0, 1, 9, 10)],
        [(0, 6 | PRIVATE), (0, 7), (0, 12)],
    ),
}


def run(instructions: list[seccomp.Instruction], data: bytes) -> int:
    """Return what a program says of a `struct seccomp_data`."""
    accumulator = position = 0
    while True:
        code, if_true, if_false, constant = instructions[position]
        position += 1
        if code == seccomp.RETURN:
            return constant
        if code == seccomp.LOAD_WORD:
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif code == seccomp.AND:
            accumulator &= constant
        else:
            assert code == seccomp.JUMP_IF_EQUAL
            position += if_true if accumulator == constant else if_false


def verdict(
    machine: str,
    number: int,
    *arguments: int,
    architecture: int | None = None,
    ring: int | None = RING,
) -> int:
    """Return what the filter of a machine says of a call."""
    words = (*arguments, *(0,) * 6)[:6]
    data = struct.pack("=iIQ6Q", number, architecture or AUDIT_ARCH[machine], 0, *words)
    return run(program(machine, CHANNEL, ring), data)


@pytest.mark.parametrize("machine", MACHINES)
def test_only_what_is_in_the_table_is_allowed(machine: str) -> None:
    """Of all numbers, with arguments that fit, those of the table pass and the others kill."""
    names = {number: name for name, number in seccomp.numbers(machine).items()}
    for number in (*range(1024), *range(X32_BIT, X32_BIT + 1024), 0x7FFFFFFF, -1):
        for fit in FIT.get(names.get(number, ""), ([()], []))[0]:
            expected = SECCOMP_RET_ALLOW if number in names else SECCOMP_RET_KILL_PROCESS
            assert verdict(machine, number, *fit) == expected, (number, fit)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", sorted(FIT))
def test_arguments_that_do_not_fit_kill(machine: str, name: str) -> None:
    """A call of the table with another descriptor, command or protection ends the process."""
    number = seccomp.numbers(machine)[name]
    for unfit in FIT[name][1]:
        assert verdict(machine, number, *unfit) == SECCOMP_RET_KILL_PROCESS, unfit


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["io_uring_enter", "io_uring_register"])
def test_a_forwarder_without_a_ring_may_use_none(machine: str, name: str) -> None:
    """Whatever the descriptor, the calls end the process."""
    number = seccomp.numbers(machine)[name]
    for descriptor in range(32):
        for _, *fit in FIT[name][0]:
            said = verdict(machine, number, descriptor, *fit, ring=None)
            assert said == SECCOMP_RET_KILL_PROCESS


@pytest.mark.parametrize("machine", MACHINES)
def test_every_condition_is_tried(machine: str) -> None:
    """No call has conditions that the table of these tests does not know."""
    assert seccomp.checks(CHANNEL, RING).keys() == FIT.keys() <= seccomp.numbers(machine).keys()


@pytest.mark.parametrize("machine", MACHINES)
def test_another_architecture_is_refused(machine: str) -> None:
    """The same numbers by another instruction set, as i386 on x86_64, kill."""
    others = {0x40000003, 0x40000028, *AUDIT_ARCH.values()} - {AUDIT_ARCH[machine]}
    for architecture in others:
        for number in seccomp.numbers(machine).values():
            assert (
                verdict(machine, number, OTHER, architecture=architecture)
                == SECCOMP_RET_KILL_PROCESS
            )


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_one_the_kernel_takes(machine: str) -> None:
    """At most 4096 instructions of eight bytes, jumps inside the program, a return at its end."""
    instructions = program(machine, CHANNEL, RING)
    assert len(instructions) <= 4096
    assert len(seccomp.pack(instructions)) == 8 * len(instructions)
    for position, (_, if_true, if_false, _) in enumerate(instructions):
        assert position + max(if_true, if_false) + 1 <= len(instructions)
        assert max(if_true, if_false) < 256
    assert instructions[-1] == (seccomp.RETURN, 0, 0, SECCOMP_RET_KILL_PROCESS)


def test_a_machine_without_numbers_is_told() -> None:
    """A machine that the table does not know raises KeyError: there is no filter for it."""
    with pytest.raises(KeyError):
        program("vax", CHANNEL)


def defined(header: str) -> dict[str, int]:
    """Return the numbers that a header of the kernel's defines."""
    path = next((each for each in HEADERS.glob(f"**/{header}")), None)
    if path is None:
        pytest.skip(f"needs {header} (package linux-libc-dev)")
    pattern = re.compile(
        r"^#define\s+(?:__NR_|__NR3264_)?(\w+)\s+(0x[0-9a-fA-F]+|\d+)[UL]*\b", re.M
    )
    return {name: int(value, 0) for name, value in pattern.findall(path.read_text())}


def test_numbers_are_those_of_the_headers() -> None:
    """Each number is what asm-generic/unistd.h, and x86's asm/unistd_64.h, define."""
    generic = defined("asm-generic/unistd.h")
    assert {name: generic.get(name) for name in NUMBERS} == {
        name: number for name, (_, number) in NUMBERS.items()
    }
    x86 = defined("asm/unistd_64.h")
    if x86.get("epoll_wait") is not None:  # of an x86 machine
        assert {name: x86.get(name) for name in NUMBERS} == {
            name: number for name, (number, _) in NUMBERS.items()
        }
