"""Taking traffic by filters (clsact), on a kernel that has no links (tcx), and only there."""

from __future__ import annotations

import errno
import os
import shutil
import socket

import pytest

from bench.lab.topology import MASTER, PEER, Pair
from shaper.errors import KernelRefused
from shaper.kernel import bpf
from shaper.kernel.captor import Captor, FilterHeld, WantedCapture
from shaper.kernel.tap import Tap
from shaper.model import Capture
from tests.kernel.steps import SHAPER


def ping(pair: Pair) -> None:
    """Require that one of three is answered."""
    pair.host.run(["ping", "-c", "3", "-i", "0.1", "-W", "1", PEER])


def test_filters_serve_a_kernel_without_links(pair: Pair) -> None:
    """They take traffic beside those of others, and let it pass once the daemon is gone."""
    if shutil.which("tc") is None:
        pytest.skip("needs the tc command (package iproute2)")
    with pair.host.enter():
        tap = Tap(SHAPER)
        own, master = socket.if_nametoindex(SHAPER), socket.if_nametoindex(MASTER)
    pair.host.run(["tc", "qdisc", "add", "dev", MASTER, "clsact"])
    foreign = ["dev", MASTER, "egress", "prio", "7", "protocol", "ip", "u32"]
    pair.host.run(["tc", "filter", "add", *foreign, "match", "u32", "0", "0"])
    pair.host.ip(f"link set {SHAPER} up")
    wanted = WantedCapture(Capture.EGRESS, own, master, has_link_header=True)
    with pair.host.enter():
        captor = Captor(has_tcx=False)
        taken = captor.take(wanted)
    failing = ["ping", "-c", "1", "-W", "0.2", PEER]
    assert pair.host.run(failing, check=False).returncode != 0
    assert os.read(tap.fileno(), 1 << 16)
    taken.close()
    ping(pair)
    listed = pair.host.run(["tc", "filter", "show", "dev", MASTER, "egress"]).stdout
    assert ("u32" in listed, "bpf" in listed) == (True, False)
    with pair.host.enter():
        left = captor.take(wanted)
    for held in left.held:  # as if the daemon had been killed
        assert isinstance(held, FilterHeld)
        os.close(held.array)
    ping(pair)
    captor.close()
    tap.remove()


def test_one_refusal_of_a_link_does_not_end_links(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the kernel has them is asked once, and not learnt from what went wrong."""
    with pair.host.enter():
        tap = Tap(SHAPER)
        own, master = socket.if_nametoindex(SHAPER), socket.if_nametoindex(MASTER)
        wanted = WantedCapture(Capture.EGRESS, own, master, has_link_header=True)
        captor = Captor()
        captor.take(wanted).close()

        def refuse(*_: object, **__: object) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

        with monkeypatch.context() as patched:
            patched.setattr(bpf, "attach", refuse)
            with pytest.raises(KernelRefused):
                captor.take(wanted)
        taken = captor.take(wanted)
        assert bpf.names(master, bpf.Hook.EGRESS) == ["shaper_egress"]
        taken.close()
    captor.close()
    tap.remove()
