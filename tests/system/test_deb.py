"""The Debian package: built, installed without a network, upgraded and removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.errors import MissingError
from bench.lab.namespaces import ROOT, Namespace
from bench.lab.wait import wait_until
from tests.system.conftest import obstacle
from tests.system.container import prepared
from tests.system.machine import REMOTE, Machine, set_up_network

RATE = "1mbit"
PACKAGE = "/srv/shaper.deb"  # inside
NEEDED = ("dpkg-buildpackage", "dh", "make")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """Build the package from the wheels."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (packages dpkg-dev, debhelper, make)")
    directory = tmp_path_factory.mktemp("deb") / "build"
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "BUILD": str(directory)}
    argv = ["make", "-s", "-C", str(ROOT), "deb"]
    subprocess.run(argv, env={**os.environ, **settings}, check=True, capture_output=True)
    (built,) = directory.glob("*.deb")
    return built


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[Machine]:
    """Boot a container without a network but the cable, with the package beside it."""
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("debian")
    with contextlib.ExitStack() as stack:
        try:
            container = stack.enter_context(prepared(directory))
        except MissingError as error:
            pytest.skip(f"no container can be booted here: {error}")
        shutil.copy(package, container.root / PACKAGE[1:])
        # Images for containers forbid that packages start services; machines do not.
        (container.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        container.boot()
        peer = stack.enter_context(Namespace())
        container.connect(peer)
        set_up_network(container, peer)
        yield Machine(container, peer)


def test_it_is_as_debian_wants_it(package: Path) -> None:
    """Lintian finds nothing that is not overridden with a reason."""
    if shutil.which("lintian") is None:
        pytest.skip("needs lintian")
    done = subprocess.run(
        ["lintian", "--allow-root", str(package)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_one_package_is_enough(debian: Machine) -> None:
    """It installs without a network, starts the service, and traffic is shaped."""
    debian.container.run("dpkg", "--install", PACKAGE)
    wait_until(lambda: debian.property("ActiveState") == "active", "the service")
    debian.shape(RATE)
    debian.container.run("ping", "-c", "1", "-W", "5", REMOTE)
    assert debian.show()["stats"]["sent_packets"] > 0
    completions = "/usr/share/bash-completion/completions/shapecfg"
    assert "shapecfg" in debian.container.run("cat", completions)


def test_an_upgrade_keeps_master_and_speed(debian: Machine) -> None:
    """The service is started anew, and knows what it was told; its device is a new one."""
    before = debian.main_pid()
    debian.container.run("dpkg", "--install", PACKAGE)
    wait_until(debian.show, "the daemon to answer again", 10)
    assert debian.main_pid() != before
    assert debian.show()["options"]["rate_bits"] == 1_000_000
    assert debian.show()["link"] == "eth1"


def test_removal_leaves_state_and_purge_leaves_nothing(debian: Machine) -> None:
    """Removed: no service, no device, no program, and the state for the next time; then not."""
    debian.container.run("dpkg", "--remove", "shaper")
    assert debian.container.try_run("ip", "link", "show", "shaper0").returncode != 0
    assert debian.container.try_run("ls", "/usr/lib/shaper").returncode != 0
    debian.container.run("ls", "/var/lib/shaper/state.json")
    debian.container.run("dpkg", "--purge", "shaper")
    assert debian.container.try_run("ls", "/var/lib/shaper").returncode != 0
