"""A restart, a crash and a stop, seen from outside: what the device and the wire show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from bench.lab.wait import wait_until
from tests.system.installed_machine import CHECKOUT, PYTHON, REMOTE, WHEELS, InstalledMachine, make

RATE = "10mbit"
RATE_BITS = 10_000_000
BEYOND = "10.1.0.0/24"
WINDOW_S = 0.1
# A window of the capture touches what was in the bucket, and one frame on either side.
BUCKET_BYTES = 26514 + 2 * 1514
FIRST, LAST = 10, 59
MOST_S = 4.0  # on a machine that is busy; half a second here
STALL_S = 0.2  # 0.03 s here
DRAIN_S = 0.3  # for what is under way

# 40 Mbit/s, until the standard input ends.
SENDER = f"""
import select, socket, sys, time
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
began, sent = time.monotonic(), 0
while not select.select([sys.stdin], [], [], 0)[0]:
    now = time.monotonic() - began
    while sent < now * 3400:
        try:
            channel.sendto(bytes(1400), ("{REMOTE}", 9))
        except OSError:
            pass
        sent += 1
    time.sleep(0.002)
"""
# Times and lengths of what arrives until then, as the kernel stamps it at the peer's device.
RECEIVER = """
import json, select, socket, struct, sys
channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
channel.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
channel.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
channel.bind(("eth0", 0))
channel.settimeout(0.05)
seen = []
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        frame, notes, _, _ = channel.recvmsg(65536, 64)
    except TimeoutError:
        continue
    if frame[23:24] == b"\\x11" and len(frame) > 1000:
        seconds, nanoseconds = struct.unpack("=qq", notes[0][2])
        seen.append((seconds + nanoseconds / 1e9, len(frame)))
print(json.dumps(seen))
"""


def capture(
    machine: InstalledMachine, seconds: float, *during: list[str], python: str = PYTHON
) -> list[tuple[float, int]]:
    """Send 40 Mbit/s, run commands meanwhile, and return what the peer saw, and the end of it."""
    receive, pipe = [sys.executable, "-c", RECEIVER], subprocess.PIPE
    with machine.peer.popen(receive, stdin=pipe, stdout=pipe, encoding="utf-8") as receiver:
        assert receiver.stdout is not None
        assert receiver.stdin is not None
        receiver.stdout.readline()
        send = machine.container.argv(python, "-c", SENDER)
        with subprocess.Popen(send, stdin=pipe):  # whose input ends with it
            began = time.monotonic()
            time.sleep(seconds / 3)  # of load, before; and as much after
            for command in during:
                machine.container.try_run(*command)
            time.sleep(max(seconds / 3, began + seconds - time.monotonic()))
            ended = time.time()  # the clock of the stamps
        time.sleep(DRAIN_S)
        receiver.stdin.close()
        seen = [(when, length) for when, length in json.loads(receiver.stdout.read())]
        return sorted([*seen, (ended, 0)])


def most_in_a_window(seen: list[tuple[float, int]]) -> int:
    """Return how many bytes came within any window."""
    most = held = first = 0
    for when, length in seen:
        held += length
        while seen[first][0] < when - WINDOW_S:
            held -= seen[first][1]
            first += 1
        most = max(most, held)
    return most


def longest_pause(seen: list[tuple[float, int]]) -> float:
    """Return the longest time without a frame."""
    times = [when for when, _ in seen]
    return max(after - before for before, after in pairwise(times))


@pytest.fixture
def shaping(machine: InstalledMachine) -> Iterator[InstalledMachine]:
    """Bring shaper0 up, attached, routed and passing, whatever happened before."""
    machine.systemctl("reset-failed")
    machine.shape(RATE)
    yield machine
    machine.systemctl("start", "shaper")


def forwarders(machine: InstalledMachine) -> list[str]:
    """Return the process ids of all forwarders in the machine, but for those that stand by."""
    serving = "shaper.forwarder [0-9]+ *$"
    return machine.container.try_run("pgrep", "-f", serving).stdout.split()


WAYS = {
    "restart": ["systemctl", "restart", "shaper"],
    "kill": ["systemctl", "kill", "--kill-who=main", "--signal=KILL", "shaper"],
    "reload": ["systemctl", "reload", "shaper"],
}
LEFT_OVER = re.compile("left-over process|remains running")  # systemd's words
KEPT = ("ifindex", "link", "options")  # of what is shown


@pytest.mark.parametrize("way", WAYS)
def test_nothing_leaves_unshaped_and_nothing_is_lost(shaping: InstalledMachine, way: str) -> None:
    """No window above the rate and the bucket, a short pause, and not one event of the device.

    Index, link, options and routes are what they were.
    """
    before, routes = shaping.show(), shaping.routes()
    argv = shaping.container.argv(
        "timeout", "8", "ip", "-o", "monitor", "link", "address", "route", "rule"
    )
    with subprocess.Popen(argv, stdout=subprocess.PIPE, encoding="utf-8") as monitor:
        seen = capture(shaping, 3.0, WAYS[way])
        wait_until(shaping.is_passing, "shaper0 to be active", 10)
        shaping.container.run("pkill", "-f", "ip -o monitor")
        assert monitor.stdout is not None
        told = [line for line in monitor.stdout if "shaper0" in line]
    assert told == []
    after = shaping.show()
    assert [after[each] for each in KEPT] == [before[each] for each in KEPT]
    assert shaping.routes() == routes
    assert most_in_a_window(seen) <= RATE_BITS / 8 * WINDOW_S + BUCKET_BYTES
    print(way, "stall", round(longest_pause(seen), 3), "window", most_in_a_window(seen))
    assert longest_pause(seen) <= STALL_S


def test_egress_goes_on_through_a_restart(shaping: InstalledMachine) -> None:
    """The same of a whole device, whose programs know what the forwarder sends."""
    shell = shaping.container.shell
    shell(f"shapecfg replace shaper0 eth1 egress\nip route replace {BEYOND} dev eth1 src 10.0.0.1")
    try:
        wait_until(shaping.is_passing, "shaper0 to be active", 10)
        seen = capture(shaping, 3.0, WAYS["restart"])
    finally:
        shell(f"shapecfg replace shaper0 eth1\nip route replace {BEYOND} dev shaper0")
    assert most_in_a_window(seen) <= RATE_BITS / 8 * WINDOW_S + BUCKET_BYTES
    assert longest_pause(seen) <= STALL_S


def test_a_stop_removes_the_device(shaping: InstalledMachine) -> None:
    """The manager's descriptors do not keep it."""
    shaping.systemctl("stop", "shaper")
    assert shaping.container.try_run("ip", "link", "show", "shaper0").returncode != 0
    assert shaping.property("NFileDescriptorStore") == "0"
    wait_until(lambda: forwarders(shaping) == [], "the forwarder to end", 5)


@pytest.mark.parametrize("way", ["restart", "kill"])
def test_one_forwarder_is_left_after(shaping: InstalledMachine, way: str) -> None:
    """That of the daemon before goes on meanwhile, and ends when its successor is there.

    The service manager has no warning of it.
    """
    before = forwarders(shaping)
    assert len(before) == 1
    shaping.container.run(*WAYS[way])
    wait_until(
        lambda: len(now := forwarders(shaping)) == 1 and now != before, "another forwarder", 10
    )
    wait_until(shaping.is_passing, "shaper0 to be active", 10)
    assert shaping.container.run("systemctl", "is-active", "shaper") == "active\n"
    told = shaping.container.run("journalctl", "--no-pager", "--boot")
    assert [line for line in told.splitlines() if LEFT_OVER.search(line)] == []


def test_an_installation_tells_that_the_old_program_runs(shaping: InstalledMachine) -> None:
    """And how to change to the new one, which it does itself when it is asked to."""
    before = shaping.main_pid()
    told = shaping.container.run(*make("install", CHECKOUT, WHEELS))
    assert "still runs" in told
    assert "systemctl restart shaper" in told
    assert shaping.main_pid() == before
    told = shaping.container.run(*make("install", CHECKOUT, WHEELS, "RESTART=yes"))
    assert "was restarted" in told
    assert shaping.main_pid() != before
    wait_until(shaping.is_passing, "shaper0 to be active", 10)


def test_a_device_that_is_deleted_is_gone_at_once(shaping: InstalledMachine) -> None:
    """The name can be used again when `del` has ended."""
    for _ in range(2):
        shaping.container.run("shapecfg", "add", "shaper8")
        shaping.container.run("shapecfg", "del", "shaper8")
        assert shaping.container.try_run("ip", "link", "show", "shaper8").returncode != 0


def test_many_devices_stop_and_start(shaping: InstalledMachine) -> None:
    """All are gone when `stop` has ended, and there when `start` has; neither takes long."""
    with_each(shaping, "add")
    began = time.monotonic()
    shaping.systemctl("stop", "shaper")
    stopped = time.monotonic()
    assert "shaper" not in shaping.container.run("ip", "-br", "link")
    shaping.systemctl("start", "shaper")
    started = time.monotonic()
    assert f"shaper{LAST}" in shaping.container.run("ip", "-br", "link")
    print(f"stop {stopped - began:.2f} s, start {started - stopped:.2f} s")
    assert max(stopped - began, started - stopped) < MOST_S
    with_each(shaping, "delete")


def with_each(machine: InstalledMachine, method: str) -> None:
    """Add or delete them all, by one process."""
    call = f"[client.{method}(f'shaper{{each}}') for each in range({FIRST}, {LAST + 1})]"
    client = "from shapecfg.client import DEFAULT_SOCKET, Client; client = Client(DEFAULT_SOCKET)"
    machine.container.run(PYTHON, "-c", f"{client}; {call}")
