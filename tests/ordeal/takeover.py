"""A restart of a thousand shapers: how long nothing leaves by each of those that are in use."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.lab.topology import MASTER, NIC, Pair, make_pair
from shaper.desired.store import Store
from shaper.model import Options, Spec
from tests.kernel.manager import Manager
from tests.ordeal.campaign import Trial, campaign

MANY, IN_USE = 1000, 100
STALL_NS = 300_000_000
RATE = 10_000_000
AROUND_S = 0.5  # of frames before the restart, and after it

# Out of each shaper fifty times a second, whatever is routed to it: its number in a frame.
SEND = """
import select, socket, sys, time
channels = []
for name in sys.argv[1].split(","):
    channels.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    channels[-1].bind((name, 0))
due = time.monotonic()
while not select.select([0], [], [], max(0, due - time.monotonic()))[0]:
    due += 0.02
    for number, channel in enumerate(channels):
        try:
            channel.send(bytes(6) + b"\\2" + bytes(5) + b"\\x88\\xb5" + number.to_bytes(46, "big"))
        except OSError:
            pass
"""
# What has come of each: how many frames, and the longest time without one.
RECEIVE = """
import json, select, socket, struct, sys
channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
channel.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
channel.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
channel.bind((sys.argv[1], 0x88b5))
channel.setblocking(False)
print("ready", flush=True)
last, longest, count = {}, {}, {}
while True:
    ready = select.select([0, channel], [], [])[0]
    try:
        data, notes, _, _ = channel.recvmsg(100, 64)
    except BlockingIOError:
        if 0 in ready:
            break
        continue
    seconds, nanoseconds = struct.unpack("=qq", notes[0][2])
    now, number = seconds * 10**9 + nanoseconds, int.from_bytes(data[14:60], "big")
    longest[number] = max(longest.get(number, 0), now - last.get(number, now))
    last[number], count[number] = now, count.get(number, 0) + 1
print(json.dumps([list(count.values()), list(longest.values())]))
"""


@contextlib.contextmanager
def crowd(count: int, used: list[str]) -> Iterator[tuple[Pair, Manager]]:
    """Run a daemon with so many shapers under a manager; those to be used are up."""
    with tempfile.TemporaryDirectory() as directory, make_pair() as pair:
        manager = Manager(pair, Path(directory), "shapers = 0\n")
        with contextlib.closing(manager):
            options = Options(rate_bits=10_000_000)
            Store(manager.state).save(
                Spec(f"shaper{each}", MASTER, options) for each in range(count)
            )
            manager.start()
            pair.host.ip(*(f"link set {name} up" for name in used))
            yield pair, manager


def restart_under_load(
    pair: Pair, manager: Manager, used: list[str], number: int
) -> tuple[list[int], list[int]]:
    """End the daemon and start the next; return how many frames came of each, and the pauses."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    assert manager.process is not None
    with pair.peer.popen([sys.executable, "-c", RECEIVE, NIC], **pipes) as ear:
        assert ear.stdout is not None
        ear.stdout.readline()
        argv = [sys.executable, "-c", SEND, ",".join(used)]
        with pair.host.popen(argv, stdin=subprocess.PIPE) as load:
            time.sleep(AROUND_S)
            os.kill(manager.process.pid, number)
            manager.process.wait()
            manager.listen()
            manager.start()
            time.sleep(AROUND_S)
            load.communicate()
        told, _ = ear.communicate()
    counts, pauses = json.loads(told)
    return counts, pauses


def take_over(trial: Trial, count: int, in_use: int) -> None:
    """Restart and kill in turn; those in use are spread among the others."""
    used = [f"shaper{each}" for each in range(count)][count // in_use - 1 :: count // in_use]
    with crowd(count, used) as (pair, manager):
        for number in trial:
            ending = signal.SIGKILL if number % 2 else signal.SIGTERM
            counts, pauses = restart_under_load(pair, manager, used, ending)
            if len(counts) < in_use or min(counts) < AROUND_S / 0.02:
                trial.failed(
                    f"of {in_use} shapers frames came by {len(counts)}, {min(counts)} of one"
                )
            trial.stalled(max(pauses))
            if max(pauses) > STALL_NS:
                trial.failed(f"{ending.name}: nothing came for {max(pauses) / 1e9:.2f} s")


@campaign("many taken over", count=20)
def take_over_many(trial: Trial) -> None:
    """Of a thousand shapers those in use, a hundred, stand still for 0.3 s at the most."""
    take_over(trial, MANY, IN_USE)
