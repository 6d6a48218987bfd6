"""The eBPF programs in the kernel: its verifier takes them, and they do what they should there."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.lab.wait import wait_until
from shaper.kernel import bpf, programs

SHAPER = 1  # `lo`, of every namespace: BPF_PROG_TEST_RUN redirects nothing
MARK = 0xFEEDBEEF
FRAME = bytes(12) + b"\x08\x00" + b"\x45" + bytes(45)
PLACE = bytes(4)  # 0 in an array

Opened = Callable[[int], int]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Close the descriptors that it was given."""
    descriptors: list[int] = []

    def keep(descriptor: int) -> int:
        descriptors.append(descriptor)
        return descriptor

    yield keep
    for descriptor in descriptors:
        os.close(descriptor)


def make_map(opened: Opened, kind: bpf.Map, key_bytes: int = 4) -> int:
    """Return a map."""
    try:
        made = bpf.create_map(kind, "test", key_bytes=key_bytes, value_bytes=4, entries=1)
    except PermissionError:
        pytest.skip("needs CAP_BPF, outside of a user namespace")
    return opened(made)


def load(opened: Opened, program: programs.Program) -> int:
    """Return a program, once the verifier has taken it."""
    return opened(bpf.load("test", programs.encode(program)))


def unified() -> str:
    """Return where the groups are."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        if " - cgroup2 " in line:
            return line.split()[4]
    pytest.skip("needs a cgroup2 mount")


@pytest.mark.parametrize("has_link_header", [True, False])
def test_the_kernel_takes_and_runs_them(opened: Opened, has_link_header: bool) -> None:
    """Frames of others are taken; a bare packet is given the header of its protocol."""
    sockets = make_map(opened, bpf.Map.HASH, 8)
    egress = programs.egress(SHAPER, sockets, has_link_header=has_link_header)
    ingress = programs.ingress(SHAPER, MARK, has_link_header=has_link_header)
    for program in (egress, ingress):
        verdict, frame, _ = bpf.run(load(opened, program), FRAME)
        assert verdict == programs.REDIRECT
        assert frame == (FRAME if has_link_header else bytes(12) + b"\x08\x00" + FRAME)


def test_the_mark_is_taken_off(opened: Opened) -> None:
    """By which `ingress` knows what has been shaped; what comes to be shaped has none."""
    marked = struct.pack("=8xI", MARK)
    sockets = make_map(opened, bpf.Map.HASH, 8)
    ingress = load(opened, programs.ingress(SHAPER, MARK, has_link_header=True))
    reinject = load(opened, programs.reinject(SHAPER, SHAPER, sockets, MARK))
    verdict, _, context = bpf.run(ingress, FRAME, marked)
    assert (verdict, context[:12]) == (programs.NEXT, bytes(12))
    verdict, _, context = bpf.run(reinject, FRAME)
    assert (verdict, context[:12]) == (programs.NEXT, bytes(12))


@pytest.mark.parametrize("has_link_header", [True, False])
def test_the_group_counts_with_all_below_it(opened: Opened, has_link_header: bool) -> None:
    """A test run has the group of its caller; without a group, or after it, nothing is taken."""
    sockets, groups = make_map(opened, bpf.Map.HASH, 8), make_map(opened, bpf.Map.GROUPS)
    program = programs.cgroup(SHAPER, sockets, groups, has_link_header=has_link_header)
    cgroup = load(opened, program)
    assert bpf.run(cgroup, FRAME)[0] == programs.NEXT
    root = opened(os.open(unified(), os.O_RDONLY | os.O_DIRECTORY))
    bpf.put(groups, PLACE, struct.pack("=I", root))
    assert bpf.run(cgroup, FRAME)[0] == programs.REDIRECT
    for _ in range(2):  # the second time there is nothing to remove
        bpf.take_out(groups, PLACE)
        assert bpf.run(cgroup, FRAME)[0] == programs.NEXT


def test_the_stub_runs_the_other_while_its_array_is_open(opened: Opened) -> None:
    """Once nobody has the array open any more everything passes: a daemon that died lets go."""
    array = bpf.create_map(bpf.Map.PROGRAMS, "test", key_bytes=4, value_bytes=4, entries=1)
    try:
        stub = load(opened, programs.stub(array))
        assert bpf.run(stub, FRAME)[0] == programs.NEXT
        other = load(opened, programs.ingress(SHAPER, MARK, has_link_header=True))
        bpf.put(array, PLACE, struct.pack("=I", other))
        assert bpf.run(stub, FRAME)[0] == programs.REDIRECT
    finally:
        os.close(array)
    # The kernel empties the array a moment after its last descriptor is closed.
    wait_until(lambda: bpf.run(stub, FRAME)[0] == programs.NEXT, "the array to be empty")


def test_a_program_that_is_refused_says_why() -> None:
    """What the verifier says is in the error."""
    endless = (programs.Instruction(programs.EXIT, "without a verdict"),)
    with pytest.raises(OSError, match="R0 !read_ok") as raised:
        bpf.load("test", programs.encode(endless))
    assert raised.value.errno in (13, 22)
