"""A router whose shaper is in force until a step sees to it, and the steps that do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, Router
from bench.lab.wait import wait_until
from shapecfg.client import Client
from shapecfg.doctor import examine
from shapecfg.doctor.gather import Gathering
from shapecfg.reply import Shaper
from shaper.kernel import bpf, cgroup
from tests.kernel.lookout import STATE, Lookout
from tests.kernel.steps import PORT, SHAPER

RATE = 10_000_000
# What an administrator fills in, in commands that doctor tells.
PLACEHOLDERS = {"MASTER": MASTER, "RATE": "10mbit", "NETWORK": "10.1.0.0/24", "NAME": "br7"}
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

Step = Union[str, Callable[["Patient"], object]]  # noqa: UP007 - of a later class


MOST_SECONDS = 1.0
# Why the daemon cannot know.
IN_FRONT = "it is refused in front of the shaper, which then has nothing to send"
ASIDE = "some of the traffic passes by, or none yet: the shaper goes on with the rest"
NEVER = "traffic of that kind never came to the shaper"
SLOWER = "the alarm `slow` or `faults` comes with traffic that fills the rate"
# Specified: include/uapi/linux/if_tun.h.
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PASS = bytes.fromhex("b7000000ffffffff9500000000000000")  # r0 = -1 (TCX_NEXT); exit


class Descriptor:
    """A descriptor to be closed."""

    def __init__(self, number: int) -> None:
        self._number = number

    def close(self) -> None:
        """Close it."""
        os.close(self._number)


@dataclass
class Patient:
    """A router whose shaper is in force, until a test sees to it."""

    net: Router
    daemon: Shaperd
    lookout: Lookout
    held: list[Any] = field(default_factory=list)

    def found(
        self, *words: str, gather: Callable[[Client, list[Shaper]], Gathering] = Gathering
    ) -> list[dict[str, Any]]:
        """Return what doctor finds, as `-j doctor` prints it; in this process, which is faster."""
        told, said = io.StringIO(), io.StringIO()
        client = Client(str(self.daemon.socket))
        with (
            self.net.host.enter(),
            contextlib.redirect_stdout(told),
            contextlib.redirect_stderr(said),
        ):
            status = examine(client, words, is_json=True, is_pretty=False, gather=gather)
        found = json.loads(told.getvalue())
        assert status == (2 if found else 0)
        return list(found)

    def ids(self, *words: str) -> list[str]:
        """Return the ids of it."""
        return [each["id"] for each in self.found(*words)]

    def run(self, command: str, *, is_certain: bool = True) -> None:
        """Run a command of an administrator on the host, as root's shell would."""
        for placeholder, value in PLACEHOLDERS.items():
            command = re.sub(rf"\b{placeholder}\b", value, command)
        extra = {"SHAPER_SOCKET": str(self.daemon.socket), "PATH": PATH}
        self.net.host.run(["sh", "-c", command], check=is_certain, extra=extra)

    def do(self, step: Step, *, is_certain: bool = True) -> None:
        """Take a step."""
        if isinstance(step, str):
            self.run(step, is_certain=is_certain)
        else:
            step(self)

    def of(self, wanted: str) -> list[dict[str, Any]]:
        """Return what is found under one id."""
        return [each for each in self.found() if each["id"] == wanted]


@dataclass(frozen=True)
class Ailment:
    """A way not to be in force.

    Attributes:
        id: what doctor calls it.
        make: commands of the host, or what does it.
        undo: the same, after which all is well again.
        is_mended: whether the command that doctor tells mends it.
        word: what the sentence has to name.
        told: how it is told without being asked: by the state or a warning in `show`, or by an
            alarm; else why the daemon cannot know, in words.
    """

    id: str
    make: tuple[Step, ...]
    undo: tuple[Step, ...] = ()
    is_mended: bool = True
    word: str = ""
    told: str = STATE


def at_peer(command: str) -> Step:
    """Return a step at the other end of the cable."""
    return lambda patient: patient.net.peer.run(["sh", "-c", command])


def restored(patient: Patient) -> None:
    """Have a shaper made whose name a bridge bears."""
    client = Client(str(patient.daemon.socket))
    patient.run("ip link add wan1 type bridge")
    config = '[device.%s]\nmaster = "eth1"\nspeed = "10mbit"\n'
    client.restore(config % SHAPER + config % "wan1")


def moved(patient: Patient) -> None:
    """Move a shaper to the LAN's namespace."""
    descriptor = patient.net.lan.descriptor
    command = f"link set wan0 netns /proc/self/fd/{descriptor}"
    patient.net.host.ip(command, pass_fds=(descriptor,))


def bind_socket(patient: Patient, port: int = PORT) -> None:
    """Bind a socket to the master."""
    with patient.net.host.enter():
        handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, MASTER.encode())
    handle.bind(("", port))
    patient.held.append(handle)


def join_group(patient: Patient) -> None:
    """Put a process into a control group of its own."""
    group = cgroup.mount_point() / "shaper-doctor"
    group.mkdir(exist_ok=True)
    process = patient.net.host.popen(["sleep", "60"])
    (group / "cgroup.procs").write_text(str(process.pid), encoding="ascii")
    patient.held.append(process)


def leave_group(patient: Patient) -> None:
    """End it and remove its group."""
    for process in patient.held:
        process.kill()
        process.wait()
    patient.held.clear()
    group = cgroup.mount_point() / "shaper-doctor"
    wait_until(lambda: cgroup.is_empty(str(group)), "the group to be empty")
    group.rmdir()


def make_group(_: Patient) -> None:
    """Make a control group that nothing is in."""
    (cgroup.mount_point() / "shaper-doctor").mkdir(exist_ok=True)


def let_go(patient: Patient) -> None:
    """Close what a step holds."""
    for each in patient.held:
        each.close()
    patient.held.clear()


def attach_program(patient: Patient) -> None:
    """Put another's program on the master, which lets everything pass."""
    with patient.net.host.enter():
        index = socket.if_nametoindex(MASTER)
        program = bpf.load("other", PASS)
        patient.held.append(Descriptor(program))
        patient.held.append(Descriptor(bpf.attach(program, index, bpf.Hook.EGRESS)))


SECOND = ("shapecfg add wan0", "shapecfg attach wan0 eth1")
NO_SECOND = ("shapecfg del wan0",)
OTHER_TABLE = "ip route add default via 10.0.0.100 dev eth1 table 101"
NO_OTHER_TABLE = "ip route flush table 101"
AGAIN = (
    "ip route replace 10.1.0.0/24 dev shaper0",
    "ip route replace fd00:1::/64 dev shaper0",
)
NO_RULE_SET = ("nft flush ruleset",)
OUTPUT = "add chain inet f out { type filter hook output priority 0; policy %s; }"
FORWARD = "add chain inet f across { type filter hook forward priority 0; policy drop; }"


def inet(*rules: str) -> tuple[str, ...]:
    """Return steps that make a table of both families."""
    return tuple(f"nft '{each}'" for each in ("add table inet f", *rules))
