"""The Debian package: built, installed without a network, upgraded and removed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.errors import MissingError
from bench.lab.namespaces import ROOT, Namespace
from bench.lab.wait import wait_until
from tests.system.conftest import obstacle
from tests.system.container import prepared
from tests.system.installed_machine import REMOTE, InstalledMachine, set_up_network
from tests.system.prompt import ERASE, READY, SHELLS, TAB, Prompt
from tests.system.test_restart import (
    BUCKET_BYTES,
    RATE,
    RATE_BITS,
    WINDOW_S,
    capture,
    longest_pause,
    most_in_a_window,
)

PACKAGE = "/srv/shaper.deb"  # inside
OLDER = "/srv/shaper-older.deb"
INSTALL = ["dpkg", "--install", "--force-downgrade"]
LOAD_S = 2.0  # and as long as an installation takes
MOST_STALL_S = 1.0  # beside dpkg; 0.05 s here
NEEDED = ("dpkg-buildpackage", "dh", "make")
LEAST_SHARE = 0.8  # of a speed that TCP has to carry; 0.93 here, headers are 0.04

# Inside: give one connection what it takes, then take what the next one gives, and tell the rate.
SERVER = """
import signal, socket, time
signal.alarm(30)
listening = socket.create_server(("", 5001))
print("ready", flush=True)
taker = listening.accept()[0]
try:
    while True:
        taker.sendall(bytes(65536))
except OSError:
    pass
giver, began, taken = listening.accept()[0], None, 0
while got := len(giver.recv(1 << 20)):
    began, taken = (time.monotonic(), 0) if began is None else (began, taken + got)
giver.sendall(str(8 * taken / (time.monotonic() - began)).encode())
giver.close()
"""
# At the peer: the rate of what comes, in two seconds but the first half, and of what goes.
CLIENT = """
import socket, time
def connect():
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    made.connect(("10.0.0.1", 5001))
    return made
taking, began, taken = connect(), time.monotonic(), 0
while (passed := time.monotonic() - began) < 2:
    got = len(taking.recv(1 << 20))
    taken += got if passed > 0.5 else 0
print(8 * taken / (passed - 0.5))
taking.close()
giving, began = connect(), time.monotonic()
while time.monotonic() - began < 2:
    giving.sendall(bytes(8192))
giving.shutdown(socket.SHUT_WR)
print(giving.recv(100).decode())
"""


@pytest.fixture(scope="module")
def package(
    tmp_path_factory: pytest.TempPathFactory, wheels: Path, request: pytest.FixtureRequest
) -> Path:
    """Build the package from the wheels; beside it, the machine is made that others ask for."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (packages dpkg-dev, debhelper, make)")
    directory = tmp_path_factory.mktemp("deb") / "build"
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "BUILD": str(directory)}
    argv = ["make", "-s", "-C", str(ROOT), "deb"]
    with subprocess.Popen(
        argv, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as making:
        if any("machine" in item.fixturenames for item in request.session.items):
            with contextlib.suppress(pytest.skip.Exception):
                request.getfixturevalue("machine")
        _, complaint = making.communicate()
    assert making.returncode == 0, complaint.decode()
    (built,) = directory.glob("*.deb")
    return built


def make_older(package: Path, target: Path) -> None:
    """Write the same package as one of an earlier version."""
    files = target.with_suffix("")
    subprocess.run(["dpkg-deb", "--raw-extract", package, files], check=True)
    control = files / "DEBIAN/control"
    text = control.read_text(encoding="utf-8")
    control.write_text(re.sub("(?m)^Version: .*", "Version: 0.0.1", text), encoding="utf-8")
    argv = ["dpkg-deb", "--build", "-Znone", files, target]
    subprocess.run(argv, check=True, capture_output=True)


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[InstalledMachine]:
    """Boot a container without a network but the cable, with the package beside it."""
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("debian")
    with contextlib.ExitStack() as stack:
        try:
            container = stack.enter_context(prepared(directory, "multi-user.target"))
        except MissingError as error:
            pytest.skip(f"no container can be booted here: {error}")
        shutil.copy(package, container.root / PACKAGE[1:])
        make_older(package, container.root / OLDER[1:])
        # Images for containers forbid that packages start services; machines do not.
        (container.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        container.boot()
        peer = stack.enter_context(Namespace())
        container.connect(peer)
        set_up_network(container, peer)
        yield InstalledMachine(container, peer)


def test_it_is_as_debian_wants_it(package: Path) -> None:
    """Lintian finds nothing that is not overridden with a reason."""
    if shutil.which("lintian") is None:
        pytest.skip("needs lintian")
    done = subprocess.run(
        ["lintian", "--allow-root", str(package)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_nothing_is_recommended(package: Path) -> None:
    """Apt would fetch what is, and without a network install nothing at all."""
    argv = ["dpkg-deb", "--field", str(package), "Recommends"]
    assert not subprocess.run(argv, check=True, capture_output=True).stdout.strip()


def test_one_package_is_enough(debian: InstalledMachine) -> None:
    """It installs without a network, starts the service, and traffic is shaped."""
    debian.container.run("apt-get", "install", "--yes", "--quiet", PACKAGE)
    wait_until(lambda: debian.property("ActiveState") == "active", "the service")
    debian.shape(RATE)
    debian.container.run("ping", "-c", "1", "-W", "5", REMOTE)
    assert debian.show()["stats"]["sent_packets"] > 0
    completions = "/usr/share/bash-completion/completions/shapecfg"
    assert "shapecfg" in debian.container.run("cat", completions)
    assert "shaper_up 1" in debian.container.run("shapecfg", "metrics")


@pytest.mark.parametrize("version", [OLDER, PACKAGE], ids=["downgrade", "upgrade"])
def test_another_version_takes_over_under_load(debian: InstalledMachine, version: str) -> None:
    """No window above the rate and the bucket; the daemon is another, master and speed are not."""
    before = debian.main_pid()
    seen = capture(debian, LOAD_S, [*INSTALL, version], python="/usr/bin/python3")
    wait_until(debian.is_passing, "shaper0 to be active", 10)
    assert debian.main_pid() != before
    assert (debian.show()["options"]["rate_bits"], debian.show()["link"]) == (RATE_BITS, "eth1")
    assert most_in_a_window(seen) <= RATE_BITS / 8 * WINDOW_S + BUCKET_BYTES
    assert longest_pause(seen) <= MOST_STALL_S


def test_four_commands_limit_both_ways_and_a_boot_finds_them(debian: InstalledMachine) -> None:
    """Egress and ingress of eth1, measured by the peer: the same before a boot and after it."""
    container = debian.container
    container.shell("ip address flush dev shaper0\nshapecfg detach shaper0")
    container.shell(first_example().replace("50mbit", "20mbit"))
    assert container.run("systemctl", "is-enabled", "shaper") == "enabled\n"
    assert_both_ways(debian)
    (container.root / "etc/tmpfiles.d").mkdir(exist_ok=True)
    (container.root / "etc/tmpfiles.d/tun.conf").write_text("z /dev/net/tun 0666\n")  # no udev
    container.reboot()
    wait_until(lambda: states(debian), "the service", 20)
    assert states(debian) == {"shaper0": "master-missing", "shaper1": "master-missing"}
    container.connect(debian.peer)
    set_up_network(container, debian.peer)
    wait_until(lambda: states(debian) == {"shaper0": "active", "shaper1": "active"}, "both", 15)
    assert_both_ways(debian)


def first_example() -> str:
    """Return the four commands that README begins with."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = text.partition("```sh\n")[2].partition("```")[0]
    assert re.findall("shapecfg ([a-z]+)", example) == ["attach", "speed"] * 2
    return example


def assert_both_ways(machine: InstalledMachine) -> None:
    """Hold what TCP brings to the peer and from it to the two speeds."""
    serve = machine.container.argv("/usr/bin/python3", "-c", SERVER)
    with subprocess.Popen(serve, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        done = machine.peer.run([sys.executable, "-c", CLIENT])
    down, up = (float(each) for each in done.stdout.split())
    assert LEAST_SHARE * 10e6 < down < 10e6
    assert LEAST_SHARE * 20e6 < up < 20e6


def test_the_manual_answers(debian: InstalledMachine) -> None:
    """Each page is found by name."""
    if debian.container.try_run("man", "--version").returncode != 0:
        pytest.skip("needs man")
    for page in ("shaper", "shapecfg", "shaperd", "shaper.toml"):
        shown = debian.container.run("man", "--pager=cat", page)
        assert shown.startswith(f"{page.upper()}("), page


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_devices(debian: InstalledMachine, shell: str) -> None:
    """At a terminal, the shapers of the daemon and the devices of the machine are offered."""
    argv, setup = SHELLS[shell]
    if debian.container.try_run(shell, "--version").returncode != 0:
        pytest.skip(f"needs {shell}")
    argv = debian.container.argv("env", "TERM=vt100", "setsid", "--ctty", "--wait", *argv)
    with contextlib.closing(Prompt(argv)) as prompt:
        prompt.answers(setup, READY)
        prompt.answers(f"shapecfg speed sh{3 * TAB}", "shaper1")
        prompt.answers(f"{ERASE}shapecfg attach shaper0 et{TAB}", "eth1")


def states(machine: InstalledMachine) -> dict[str, str]:
    """Return the state of each shaper."""
    done = machine.container.try_run("shapecfg", "-j", "show")
    return {each["ifname"]: each["state"] for each in json.loads(done.stdout or "[]")}


def test_removed_and_installed_again_it_goes_on(debian: InstalledMachine) -> None:
    """With shapers active: the devices go, and are there again with master and speed."""
    before = states(debian)
    debian.container.run("dpkg", "--remove", "shaper")
    assert debian.container.try_run("ip", "link", "show", "shaper0").returncode != 0
    assert "shaper" not in debian.container.run("ls", "/etc/systemd/system", "/lib/systemd/system")
    debian.container.run(*INSTALL, PACKAGE)
    wait_until(lambda: states(debian) == before, "the shapers to be as before", 10)
    assert debian.show()["options"]["rate_bits"] == RATE_BITS


def test_removal_leaves_state_and_purge_leaves_nothing(debian: InstalledMachine) -> None:
    """Removed: no service, no device, no program, and the state for the next time; then not."""
    debian.container.run("dpkg", "--remove", "shaper")
    assert debian.container.try_run("ip", "link", "show", "shaper0").returncode != 0
    assert debian.container.try_run("ls", "/usr/lib/shaper").returncode != 0
    debian.container.run("ls", "/var/lib/shaper/state.json")
    debian.container.run("dpkg", "--purge", "shaper")
    assert debian.container.try_run("ls", "/var/lib/shaper").returncode != 0
