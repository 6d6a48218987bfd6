"""The container of the system tests, with the project installed in it and a peer beside it.

    machine eth1 10.0.0.1 ───────── eth0 10.0.0.100 peer, 10.1.0.2

10.1.0.0/24 lies beyond the cable: the route over shaper0 leads there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.lab.namespaces import ROOT, Namespace
from bench.lab.topology import set_wire_frames
from bench.lab.wait import wait_until
from tests.system.container import Container, prepared

CHECKOUT = "/srv/shaper"  # inside
WHEELS = "/srv/wheels"  # inside; the container has no network to fetch them by
PYTHON = "/usr/local/lib/shaper/bin/python3"
REMOTE = "10.1.0.2"
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")

# About three times the rate of the tests: 1442 bytes on the wire every 2 ms, until the standard
# input ends.
FLOOD = f"""
import select, socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while not select.select([sys.stdin], [], [], 0.0018)[0]:
    channel.sendto(bytes(1400), ("{REMOTE}", 9))
"""
MEASURE_S = 1.5  # when the queue is full


@dataclass(frozen=True)
class InstalledMachine:
    """The container and its peer, in an administrator's hands."""

    container: Container
    peer: Namespace

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl for something that must succeed."""
        return self.container.run("systemctl", *arguments)

    def property(self, name: str) -> str:
        """Return one property of shaper.service."""
        return self.systemctl("show", "--value", "--property", name, "shaper.service").strip()

    def main_pid(self) -> str:
        """Return the process id of the daemon, as the container counts."""
        return self.property("MainPID")

    def forwarder_pid(self) -> str:
        """Return the process id of the forwarder: the daemon's youngest child."""
        look = "pgrep", "--newest", "--parent", self.main_pid()
        found = wait_until(lambda: self.container.try_run(*look).stdout.split(), "a forwarder")
        return found[-1]

    def show(self) -> dict[str, Any]:
        """Return what shapecfg tells of shaper0; nothing while it cannot be asked."""
        done = self.container.try_run("shapecfg", "-j", "show", "shaper0")
        return dict(json.loads(done.stdout)[0]) if done.returncode == 0 else {}

    def is_passing(self) -> bool:
        """Whether the service runs and shaper0 can carry traffic."""
        return self.property("ActiveState") == "active" and self.show().get("state") == "active"

    def shape(self, rate: str) -> None:
        """Attach, set the speed, and route the remote network over shaper0."""
        self.systemctl("start", "shaper")
        if self.show()["link"] is None:
            self.container.run("shapecfg", "attach", "shaper0", "eth1")
        self.container.run("shapecfg", "speed", "shaper0", rate)
        self.container.shell(
            "ip address replace 10.0.0.1/28 dev shaper0\n"
            "ip link set shaper0 up\n"
            "ip route replace 10.1.0.0/24 dev shaper0\n"
        )
        wait_until(self.is_passing, "shaper0 to become active")

    def routes(self) -> str:
        """Return the routes over shaper0."""
        return self.container.run("ip", "route", "show", "dev", "shaper0")

    def routes_of_all(self) -> str:
        """Return the routes of all tables."""
        return self.container.run("ip", "route", "show", "table", "all")

    def received_bits(self, rate_bits: int) -> float:
        """Send more than `rate_bits` through shaper0 and return the rate the peer receives."""
        sender = self.container.argv(PYTHON, "-c", FLOOD)
        with subprocess.Popen(sender, stdin=subprocess.PIPE):  # whose input ends with it
            start = self._received()
            settled = wait_until(lambda: self._later(start, rate_bits // 8 // 5), "traffic")
            end = self._later_by(settled, round(rate_bits / 8 * MEASURE_S))
        return (end[1] - settled[1]) * 8 / (end[0] - settled[0])

    def _later_by(self, start: tuple[float, int], wire_bytes: int) -> tuple[float, int]:
        what = f"{wire_bytes} bytes at the peer"
        return wait_until(lambda: self._later(start, wire_bytes), what)

    def _later(self, start: tuple[float, int], wire_bytes: int) -> tuple[float, int] | None:
        """Return time and counter once `wire_bytes` have arrived since `start`."""
        sample = self._received()
        return sample if sample[1] >= start[1] + wire_bytes else None

    def _received(self) -> tuple[float, int]:
        return time.monotonic(), self.peer.received_bytes("eth0")


@contextlib.contextmanager
def installed_machine(
    directory: Path, wheels: Path, goal: str = "basic.target"
) -> Iterator[InstalledMachine]:
    """Boot a container, install the project in it as README says, and connect it to a peer.

    Args:
        directory: empty, for this machine alone.
        wheels: what `fetch_wheels` fetched.
        goal: what systemd starts.

    """
    with prepared(directory, goal) as container, Namespace() as peer:
        shutil.copytree(ROOT, container.root / CHECKOUT[1:], ignore=NOT_SOURCE)
        shutil.copytree(wheels, container.root / WHEELS[1:])
        container.boot()
        container.connect(peer)
        set_up_network(container, peer)
        container.run(*make("install", CHECKOUT, WHEELS))
        yield InstalledMachine(container, peer)


def uninstall(container: Container) -> None:
    """Remove the installation as README says."""
    container.run(*make("uninstall", CHECKOUT, WHEELS))


def make(target: str, checkout: str, wheels: str, *variables: str) -> list[str]:
    """Return the command that makes a target with nothing but the wheels to install from."""
    settings = ["PIP_NO_INDEX=1", f"PIP_FIND_LINKS={wheels}"]
    return ["env", *settings, "make", "-s", "-C", checkout, target, *variables]


def fetch_wheels(directory: Path) -> None:
    """Fetch what the installation is built of, from where pip is set up to find it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needs = [*project["build-system"]["requires"], "wheel", *project["project"]["dependencies"]]
    needs += project["project"]["optional-dependencies"]["metrics"]
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(directory)]
    subprocess.run([*pip, *needs], check=True, capture_output=True, encoding="utf-8")


def set_up_network(container: Container, peer: Namespace) -> None:
    """Give both ends of the cable their addresses, and everyone the TAP device."""
    # As udev's own rules have it; there is no udev in a container.
    container.run("chmod", "0666", "/dev/net/tun")
    container.shell("ip address add 10.0.0.1/24 dev eth1\nip link set eth1 up\n")
    set_up_peer(peer)


def set_up_peer(peer: Namespace) -> None:
    """Give the peer's end of the cable its addresses."""
    peer.ip("address add 10.0.0.100/24 dev eth0", f"address add {REMOTE}/24 dev eth0")
    set_wire_frames(peer, "eth0")
