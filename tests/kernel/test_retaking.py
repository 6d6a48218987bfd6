"""Programs that others take off a master are missed, and put back."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import struct
from collections.abc import Iterator

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, PEER, Pair
from bench.lab.wait import wait_until
from shaper.kernel.bpf import device_of
from shaper.kernel.captor import Captor, WantedCapture
from shaper.kernel.tap import Tap
from shaper.model import Capture
from tests.kernel.steps import SHAPER, show

# Specified: arch/*/include/uapi/asm/unistd*.h, linux/bpf.h.
BPF_CALLS = {"x86_64": 321, "aarch64": 280}
GET_FD_BY_ID, GET_NEXT_ID, DETACH = 30, 31, 34
ATTRIBUTES_BYTES = 16

MISSED_S = 3.0
LIBC = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, number: int) -> tuple[int, int]:
    """Make one call with a number; return its answer and the second number."""
    call = BPF_CALLS.get(platform.machine())
    if call is None:
        pytest.skip(f"the number of bpf(2) is not known for {platform.machine()}")
    attributes = ctypes.create_string_buffer(struct.pack("=I", number), ATTRIBUTES_BYTES)
    answer = LIBC.syscall(call, command, attributes, ATTRIBUTES_BYTES)
    return answer, struct.unpack_from("=I", attributes, 4)[0]


def links_of(ifindex: int) -> Iterator[int]:
    """Return the descriptors of the links on a device, each open until the next one."""
    number = 0
    while True:
        answer, number = bpf(GET_NEXT_ID, number)
        if answer < 0:
            return
        descriptor, _ = bpf(GET_FD_BY_ID, number)
        if descriptor >= 0:
            try:
                if device_of(descriptor) == ifindex:
                    yield descriptor
            finally:
                os.close(descriptor)


@pytest.mark.parametrize("how", ["egress", "ingress"])
def test_a_program_that_others_remove_is_put_back(pair: Pair, shaperd: Shaperd, how: str) -> None:
    """Within some seconds, and it is told."""
    shaperd.configure("attach", SHAPER, MASTER, how)
    shaperd.configure("speed", SHAPER, "50mbit")
    with pair.host.enter():
        index = socket.if_nametoindex(MASTER)
        detached = [bpf(DETACH, each)[0] for each in links_of(index)]
    if not detached:
        pytest.skip("needs links on devices (Linux 6.6)")
    assert detached == [0]

    def is_back() -> bool:
        with pair.host.enter():
            return len(list(links_of(index))) == 1

    wait_until(is_back, "another link", MISSED_S)
    assert "it is put back" in shaperd.log()
    pair.host.run(["ping", "-c", "3", "-i", "0.1", "-W", "1", PEER])
    wait_until(lambda: show(shaperd)["stats"]["sent_packets"] > 0, "traffic", MISSED_S)


def test_a_filter_that_others_remove_is_missed(pair: Pair) -> None:
    """With its queue discipline or without; and it can be taken anew."""
    if shutil.which("tc") is None:
        pytest.skip("needs the tc command (package iproute2)")
    with pair.host.enter():
        tap = Tap(SHAPER)
        own, master = socket.if_nametoindex(SHAPER), socket.if_nametoindex(MASTER)
    wanted = WantedCapture(Capture.EGRESS, own, master, has_link_header=True)
    removals = (
        ["filter", "del", "dev", MASTER, "egress"],
        ["qdisc", "del", "dev", MASTER, "clsact"],
    )
    with pair.host.enter():
        captor = Captor(has_tcx=False)
    for removal in removals:
        with pair.host.enter():
            taken = captor.take(wanted)
        assert taken.is_in_place()
        pair.host.run(["tc", *removal])
        assert not taken.is_in_place()
        taken.close()
    captor.close()
    tap.remove()
