"""What a forwarder can do once it is taken over: what it holds, and what holds it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import python
from bench.lab.topology import HOST, MASTER, NIC, Pair
from bench.lab.wait import wait_until
from shaper.forwarder import landlock
from shaper.kernel.packet_socket import open_packet_socket
from tests.kernel import attacks, inmate
from tests.kernel.steps import ETH_P_ALL, SHAPER, Tapper, shape, wait_state

SO_DETACH_FILTER = 27  # include/uapi/asm-generic/socket.h
SO_LOCK_FILTER = 44
BEACON = b"heard on the wire"


def send_beacon(pair: Pair) -> None:
    """Send a datagram to the host, from the far end of the cable."""
    with pair.peer.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(BEACON, (HOST, 9))


def test_a_packet_socket_hears_nothing_whatever_it_is_bound_to(pair: Pair) -> None:
    """Bound anew to every protocol, beside a socket that hears the wire, it reads no frame."""
    with (
        pair.host.enter(),
        open_packet_socket(MASTER) as sock,
        Tapper(pair.host, MASTER) as tapper,
    ):
        sock.bind((MASTER, ETH_P_ALL))
        send_beacon(pair)
        wait_until(lambda: any(BEACON in frame for frame in tapper.frames()), "the beacon")
        with pytest.raises(BlockingIOError):
            sock.recv(2048)


def test_what_deafens_a_packet_socket_cannot_be_taken_off(pair: Pair) -> None:
    """The filter stays, locked, also for one that holds every capability; the socket sends."""
    with pair.host.enter(), open_packet_socket(MASTER) as sock, Tapper(pair.peer, NIC) as tapper:
        for option, value in ((SO_DETACH_FILTER, 1), (SO_LOCK_FILTER, 0)):
            with pytest.raises(PermissionError) as refused:
                sock.setsockopt(socket.SOL_SOCKET, option, value)
            assert refused.value.errno == errno.EPERM
        frame = b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + BEACON.ljust(64)
        sock.send(bytes(10) + frame)  # behind a virtio-net header of nothing
        wait_until(lambda: any(BEACON in frame for frame in tapper.frames()), "the frame")


def play(pair: Pair, preparation: str, *attacks: str, prefix: tuple[str, ...] = ()) -> Any:
    """Return how attacks of taken-over forwarders end, as `inmate.py` reports, and its log."""
    done = pair.host.run([*prefix, *python("tests.kernel.inmate", preparation, *attacks)])
    return {**json.loads(done.stdout), "log": done.stderr}


@pytest.mark.parametrize("preparation", ["-", "u"], ids=["as root", "as a user"])
def test_every_attack_ends_the_forwarder(pair: Pair, preparation: str) -> None:
    """Whoever the daemon runs as: whatever is not for moving frames, the kernel kills for.

    What is left to a forwarder that was taken over is what docs/design.md says, and no more.
    """
    played = play(pair, preparation)
    expected = dict.fromkeys(inmate.everything(), "SIGSYS") | dict.fromkeys(attacks.POWERS, "done")
    assert played["ends"] == expected
    assert played["row"] == attacks.LIE
    assert played["log"].strip() == "a lie in the log"


# How attacks end without the filter of system calls, by what else there is.
OTHER_LOCKS = {
    "take the filter off": "EPERM",
    "receive on the packet socket": "EAGAIN",
    "open a packet socket": "EPERM",
    "fork": "EAGAIN",
    "start a thread": "EAGAIN",
    "trace the supervisor": "EPERM",
    "write the supervisor's memory": "EPERM",
    "read the supervisor's memory": "EPERM",
    "slow the supervisor down": "EPERM",
    "reschedule the supervisor": "EPERM",
    "pin the supervisor down": "EPERM",
    "become root": "EPERM",
    "leave the namespace": "EPERM",
    "mount": "EPERM",
    "change the root": "EPERM",
    "load a BPF program": "EPERM",
    "set the clock": "EPERM",
}
LANDLOCK = {
    "open a file": "EACCES",
    "write a file": "EACCES",
    "make a directory": "EACCES",
    "execute a program": "EACCES",
}
LANDLOCK_SCOPES = {  # from version 6 on
    "connect to the control socket": "EPERM",
    "kill the supervisor": "EPERM",
    "stop the supervisor": "EPERM",
}


@pytest.mark.parametrize("preparation", ["n", "un"], ids=["as root", "as a user"])
def test_without_the_filter_other_locks_remain(pair: Pair, preparation: str) -> None:
    """A kernel without seccomp is told of in the log; the rest of the prison stands."""
    try:
        version = landlock.version()
    except OSError:
        version = 0
    expected = OTHER_LOCKS | (LANDLOCK if version else {})
    expected |= LANDLOCK_SCOPES if version >= landlock.SCOPES_SINCE else {}
    if preparation == "n":  # root's limits are not an ordinary user's to set
        expected["lower the supervisor's limits"] = "EPERM"
    played = play(pair, preparation, *expected)
    assert played["ends"] == expected
    assert "its system calls are not filtered (Function not implemented)" in played["log"]


def test_without_landlock_the_filter_suffices(pair: Pair) -> None:
    """A kernel without Landlock lets a forwarder do no more, and without both the log says so."""
    played = play(pair, "l", "open a file", "kill the supervisor", "lie on the board")
    ends = {"open a file": "SIGSYS", "kill the supervisor": "SIGSYS", "lie on the board": "done"}
    assert played["ends"] == ends
    assert played["log"] == ""
    assert "nor is there Landlock (Function not" in play(pair, "nl", "lie on the board")["log"]


def test_root_that_cannot_change_its_user_is_told_and_confined(pair: Pair) -> None:
    """Without CAP_SETUID, as in a container, a forwarder stays uid 0: said, and still held."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs the setpriv command (package util-linux)")
    without = ("setpriv", "--bounding-set=-setuid,-setgid")
    played = play(pair, "-", "open a file", "lie on the board", prefix=without)
    assert played["ends"] == {"open a file": "SIGSYS", "lie on the board": "done"}
    assert "it is still root, without capabilities: CAP_SETUID" in played["log"]


# Python imports a module of this name when it starts. A forwarder then asks for its parent, which
# no forwarder may, when it is told to drop what waits.
ASTRAY = """
import os, sys
if "shaper.forwarder" in sys.orig_argv:
    from shaper.forwarder.path import Path
    Path.flush = lambda self: os.getppid()
"""


def test_a_forwarder_that_goes_astray_is_told_of_and_replaced(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log names the signal and what it means, and another forwarder goes on."""
    (tmp_path / "sitecustomize.py").write_text(ASTRAY, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Shaperd(pair.host, directory=tmp_path) as daemon:
        shape(daemon, pair)
        wait_state(daemon, "active")
        (pid,) = daemon.forwarder_pids()
        pair.host.ip(f"link set {SHAPER} down")
        told = f"forwarder {pid} died (signal SIGSYS: a system call that its filter does not allow"
        wait_until(lambda: told in daemon.log(), "a word of it in the log")
        wait_until(lambda: daemon.forwarder_pids() not in ([], [pid]), "another forwarder")


def test_a_running_forwarder_is_confined(shaperd: Shaperd) -> None:
    """The kernel says so: filtered, without capabilities, groups and dumps, a user of its own."""
    (pid,) = shaperd.forwarder_pids()
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert status["Seccomp"] == ["2"]
    assert status["NoNewPrivs"] == ["1"]
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind][0], 16) == 0, kind
    assert status["Groups"] == []
    own = str(0x70000000 + pid)
    assert status["Uid"] == status["Gid"] == [own] * 4
    assert Path(f"/proc/{pid}/environ").stat().st_uid == 0  # proc(5): of what is not dumpable
    limits = Path(f"/proc/{pid}/limits").read_text(encoding="utf-8")
    for limit in ("processes", "core file size", "locked memory"):
        (line,) = [line for line in limits.splitlines() if line.startswith(f"Max {limit} ")]
        assert line.removeprefix(f"Max {limit}").split()[:2] == ["0", "0"], line
    assert os.readlink(f"/proc/{pid}/fd/0") == os.readlink(f"/proc/{pid}/fd/1") == "/dev/null"
    assert "not filtered" not in shaperd.log()
