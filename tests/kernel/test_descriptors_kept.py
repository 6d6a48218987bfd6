"""A restart where a service manager keeps descriptors, played by the test."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.namespaces import stop
from bench.lab.topology import MASTER, Pair
from bench.lab.wait import wait_until
from tests.kernel.manager import Manager

FIRST, LAST = "192.0.2.77", "192.0.2.78"  # addresses that begin and end what is listened to

# Out of the shaper, whatever is routed to it.
TEN_FRAMES = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as channel:
    channel.bind((sys.argv[1], 0))
    for _ in range(10):
        channel.send(bytes(6) + bytes([2]) + bytes(5) + b"\\x08\\x00" + bytes(100))
"""


@pytest.fixture
def manager(pair: Pair, tmp_path: Path) -> Iterator[Manager]:
    """Return a manager whose daemon runs, with one shaper that is up and active."""
    configuration = f'[device.shaper0]\nmaster = "{MASTER}"\nspeed = "10mbit"\nup = true\n'
    with contextlib.closing(Manager(pair, tmp_path, configuration)) as made:
        made.start()
        wait_until(lambda: "LOWER_UP" in shown(pair), "carrier")
        yield made


def shown(pair: Pair) -> str:
    """Return what `ip` shows of the shaper."""
    return pair.host.run(["ip", "-o", "link", "show", "shaper0"], check=False).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_successor_changes_nothing(
    manager: Manager, pair: Pair, tmp_path: Path, number: int
) -> None:
    """Not one event of rtnetlink tells of the shaper, whichever way the daemon before it ended."""
    before, first, told = shown(pair), manager.process, tmp_path / "told"
    assert first is not None
    with told.open("w") as output:
        monitor = pair.host.popen(
            ["ip", "-o", "monitor", "link", "address", "route", "rule"], stdout=output
        )
    wait_until(lambda: is_told(pair, told, FIRST), "the monitor to listen")
    told.write_text("")
    os.kill(first.pid, number)
    first.wait()
    manager.listen()
    manager.start()
    wait_until(lambda: is_told(pair, told, LAST), "the monitor to have told all")
    stop(monitor)
    assert [line for line in told.read_text().splitlines() if "shaper0" in line] == []
    assert shown(pair) == before


def is_told(pair: Pair, told: Path, address: str) -> bool:
    """Make an event that is no shaper's, and return whether it has been seen."""
    pair.host.ip(f"address replace {address}/32 dev {MASTER}")
    return address in told.read_text()


def forwarders(manager: Manager) -> list[str]:
    """Return the names under which forwarders are kept."""
    return [name for name in manager.kept if name.startswith("process-")]


def has_ended(process: int) -> bool:
    """Whether the process of a handle has ended."""
    return bool(select.select([process], [], [], 0)[0])


def sent(pair: Pair) -> int:
    """Return how many frames the master has sent."""
    (link,) = json.loads(pair.host.run(["ip", "-j", "-s", "link", "show", MASTER]).stdout)
    return int(link["stats64"]["tx"]["packets"])


@pytest.mark.parametrize("capture", ["route", "egress"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_frames_go_on_without_a_daemon(
    manager: Manager, pair: Pair, tmp_path: Path, number: int, capture: str
) -> None:
    """The forwarder goes on, until the successor has one of its own."""
    with (tmp_path / "shaper.toml").open("a") as configuration:
        configuration.write(f'capture = "{capture}"\n')
    assert manager.process is not None
    manager.process.send_signal(signal.SIGHUP)
    wait_until(lambda: manager.listen("READY=1"), "the daemon to have read it")
    (name,) = forwarders(manager)
    os.kill(manager.process.pid, number)
    manager.process.wait()
    manager.listen()
    process = os.dup(manager.kept[name])
    before = sent(pair)
    pair.host.run([sys.executable, "-c", TEN_FRAMES, "shaper0" if capture == "route" else MASTER])
    wait_until(lambda: sent(pair) >= before + 10, "frames to leave by the shaper")
    assert not has_ended(process)
    manager.start()
    wait_until(lambda: has_ended(process), "the forwarder before to end")
    os.close(process)
    manager.listen()
    (now,) = forwarders(manager)
    assert now != name


def test_a_forwarder_that_hangs_is_killed_by_the_successor(manager: Manager) -> None:
    """It is told by its handle, and shapers are taken over all the same."""
    (name,) = forwarders(manager)
    assert manager.process is not None
    os.kill(manager.process.pid, signal.SIGKILL)
    manager.process.wait()
    process = os.dup(manager.kept[name])
    signal.pidfd_send_signal(process, signal.SIGSTOP)
    manager.start()
    assert has_ended(process)
    os.close(process)


def test_a_forwarder_ends_when_it_is_kept_no_more(manager: Manager) -> None:
    """As the manager closes what it keeps when the service is stopped, or given up."""
    (name,) = forwarders(manager)
    assert manager.process is not None
    stop(manager.process)
    manager.listen()
    process = os.dup(manager.kept[name])
    assert not has_ended(process)
    for each in list(manager.kept):
        os.close(manager.kept.pop(each))
    wait_until(lambda: has_ended(process), "the forwarder to end")
    os.close(process)
