"""Taking traffic of a device beside what others have put on it, and of one made of others."""

from __future__ import annotations

import os
import socket

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import HOST, MASTER, NIC, PEER, Pair
from bench.lab.wait import wait_until
from shaper.kernel import bpf
from shaper.kernel.clsact import FIRST_PRIORITY, Filter
from shaper.kernel.programs import EXIT, MOVE_CONSTANT, Instruction, encode
from shaper.kernel.wire import Wire
from tests.kernel.steps import SHAPER
from tests.kernel.taking import RATE, ping, sent, take

OTHER = "shaper1"
BRIDGE = "br0"
VLAN_HOST, VLAN_PEER = "10.77.5.1", "10.77.5.2"
PASS, DROP = -1, 2


def answering(verdict: int) -> int:
    """Return a program of somebody else's that gives every frame this verdict."""
    code = (Instruction(MOVE_CONSTANT, "", immediate=verdict), Instruction(EXIT, ""))
    return bpf.load("somebodys", encode(code))


def is_answered(pair: Pair, address: str = PEER) -> bool:
    """Whether one ping is answered."""
    command = ["ping", "-c", "1", "-W", "0.3", address]
    return pair.host.run(command, check=False).returncode == 0


@pytest.mark.parametrize("how", ["egress", "ingress"])
def test_programs_of_others_stay_and_work(pair: Pair, shaperd: Shaperd, how: str) -> None:
    """One that was there before ours and one that came after; ours alone goes with a detach."""
    hook = bpf.Hook[how.upper()]
    passing, last, dropping = answering(PASS), answering(PASS), answering(DROP)
    with pair.host.enter():
        ifindex = socket.if_nametoindex(MASTER)
        first = bpf.attach(passing, ifindex, hook)
        take(shaperd, how)
        second = bpf.attach(last, ifindex, hook)
        ping(pair.host, PEER)
        assert sent(shaperd) > 0
        bpf.replace_program(first, dropping)
    assert not is_answered(pair)
    shaperd.configure("detach", SHAPER)
    assert not is_answered(pair)
    for descriptor in (first, second, passing, last, dropping):
        os.close(descriptor)
    wait_until(lambda: is_answered(pair), "an answer")


@pytest.mark.parametrize("how", ["egress", "ingress"])
def test_filters_of_others_stay_and_work(pair: Pair, shaperd: Shaperd, how: str) -> None:
    """On a kernel where ours are links, which come before all filters."""
    take(shaperd, how)
    dropping = answering(DROP)
    with pair.host.enter():
        place = {"ifindex": socket.if_nametoindex(MASTER), "priority": FIRST_PRIORITY}
        wire = Wire()
        foreign = Filter(
            wire, dropping, "somebodys", hook=bpf.Hook[how.upper()], shaper=9999, **place
        )
    assert not is_answered(pair)
    shaperd.configure("detach", SHAPER)
    assert foreign.is_in_place()
    assert not is_answered(pair)
    take(shaperd, how)
    foreign.close()
    before = sent(shaperd)
    wait_until(lambda: is_answered(pair), "an answer")
    assert sent(shaperd) > before
    wire.close()
    os.close(dropping)


def test_a_bridge_can_be_a_master(pair: Pair, shaperd: Shaperd) -> None:
    """What its own addresses send and receive is taken."""
    pair.host.ip(
        f"link add {BRIDGE} type bridge",
        f"link set {MASTER} master {BRIDGE}",
        f"address flush dev {MASTER}",
        f"address add {HOST}/24 dev {BRIDGE}",
        f"link set {BRIDGE} up",
    )
    take_both(shaperd, BRIDGE)
    wait_until(lambda: is_answered(pair), "the bridge to forward")
    assert sent(shaperd) > 0
    assert sent(shaperd, OTHER) > 0


@pytest.mark.parametrize("is_outer", [False, True])
def test_a_vlan_keeps_its_tags(pair: Pair, shaperd: Shaperd, *, is_outer: bool) -> None:
    """Its device can be a master, and so can the one that it is on."""
    for namespace, device, address in (
        (pair.host, MASTER, VLAN_HOST),
        (pair.peer, NIC, VLAN_PEER),
    ):
        add = ["ip", "link", "add", "link", device, "name", "v5", "type", "vlan", "id", "5"]
        if namespace.run(add, check=False).returncode:
            pytest.skip("needs VLAN devices (module 8021q)")
        namespace.ip(f"address add {address}/24 dev v5", "link set v5 up")
    take_both(shaperd, MASTER if is_outer else "v5")
    wait_until(lambda: is_answered(pair, VLAN_PEER), "an answer", 20)
    assert sent(shaperd) > 0
    assert sent(shaperd, OTHER) > 0


def take_both(daemon: Shaperd, master: str) -> None:
    """Take what a device sends and what it receives."""
    for ifname, how in ((SHAPER, "egress"), (OTHER, "ingress")):
        daemon.configure("attach", ifname, master, how)
        daemon.configure("speed", ifname, RATE)
