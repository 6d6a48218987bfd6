"""What shaper.toml declares is so: after a start, a restart, a reload, a crash and a lease."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import HOST, MASTER, PEER, REMOTE, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import SHAPER, Listener, Stream, exists, plug, wait_state

DECLARATION = f"""
[device.{SHAPER}]
master = "{MASTER}"
speed = "10mbit"
addresses = "master"
routes = ["default", "10.5.0.0/16 table 7"]
rules = ["to 10.5.0.0/16 table 7"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return where the configuration file lies."""
    return tmp_path / "shaper.toml"


@pytest.fixture
def daemon(pair: Pair, tmp_path: Path, config: Path) -> Iterator[Shaperd]:
    """Run a daemon that declares the uplink, on a host that has a default route of its own."""
    config.write_text(DECLARATION)
    pair.host.ip(f"route add default via {PEER}")
    with Shaperd(pair.host, "--config", str(config), directory=tmp_path) as daemon:
        wait_state(daemon, "active")
        wait_shaped(pair)
        wait_shaped(pair, "10.5.0.1")  # by a rule, which comes last
        yield daemon


def way(pair: Pair, destination: str = REMOTE) -> str:
    """Return by which way a destination is reached, in the kernel's words."""
    done = pair.host.run(["ip", "route", "get", destination], check=False)
    return done.stdout or done.stderr


def wait_shaped(pair: Pair, destination: str = REMOTE) -> None:
    """Wait until a destination is reached through the shaper."""
    wait_until(lambda: SHAPER in way(pair, destination), f"{destination} to be shaped")


def everything(pair: Pair) -> str:
    """Return all routes and rules of the host."""
    listings = (["route", "show", "table", "all"], ["-6", "route", "show"], ["rule"])
    return "".join(pair.host.run(["ip", *each]).stdout for each in listings)


def test_a_file_is_all_that_an_uplink_needs(pair: Pair, daemon: Shaperd) -> None:
    """Traffic passes with no `ip` command at all, and a stop leaves the machine as it was."""
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
    assert SHAPER in way(pair, "10.5.0.1")
    assert daemon.stop() == 0
    assert not exists(pair.host)
    assert f"via {PEER} dev {MASTER}" in way(pair)
    assert "proto 96" not in everything(pair)
    assert "10.5.0.0/16" not in everything(pair)
    daemon.start()
    wait_shaped(pair)
    wait_shaped(pair, "10.5.0.1")


def test_what_is_removed_comes_back_and_nothing_leaves_meanwhile(
    pair: Pair, daemon: Shaperd
) -> None:
    """Routes, rule and address; the log says so."""
    pair.host.ip(
        f"route del 128.0.0.0/1 dev {SHAPER}",
        f"route del 0.0.0.0/1 dev {SHAPER}",
        "rule del to 10.5.0.0/16",
        f"address del {HOST}/32 dev {SHAPER}",
    )
    assert f"dev {MASTER}" not in way(pair)
    wait_shaped(pair)
    wait_shaped(pair, "10.5.0.1")
    wait_until(
        lambda: HOST in pair.host.run(["ip", "address", "show", SHAPER]).stdout, "the address"
    )
    assert daemon.log().count("restored") >= 3


def test_a_shaper_taken_down_comes_back_up(pair: Pair, daemon: Shaperd) -> None:
    """With its routes; the guards answer meanwhile."""
    pair.host.ip(f"link set {SHAPER} down")
    assert f"dev {MASTER}" not in way(pair)
    wait_shaped(pair)
    assert "being up" in daemon.log()


def test_a_crash_fails_closed(pair: Pair, daemon: Shaperd) -> None:
    """Also where routes without carrier are ignored; the next daemon takes everything over."""
    pair.host.sysctl(f"net/ipv4/conf/{SHAPER}/ignore_routes_with_linkdown", 1)
    os.kill(daemon.pid, signal.SIGKILL)
    assert daemon.process is not None
    daemon.process.wait()
    wait_until(lambda: SHAPER not in way(pair), "the device to lose its carrier")
    assert "No route to host" in way(pair)
    daemon.start()
    wait_shaped(pair)


def test_a_master_made_anew_is_followed(pair: Pair, daemon: Shaperd) -> None:
    """A default of the shaper's cannot be while the master has none, and closes meanwhile."""
    pair.host.ip(f"link del {MASTER}")
    wait_state(daemon, "master-missing")
    wait_until(lambda: "No route to host" in way(pair), "the way to be closed")
    plug(pair)
    pair.host.ip(f"route add default via {PEER}")
    wait_shaped(pair)


def test_a_reload_changes_what_is_declared(pair: Pair, daemon: Shaperd, config: Path) -> None:
    """What is no longer declared goes, what is new comes."""
    config.write_text(DECLARATION.replace('"default", ', '"10.6.0.0/16", '))
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    wait_shaped(pair, "10.6.0.1")
    wait_until(lambda: f"dev {MASTER}" in way(pair), "the default to be the machine's own")
    assert "unreachable 0.0.0.0/1" not in everything(pair)


def is_refused(daemon: Shaperd, times: int) -> bool:
    """Whether the log has so many refusals."""
    return daemon.log().count("refused") == times


def test_a_reload_that_the_kernel_refuses_changes_nothing(
    pair: Pair, daemon: Shaperd, config: Path
) -> None:
    """Not one route of before is lost, nothing of the new file is there, and the line is told."""
    pair.host.ip(f"link add other link {MASTER} type macvlan", "address add 10.9.9.9/24 dev other")
    before = everything(pair)
    more = f"{DECLARATION}[device.shaper1]\n"
    bad = (
        (DECLARATION.replace('"default", ', '"10.6.0.0/16 via 192.0.2.77", '), 6, "192.0.2.77"),
        (DECLARATION.replace('"default", ', '"10.6.0.0/16 src 192.0.2.1", '), 6, "src 192.0.2.1"),
        (DECLARATION.replace('"master"', '["10.9.9.9/24"]'), 5, "10.9.9.9/24 is that of other"),
        (f'{more}routes = ["10.8.0.0/16 via 192.0.2.78"]\n', 9, "192.0.2.78"),
        (f'{more}routes = ["10.8.0.0/16",\n"10.8.0.1/16"]\n', 10, "10.8.0.1/16"),
    )
    assert daemon.process is not None
    for number, (text, line, named) in enumerate(bad, start=1):
        config.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(partial(is_refused, daemon, number), f"{named} to be refused")
        told = daemon.log().splitlines()[-1]
        assert f"{config}: line {line}: " in told
        assert named in told
        assert everything(pair) == before
        assert not exists(pair.host, "shaper1")
    config.write_text(DECLARATION.replace('"default", ', '"10.6.0.0/16 via 192.0.2.77 onlink", '))
    daemon.process.send_signal(signal.SIGHUP)
    wait_shaped(pair, "10.6.0.1")
