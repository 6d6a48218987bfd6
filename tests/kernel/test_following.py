"""Whatever becomes of the master, or of the shaper's own device, the shaper follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bench.lab.capture import FrameCapture
from bench.lab.daemon import Shaperd
from bench.lab.filters import Wanted
from bench.lab.topology import MASTER, NIC, REMOTE, Pair
from bench.lab.traffic import Flow, Load, Sender
from bench.lab.wait import wait_until
from tests.kernel.steps import (
    SHAPER,
    Listener,
    Stream,
    belongings,
    exists,
    frozen,
    has_carrier,
    link,
    now_ns,
    plug,
    shape,
    show,
    speed_mbit,
    wait_carrier,
    wait_state,
)

RESUME_MS = 1000  # specified: traffic resumes within a second
OTHER_PORT = 9200
OTHER_MAC = "02:00:00:00:01:99"


@pytest.fixture
def listener(pair: Pair, shaperd: Shaperd) -> Iterator[Listener]:
    """Shape, stream, and listen at the peer."""
    shape(shaperd, pair)
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
        yield listener


def saved(shaperd: Shaperd) -> list[dict[str, Any]]:
    """Return what the state file holds."""
    return list(json.loads((shaperd.state / "state.json").read_text())["shapers"])


def wait_saved(shaperd: Shaperd, **values: object) -> None:
    """Wait until the state file says so of its only shaper."""

    def is_so() -> bool:
        shapers = saved(shaperd)
        return len(shapers) == 1 and values.items() <= shapers[0].items()

    wait_until(is_so, f"{values} in the state file")


def assert_refused(shaperd: Shaperd, *arguments: str, because: str) -> None:
    """Run a command that is refused: exit status 2 and one sentence, which names the reason."""
    done = shaperd.shapecfg(*arguments)
    assert done.returncode == 2
    assert because in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("side", ["host", "peer"])
def test_link_down_and_up(pair: Pair, shaperd: Shaperd, listener: Listener, side: str) -> None:
    """No carrier while either end of the cable is down, and all as before soon after it is up."""
    owned = belongings(pair.host)
    end, device = (pair.host, MASTER) if side == "host" else (pair.peer, NIC)
    end.ip(f"link set {device} down")
    wait_carrier(pair.host, is_on=False)
    wait_state(shaperd, "master-down")
    assert shaperd.show(SHAPER)["state"] == "master-down"
    assert belongings(pair.host) == owned
    up_ns = now_ns()
    end.ip(f"link set {device} up")
    assert listener.wait_after(up_ns) <= RESUME_MS
    # What was held leaves as soon as it can, a moment before the carrier is shown.
    wait_carrier(pair.host, is_on=True)
    assert wait_state(shaperd, "active")["operstate"] == "UP"
    assert belongings(pair.host) == owned


def test_master_removed_and_made_again(pair: Pair, shaperd: Shaperd, listener: Listener) -> None:
    """The shaper waits, without carrier, for a device of the same name, and takes it at once."""
    owned = belongings(pair.host)
    pair.host.ip(f"link delete {MASTER}")
    wait_carrier(pair.host, is_on=False)
    assert wait_state(shaperd, "master-missing")["link"] == MASTER
    assert belongings(pair.host) == owned
    assert listener.wait_after(plug(pair)) <= RESUME_MS
    wait_state(shaperd, "active")
    assert link(pair.host)["address"] == link(pair.host, MASTER)["address"]
    assert belongings(pair.host) == owned


@pytest.mark.together
def test_master_of_another_name_does_not_serve(
    pair: Pair, shaperd: Shaperd, listener: Listener
) -> None:
    """A removed master is not replaced by whatever comes next, only by one of its name."""
    pair.host.ip(f"link delete {MASTER}")
    wait_state(shaperd, "master-missing")
    pair.host.ip("link add eth7 type veth peer name eth8", "link set eth7 up", "link set eth8 up")
    wait_carrier(pair.host, is_on=True, ifname="eth7")
    assert show(shaperd)["state"] == "master-missing"
    pair.host.ip("link set eth7 down", f"link set eth7 name {MASTER}", f"link set {MASTER} up")
    wait_state(shaperd, "active")


def test_master_renamed(pair: Pair, shaperd: Shaperd, listener: Listener) -> None:
    """The shaper stays with the device under its new name, and follows it from there."""
    owned = belongings(pair.host)
    pair.host.ip(f"link set {MASTER} name wan0")
    renamed_ns = now_ns()
    assert listener.wait_after(renamed_ns) <= RESUME_MS
    wait_saved(shaperd, master=MASTER, master_now="wan0")
    shown = wait_state(shaperd, "active")
    assert shown["link"] == "wan0"
    assert link(pair.host)["ifalias"] == "shaper of wan0 at 1Mbit"
    pair.host.ip("link set wan0 down")
    wait_carrier(pair.host, is_on=False)
    up_ns = now_ns()
    pair.host.ip("link set wan0 up")
    assert listener.wait_after(up_ns) <= RESUME_MS
    assert belongings(pair.host) == owned


def test_master_mtu_changed(pair: Pair, shaperd: Shaperd, listener: Listener) -> None:
    """The shaper's MTU is the master's, smaller or larger again, and traffic goes on."""
    owned = belongings(pair.host)
    for mtu in (1280, 1500):
        pair.host.ip(f"link set {MASTER} mtu {mtu}")
        wait_until(lambda mtu=mtu: link(pair.host)["mtu"] == mtu, f"an MTU of {mtu}")
        assert listener.wait_after(now_ns()) <= RESUME_MS
    assert wait_state(shaperd, "active")["mtu"] == 1500
    assert belongings(pair.host) == owned


def test_master_mac_changed(pair: Pair, shaperd: Shaperd, listener: Listener) -> None:
    """Shaped frames carry the master's new address within a second."""
    owned = belongings(pair.host)
    with FrameCapture(pair.peer, NIC, Wanted(REMOTE, "udp", source_mac=OTHER_MAC)) as capture:
        changed_ns = now_ns()
        pair.host.ip(f"link set {MASTER} address {OTHER_MAC}")
        wait_until(lambda: link(pair.host)["address"] == OTHER_MAC, "the address to be followed")
        assert listener.wait_after(now_ns()) <= RESUME_MS
        frames = capture.stop().frames
    assert frames[0][0] - changed_ns <= RESUME_MS * 10**6
    assert belongings(pair.host) == owned


def test_flap_that_is_over_before_it_is_seen(
    pair: Pair, shaperd: Shaperd, listener: Listener
) -> None:
    """Down and up again while the supervisor is busy: what the forwarder held is let go."""
    with frozen(shaperd), Stream(pair.host, port=OTHER_PORT) as stream:
        pair.host.ip(f"link set {MASTER} down")
        down_ns = now_ns()
        stream.wait_for(25)
        assert listener.since(down_ns) == []
        pair.host.ip(f"link set {MASTER} up")
        wait_carrier(pair.host, is_on=True, ifname=MASTER)
    assert listener.wait_after(now_ns()) <= RESUME_MS


def test_downing_the_master_under_load_is_a_non_event(
    pair: Pair, shaperd: Shaperd, listener: Listener
) -> None:
    """The fault of 1996: again and again, in mid-flood, and the same two processes go on."""
    processes = [shaperd.pid, *shaperd.forwarder_pids()]
    flow, load = Flow("udp", REMOTE, OTHER_PORT), Load(seconds=10)
    with Sender(pair.host, flow, load), Listener(pair.peer, OTHER_PORT) as flood:
        for _ in range(5):
            pair.host.ip(f"link set {MASTER} down")
            wait_carrier(pair.host, is_on=False)
            up_ns = now_ns()
            pair.host.ip(f"link set {MASTER} up")
            assert flood.wait_after(up_ns) <= RESUME_MS
    assert [shaperd.pid, *shaperd.forwarder_pids()] == processes
    assert "Traceback" not in shaperd.log()


@pytest.mark.together
def test_loops_are_refused(pair: Pair, shaperd: Shaperd) -> None:
    """Not its own master, not by another shaper's, not by a device on top of it; all else is."""
    assert_refused(shaperd, "attach", SHAPER, SHAPER, because="cannot be its own master")
    pair.host.ip(f"link add link {SHAPER} name above0 type macvlan")
    wait_until(lambda: exists(pair.host, "above0"), "the macvlan")
    assert_refused(shaperd, "attach", SHAPER, "above0", because="loop")
    assert show(shaperd)["state"] == "detached"
    shaperd.configure("add", "shaper1")
    shaperd.configure("attach", SHAPER, "shaper1")
    assert_refused(shaperd, "attach", "shaper1", SHAPER, because="loop")
    assert_refused(shaperd, "attach", "shaper1", "above0", because="loop")
    shaperd.configure("attach", "shaper1", MASTER)


@pytest.mark.together
def test_ring_that_closes_later_is_not_entered(pair: Pair, shaperd: Shaperd) -> None:
    """A device of the awaited name that leads back to the shaper is not taken as its master."""
    shape(shaperd, pair)
    pair.host.ip(f"link delete {MASTER}")
    wait_state(shaperd, "master-missing")
    pair.host.ip(f"link add link {SHAPER} name {MASTER} type macvlan", f"link set {MASTER} up")
    wait_until(lambda: "leads back" in shaperd.log(), "the daemon's word on it")
    assert show(shaperd)["state"] == "master-unusable"


def test_shaper_renamed(pair: Pair, shaperd: Shaperd, listener: Listener) -> None:
    """`ip link set name` makes it known by its new name everywhere, and traffic goes on."""
    pair.host.ip(f"link set {SHAPER} name slow0")
    wait_saved(shaperd, ifname="slow0", master=MASTER)
    assert listener.wait_after(now_ns()) <= RESUME_MS
    assert wait_state(shaperd, "active", "slow0")["ifname"] == "slow0"
    assert shaperd.shapecfg("show", SHAPER).returncode == 1
    shaperd.configure("speed", "slow0", "3mbit")
    assert speed_mbit(pair.host, "slow0") == 3


def test_shapers_that_swap_names(pair: Pair, shaperd: Shaperd, listener: Listener) -> None:
    """Three renames that are seen together: both are known by their new names, neither is lost."""
    shaperd.configure("add", "shaper1")
    shaperd.configure("speed", "shaper1", "7mbit")
    with frozen(shaperd):
        pair.host.ip(
            f"link set {SHAPER} name spare0",
            f"link set shaper1 name {SHAPER}",
            "link set spare0 name shaper1",
        )
    wait_state(shaperd, "active", "shaper1")
    assert wait_state(shaperd, "detached", SHAPER)["options"]["rate_bits"] == 7_000_000
    assert {each["ifname"]: each["master"] for each in saved(shaperd)} == {
        SHAPER: None,
        "shaper1": MASTER,
    }
    assert listener.wait_after(now_ns()) <= RESUME_MS


def test_shaper_deleted_by_hand(pair: Pair, shaperd: Shaperd, listener: Listener) -> None:
    """`ip link delete` is a `del`: forgotten here and in the state file, and can be added anew."""
    pair.host.ip(f"link delete {SHAPER}")
    wait_until(lambda: saved(shaperd) == [], "the state file to forget it")
    assert shaperd.shapecfg("show", SHAPER).returncode == 1
    shaperd.configure("add", SHAPER)
    shape(shaperd, pair)
    assert listener.wait_after(now_ns()) <= RESUME_MS
    assert "Traceback" not in shaperd.log()


@pytest.mark.together
def test_txqueuelen_sets_the_limit(pair: Pair, shaperd: Shaperd) -> None:
    """`ip link set txqueuelen` is the queue's limit in frames, now and after a restart."""
    shape(shaperd, pair)
    pair.host.ip(f"link set {SHAPER} txqueuelen 77")
    wait_saved(shaperd, limit_packets=77)
    assert show(shaperd)["options"]["limit_packets"] == 77
    shaperd.configure("set", SHAPER, "limit", "33")
    assert link(pair.host)["txqlen"] == 33


@pytest.mark.together
def test_signs_on_the_device(pair: Pair, shaperd: Shaperd) -> None:
    """Alias, speed, MTU and address tell the truth through attach, speed and detach."""
    pair.host.ip(f"link set {MASTER} mtu 1400")
    assert not has_carrier(pair.host)
    shaperd.configure("attach", SHAPER, MASTER)
    assert link(pair.host)["ifalias"] == f"shaper of {MASTER}, no speed set"
    shaperd.configure("speed", SHAPER, "2500kbit")
    pair.host.ip(f"link set {SHAPER} up")
    wait_carrier(pair.host, is_on=True)
    shown, master = link(pair.host), link(pair.host, MASTER)
    assert shown["ifalias"] == f"shaper of {MASTER} at 2500Kbit"
    assert (shown["mtu"], shown["address"]) == (1400, master["address"])
    assert speed_mbit(pair.host) == 2
    shaperd.configure("speed", SHAPER, "100gbit")
    assert speed_mbit(pair.host) == 100_000
    shaperd.configure("detach", SHAPER)
    wait_carrier(pair.host, is_on=False)
    assert link(pair.host)["ifalias"] == "shaper, detached"
