"""Fixtures: a laboratory for each test, gone after it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import Pair, Router, make_pair, make_router

# Modules that measure neither time nor rate, so that their tests may run beside each other, but
# for those marked as `timed`. Of other modules, tests are marked as `together` one by one.
TOGETHER = re.compile(
    "test_(access|alarms|bad_input|bad_start|capture|capture_beside|capture_filters|capture_groups|capture_masters|datagrams|"
    "declared|demo|descriptors_kept|doctor|findings|forwarders_say|four_lines|headerless|lab|"
    "live_frames|masters|monitor|neighbours|network_keeper|prison|programs|retaking|ring_programs|rings|"
    "routing|run|save|state|state_writes|units_against_tc|varlink|wishes)"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what may run beside other tests: `make test` runs that on both processors."""
    for item in items:
        is_here = item.path.parent == Path(__file__).parent
        is_timed = item.get_closest_marker("timed") is not None
        if is_here and not is_timed and TOGETHER.fullmatch(item.path.stem):
            item.add_marker("together")


@cache
def obstacle() -> str | None:
    """Return why no laboratory can be built here, or None."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    if shutil.which("ip") is None:
        return "needs the ip command (package iproute2)"
    try:
        Namespace().close()
    except OSError as error:
        return f"needs network namespaces: {error}"
    return None


@pytest.fixture(autouse=True)
def _laboratory() -> None:
    """Skip where no laboratory can be built."""
    if (reason := obstacle()) is not None:
        pytest.skip(reason)


@pytest.fixture
def pair(_laboratory: None) -> Iterator[Pair]:
    """Host and peer, joined by a cable on which every frame is a wire frame."""
    with make_pair() as built:
        yield built


@pytest.fixture
def router(_laboratory: None) -> Iterator[Router]:
    """LAN, host and peer; the host forwards."""
    with make_router() as built:
        yield built


@pytest.fixture
def shaperd(pair: Pair, tmp_path: Path) -> Iterator[Shaperd]:
    """Run the daemon on the host of `pair`; its files are in `tmp_path`."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun (module tun)")
    with Shaperd(pair.host, directory=tmp_path) as daemon:
        yield daemon
