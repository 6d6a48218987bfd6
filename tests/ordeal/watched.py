"""A load of four times the rate in the container, and when it arrives: windows and pauses."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from tests.ordeal.campaign import Trial
from tests.system.installed_machine import PYTHON, REMOTE, InstalledMachine

RATE_BITS = 10_000_000
WINDOW_S = 0.1
PAYLOAD, HEADERS = 1400, 42
BUCKET_BYTES = 26514 + 2 * 1514  # and one frame on either side of a window
LAST_WORDS_S = 0.05  # for a program to end
AROUND_S = 0.7  # of load before the fault, and after it

OWN = "10.9.9.9"  # of the machine, whatever its lease is

# Both go on for the seconds they are given, or, given "-", until their input ends.
SEND = """
import select, socket, sys, time
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
began, sent, lasts = time.monotonic(), 0, sys.argv[2]
while True:
    now = time.monotonic() - began
    if select.select([0], [], [], 0)[0] if lasts == "-" else now >= float(lasts):
        break
    while sent < now * 3400:
        try:
            channel.sendto(bytes(1400), (sys.argv[1], 9))
        except OSError:
            pass
        sent += 1
    time.sleep(0.002)
"""
RECEIVE = """
import json, select, socket, struct, sys, time
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
channel.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
channel.bind(("", 9))
channel.settimeout(0.05)
print("ready", flush=True)
began, lasts, seen = time.monotonic(), sys.argv[1], []
while True:
    now = time.monotonic() - began
    if select.select([0], [], [], 0)[0] if lasts == "-" else now >= float(lasts):
        break
    try:
        _, notes, _, _ = channel.recvmsg(65536, 64)
    except TimeoutError:
        continue
    seconds, nanoseconds = struct.unpack("=qq", notes[0][2])
    seen.append(seconds + nanoseconds / 1e9)
print(json.dumps(seen))
"""


def sender(machine: InstalledMachine, way: str, seconds: float | None) -> subprocess.Popen[bytes]:
    """Start four times the rate, in the direction and the group that are shaped."""
    words = ["-c", SEND, OWN if way == "ingress" else REMOTE, lasting(seconds)]
    if way == "ingress":
        return machine.peer.popen([sys.executable, *words], stdin=subprocess.PIPE)
    unit = ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--unit=burst"]
    prefix = unit if way == "cgroup" else []
    argv = machine.container.argv(*prefix, PYTHON, *words)
    return subprocess.Popen(argv, stdin=subprocess.PIPE)


def receiver(machine: InstalledMachine, way: str, seconds: float | None) -> subprocess.Popen[str]:
    """Start to listen where the load arrives, and return when it is listened."""
    words = ["-c", RECEIVE, lasting(seconds)]
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    if way == "ingress":
        argv = machine.container.argv(PYTHON, *words)
        started = subprocess.Popen(argv, **ends, encoding="utf-8")
    else:
        started = machine.peer.popen([sys.executable, *words], **ends, encoding="utf-8")
    assert started.stdout is not None
    started.stdout.readline()
    return started


def lasting(seconds: float | None) -> str:
    """Return how a program is told how long it goes on: until it is ended, for None."""
    return "-" if seconds is None else str(seconds)


def end(started: subprocess.Popen[Any]) -> None:
    """End a program that goes on until its input ends."""
    assert started.stdin is not None
    started.stdin.close()


def heard(started: subprocess.Popen[str]) -> list[float]:
    """Return the times that a receiver prints in the end."""
    assert started.stdout is not None
    return [float(each) for each in json.loads(started.stdout.read())]


def arrivals(
    machine: InstalledMachine,
    way: str,
    make_fault: Callable[[InstalledMachine], None],
    seconds: float,
) -> list[float]:
    """Return when datagrams arrived, before, during and after a fault, until the load ended.

    The load lasts as long as the fault does, and `seconds` at least.
    """
    with receiver(machine, way, None) as listening:
        with sender(machine, way, None) as load:
            until = time.monotonic() + seconds - AROUND_S
            time.sleep(AROUND_S)
            make_fault(machine)
            time.sleep(max(AROUND_S, until - time.monotonic()))
            ended = time.time()  # the clock of the stamps
            end(load)
            load.wait()
        end(listening)
        times = heard(listening)
        return sorted([*times, max(ended - LAST_WORDS_S, times[-1] if times else 0)])


def most_in_a_window(times: list[float]) -> int:
    """Return how many bytes came within any window."""
    most = first = 0
    for last, when in enumerate(times):
        while times[first] < when - WINDOW_S:
            first += 1
        most = max(most, last - first + 1)
    return most * (PAYLOAD + HEADERS)


def longest_pause_ns(times: list[float]) -> int:
    """Return the longest time without a datagram."""
    return round(1e9 * max(after - before for before, after in pairwise(times)))


def judge(trial: Trial, what: str, times: list[float], most_pause_ns: int | None) -> None:
    """Note the pause, and fail where more came than may, or nothing for too long."""
    if len(times) < RATE_BITS / 8 * WINDOW_S / (PAYLOAD + HEADERS):
        trial.failed(f"{what}: {len(times)} datagrams arrived")
    if (held := most_in_a_window(times)) > RATE_BITS / 8 * WINDOW_S + BUCKET_BYTES:
        trial.failed(f"{what}: {held} bytes in a window of {WINDOW_S} s")
    if most_pause_ns is not None:
        trial.stalled(pause_ns := longest_pause_ns(times))
        if pause_ns > most_pause_ns:
            trial.failed(f"{what}: nothing arrived for {pause_ns / 1e9:.2f} s")
