"""Fixtures: one machine with the project installed, for all tests of the service."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.errors import MissingError
from tests.system.installed_machine import InstalledMachine, fetch_wheels, installed_machine

NEEDED = ("systemd-nspawn", "nsenter", "unshare", "ip", "make")


def obstacle() -> str | None:
    """Return why no container can be booted here, or None."""
    if os.geteuid() != 0:
        return "needs root, to boot a container"
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)} (packages systemd-container, util-linux, iproute2)"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun (modprobe tun)"
    return None


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with all that an installation is built of."""
    directory = tmp_path_factory.mktemp("wheels")
    fetch_wheels(directory)
    return directory


@pytest.fixture(scope="session")
def machine(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[InstalledMachine]:
    """Boot a systemd with the project installed, a cable and a peer."""
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    wheels: Path = request.getfixturevalue("wheels")
    with contextlib.ExitStack() as stack:
        directory = tmp_path_factory.mktemp("system")
        try:
            built = stack.enter_context(installed_machine(directory, wheels))
        except MissingError as error:
            pytest.skip(f"no container can be booted here: {error}")
        yield built
