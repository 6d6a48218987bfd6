"""Traffic that is taken from a device: all that it sends, all that it receives, or of a group."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import HOST, HOST6, MASTER, NIC, PEER, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import (
    PORT,
    SHAPER,
    Listener,
    Stream,
    Tapper,
    exists,
    now_ns,
    plug,
    show,
    wait_state,
)
from tests.kernel.taking import RATE, ping, sent, take

RESUME_MS = 1000  # specified: traffic resumes within a second
OTHER = "shaper1"
ARP = b"\xff" * 6 + bytes(5) + b"\x01\x08\x06" + bytes(28)
DHCP_PORT = 67


def test_what_has_passed_is_the_masters_own(pair: Pair, shaperd: Shaperd) -> None:
    """A firewall, and a socket that is bound to a device, see the master and no shaper."""
    if shutil.which("nft") is None:
        pytest.skip("needs the nft command (package nftables)")
    take(shaperd, "ingress")
    rules = [
        "table inet t {",
        "chain c { type filter hook prerouting priority 0;",
        f"iifname {MASTER} udp dport {PORT} counter accept",
        f"udp dport {PORT} counter drop",
        "}",
        "}",
    ]
    pair.host.run(["nft", "-f", "-"], text="\n".join(rules) + "\n")
    with pair.host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, MASTER.encode())
        receiver.bind((HOST, PORT))
        receiver.settimeout(5)
        with Stream(pair.peer, HOST) as stream:
            stream.wait_for(10)
            for _ in range(10):
                receiver.recv(1 << 16)
    listed = pair.host.run(["nft", "list", "chain", "inet", "t", "c"]).stdout
    assert "packets 0 bytes 0 drop" in listed
    assert sent(shaperd) >= 10


def test_neighbours_and_broadcasts_pass(pair: Pair, shaperd: Shaperd) -> None:
    """ARP, neighbour discovery and what a DHCP client sends are the master's, both ways."""
    shaperd.configure("add", OTHER)
    take(shaperd, "egress")
    take(shaperd, "ingress", ifname=OTHER)
    for namespace, device in ((pair.host, MASTER), (pair.peer, NIC)):
        namespace.run(["ip", "neigh", "flush", "dev", device])
    ping(pair.host, PEER)
    ping(pair.peer, HOST6)
    with pair.host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, MASTER.encode())
        with Tapper(pair.peer, NIC) as tapper:
            client.sendto(bytes(300), ("255.255.255.255", DHCP_PORT))
            wait_until(
                lambda: [each for each in tapper.frames() if each[:6] == b"\xff" * 6],
                "the broadcast at the peer",
            )
    assert sent(shaperd) > 5
    assert sent(shaperd, OTHER) > 5
    assert show(shaperd)["stats"]["dropped"]["neighbour"] == 0


def test_the_port_of_a_bridge_can_be_a_master(pair: Pair, shaperd: Shaperd) -> None:
    """What it receives goes on to the bridge, as without a shaper."""
    shaperd.configure("add", OTHER)
    take(shaperd, "egress")
    take(shaperd, "ingress", ifname=OTHER)
    pair.host.ip(
        "link add br0 type bridge",
        f"link set {MASTER} master br0",
        f"address flush dev {MASTER}",
        f"address add {HOST}/24 dev br0",
        "link set br0 up",
    )
    wait_until(
        lambda: pair.host.run(["ping", "-c", "1", "-W", "1", PEER], check=False).returncode == 0,
        "the bridge to forward",
    )
    assert sent(shaperd) > 0
    assert sent(shaperd, OTHER) > 0


@pytest.mark.light
@pytest.mark.timed
def test_masters_are_followed(pair: Pair, shaperd: Shaperd) -> None:
    """Renamed, down, gone and made anew: traffic resumes within a second, by way of the shaper."""
    take(shaperd, "egress")
    with Listener(pair.peer) as listener, Stream(pair.host, PEER):
        listener.wait_after(0)
        pair.host.ip(f"link set {MASTER} down", f"link set {MASTER} name wan", "link set wan up")
        assert listener.wait_after(now_ns()) <= RESUME_MS
        wait_until(lambda: show(shaperd)["link"] == "wan", "the new name")
        pair.host.ip("link set wan down", f"link set wan name {MASTER}", "link del " + MASTER)
        wait_state(shaperd, "master-missing")
        up_ns = plug(pair)
        pair.peer.ip(f"address add {PEER}/24 dev {NIC}")
        listener.wait_after(up_ns)
        wait_state(shaperd, "active")
        before, start_ns = sent(shaperd), now_ns()
        listener.wait_after(start_ns)
        wait_until(lambda: sent(shaperd) > before, "traffic by way of the shaper")


@pytest.mark.light
@pytest.mark.timed
def test_a_dead_forwarder_lets_nothing_pass_by(pair: Pair, shaperd: Shaperd) -> None:
    """What is taken waits for the next one; nothing arrives that was not counted."""
    take(shaperd, "egress")
    (forwarder,) = shaperd.forwarder_pids()
    with Listener(pair.peer) as listener, Stream(pair.host, PEER) as stream:
        listener.wait_after(0)
        os.kill(forwarder, signal.SIGSTOP)
        stopped_ns = now_ns() + 50_000_000
        stream.wait_for(50)
        assert listener.since(stopped_ns) == []
        os.kill(forwarder, signal.SIGKILL)
        assert listener.wait_after(now_ns()) <= RESUME_MS


def test_limits_nest(pair: Pair, shaperd: Shaperd) -> None:
    """What a shaper by route sends passes that of the whole device as well."""
    shaperd.configure("add", OTHER)
    take(shaperd, "egress")
    shaperd.configure("attach", OTHER, MASTER)
    shaperd.configure("speed", OTHER, "1gbit")
    pair.host.ip(f"link set {OTHER} up", f"route add {PEER}/32 dev {OTHER} src {HOST}")
    with Listener(pair.peer) as listener, Stream(pair.host, PEER) as stream:
        stream.wait_for(20)
        stream.stop()
        wait_until(lambda: len(listener.arrivals()) == stream.sent, "every datagram, once")
    assert sent(shaperd, OTHER) >= stream.sent
    assert sent(shaperd) >= stream.sent


@pytest.mark.parametrize("how", ["egress", "ingress"])
def test_the_master_is_free_when_the_daemon_ends(pair: Pair, tmp_path: Path, how: str) -> None:
    """Killed, and stopped in order: traffic flows, and not by the shaper; nothing is left."""
    with Shaperd(pair.host, directory=tmp_path) as daemon:
        take(daemon, how)
        ping(pair.host, PEER)
        forwarders = daemon.forwarder_pids()
        os.kill(daemon.pid, signal.SIGKILL)
        for pid in forwarders:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ping(pair.host, PEER)
        assert exists(pair.host)
    with Shaperd(pair.host, directory=tmp_path) as daemon:
        ping(pair.host, PEER)
        assert sent(daemon) > 0
    ping(pair.host, PEER)
    assert not exists(pair.host)


def test_nothing_is_taken_before_a_speed_is_set_or_while_it_is_down(
    pair: Pair, shaperd: Shaperd
) -> None:
    """Nobody who works by way of the master is shut out between two commands."""
    shaperd.configure("attach", SHAPER, MASTER, "egress")
    ping(pair.host, PEER)
    assert sent(shaperd) == 0
    shaperd.configure("speed", SHAPER, RATE)
    ping(pair.host, PEER)
    assert sent(shaperd) > 0
    pair.host.ip(f"link set {SHAPER} down")
    wait_state(shaperd, "admin-down")
    before = sent(shaperd)
    ping(pair.host, PEER)
    assert sent(shaperd) == before
    pair.host.ip(f"link set {SHAPER} up")
    wait_state(shaperd, "active")
    ping(pair.host, PEER)
    assert sent(shaperd) > before
    shaperd.configure("detach", SHAPER)
    ping(pair.host, PEER)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["attach", OTHER, MASTER, "sideways"], 1, "'sideways'"),
        (["attach", OTHER, MASTER, "cgroup"], 1, "needs a group"),
        (["attach", OTHER, MASTER, "egress"], 2, f"{SHAPER} takes the egress of {MASTER} already"),
        (["attach", OTHER, SHAPER, "ingress"], 2, f"{SHAPER} is a shaper"),
        (["attach", SHAPER, SHAPER, "egress"], 2, SHAPER),
        (["attach", OTHER, MASTER, "cgroup", "/etc/passwd"], 2, "'/etc/passwd'"),
        (["attach", OTHER, MASTER, "cgroup", "../x"], 2, "'../x'"),
        (["attach", OTHER, MASTER, "cgroup", "/"], 2, "egress"),
    ],
)
def test_what_makes_no_sense_is_refused(
    pair: Pair, shaperd: Shaperd, arguments: list[str], status: int, words: str
) -> None:
    """With one sentence that names the value, and nothing is changed."""
    shaperd.configure("add", OTHER)
    take(shaperd, "egress")
    done = shaperd.shapecfg(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (status, 1)
    assert words in done.stderr
    assert show(shaperd, OTHER)["link"] is None
