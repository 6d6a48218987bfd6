"""The service restarted, killed, reloaded and upgraded in a container, under four times the rate.

What arrives is listened to at its socket, as the kernel stamps it. In no window of 0.1 s may it be
more than the rate gives and the bucket holds, and the pause is noted. Each way a shaper can be led
traffic has a campaign.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, pairwise
from pathlib import Path

from bench.lab.wait import wait_until
from tests.ordeal.campaign import Trial, campaign
from tests.system.machine import (
    CHECKOUT,
    PYTHON,
    REMOTE,
    WHEELS,
    Machine,
    fetch_wheels,
    installed_machine,
    make,
)

RATE_BITS = 10_000_000
WINDOW_S = 0.1
PAYLOAD, HEADERS = 1400, 42
BUCKET_BYTES = 26514 + 2 * 1514  # and one frame on either side of a window
STALL_NS = 200_000_000
ROUND_S, UPGRADE_S = 3.0, 25.0
LAST_WORDS_S = 0.05  # for a program to end
AROUND_S = 1.0  # of load before the fault, and after it

SEND = """
import socket, sys, time
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
began, sent = time.monotonic(), 0
while (now := time.monotonic() - began) < float(sys.argv[2]):
    while sent < now * 3400:
        try:
            channel.sendto(bytes(1400), (sys.argv[1], 9))
        except OSError:
            pass
        sent += 1
    time.sleep(0.002)
"""
RECEIVE = """
import json, socket, struct, sys, time
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
channel.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
channel.bind(("", 9))
channel.settimeout(0.05)
print("ready", flush=True)
end, seen = time.monotonic() + float(sys.argv[1]), []
while time.monotonic() < end:
    try:
        _, notes, _, _ = channel.recvmsg(65536, 64)
    except TimeoutError:
        continue
    seconds, nanoseconds = struct.unpack("=qq", notes[0][2])
    seen.append(seconds + nanoseconds / 1e9)
print(json.dumps(seen))
"""
RESTART = ["systemctl", "restart", "shaper"]
KILL = ["systemctl", "kill", "--kill-who=main", "--signal=KILL", "shaper"]
RELOAD = ["systemctl", "reload", "shaper"]
UPGRADE = make("install", CHECKOUT, WHEELS, "RESTART=yes")

BY_ROUTE = "shapecfg attach shaper0 eth1\nip link set shaper0 up\n"
ROUTED = "ip route replace 10.1.0.0/24 dev shaper0 src 10.0.0.1\n"
DIRECT = "ip route replace 10.1.0.0/24 dev eth1 src 10.0.0.1\n"
SHAPED = '[device.shaper0]\nmaster = "eth1"\nspeed = "10mbit"\nup = true\n'
DECLARED = SHAPED + 'routes = ["10.1.0.0/24"]\n'
# The machine's own routes by eth1 go when it goes down, with or without a shaper.
FLAP = "ip link set eth1 down\nip link set eth1 up\n"
LEAD = {
    "route": BY_ROUTE + ROUTED,
    "egress": f"shapecfg attach shaper0 eth1 egress\n{DIRECT}",
    "ingress": "shapecfg attach shaper0 eth1 ingress\n",
    "cgroup": f"shapecfg attach shaper0 eth1 cgroup system.slice\n{DIRECT}",
    "declared": f"printf '{DECLARED}' >/etc/shaper/shaper.toml\nsystemctl reload shaper\n",
}


@contextlib.contextmanager
def machine_led_by(way: str) -> Iterator[Machine]:
    """Boot a machine whose shaper0 is led its traffic in one way, and is active."""
    with tempfile.TemporaryDirectory() as directory:
        wheels, place = Path(directory) / "wheels", Path(directory) / "machine"
        wheels.mkdir()
        place.mkdir()
        fetch_wheels(wheels)
        with installed_machine(place, wheels) as machine:
            machine.container.shell("mkdir -p /etc/shaper\nsystemctl start shaper\n" + LEAD[way])
            machine.container.run("shapecfg", "speed", "shaper0", "10mbit")
            wait_until(machine.is_passing, "shaper0 to be active", 10)
            yield machine


def sender(machine: Machine, way: str, seconds: float) -> subprocess.Popen[bytes]:
    """Start four times the rate, in the direction and the group that are shaped."""
    words = ["-c", SEND, "10.0.0.1" if way == "ingress" else REMOTE, str(seconds)]
    if way == "ingress":
        return machine.peer.popen([sys.executable, *words])
    unit = ["systemd-run", "--quiet", "--wait", "--collect", "--unit=load"]
    prefix = unit if way == "cgroup" else []
    return subprocess.Popen(machine.container.argv(*prefix, PYTHON, *words))


def arrivals(machine: Machine, way: str, fault: list[str], seconds: float) -> list[float]:
    """Return when datagrams arrived, before, during and after a fault, until the load ended."""
    receive = ["-c", RECEIVE, str(seconds)]
    if way == "ingress":
        argv = machine.container.argv(PYTHON, *receive)
        receiver = subprocess.Popen(argv, stdout=subprocess.PIPE, encoding="utf-8")
    else:
        argv = [sys.executable, *receive]
        receiver = machine.peer.popen(argv, stdout=subprocess.PIPE, encoding="utf-8")
    with receiver:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        with sender(machine, way, seconds - AROUND_S / 2) as load:
            time.sleep(AROUND_S)
            machine.container.run(*fault)
            load.wait()
            ended = time.time()  # the clock of the stamps
        times = json.loads(receiver.stdout.read())
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


def judge(trial: Trial, times: list[float], most_pause_ns: int | None) -> None:
    """Note the pause, and fail where more came than may, or nothing for too long."""
    if len(times) < 2:
        trial.failed("nothing arrived")
    trial.stalled(pause_ns := longest_pause_ns(times))
    if (held := most_in_a_window(times)) > RATE_BITS / 8 * WINDOW_S + BUCKET_BYTES:
        trial.failed(f"{held} bytes in a window of {WINDOW_S} s")
    if most_pause_ns is not None and pause_ns > most_pause_ns:
        trial.failed(f"nothing arrived for {pause_ns / 1e9:.2f} s")


def campaign_of(way: str) -> Callable[[Trial], None]:
    """Return the campaign of one way to be led traffic."""

    def run(trial: Trial) -> None:
        flap = ["sh", "-ec", FLAP + (DIRECT if way in ("egress", "cgroup") else "")]
        faults = cycle([RESTART, KILL, RELOAD, flap])
        with machine_led_by(way) as machine:
            for _ in trial:
                fault = next(faults)
                times = arrivals(machine, way, fault, ROUND_S)
                judge(trial, times, None if fault is flap else STALL_NS)
                wait_until(machine.is_passing, "shaper0 to be active", 10)
                machine.systemctl("reset-failed")

    run.__doc__ = f"Restart, kill, reload and flap in turn, by {way}."
    return run


for _way in LEAD:
    campaign(f"service by {_way}", count=80)(campaign_of(_way))


@campaign("service upgrades", count=3)
def upgrade(trial: Trial) -> None:
    """A new installation takes over without a gap."""
    with machine_led_by("route") as machine:
        for _ in trial:
            judge(trial, arrivals(machine, "route", UPGRADE, UPGRADE_S), STALL_NS)
