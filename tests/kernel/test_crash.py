"""Killed outright: the forwarder costs a moment, the supervisor closes the device, no more."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, REMOTE, Pair
from bench.lab.traffic import Flow, Load, Sender
from bench.lab.wait import wait_until
from tests.kernel.steps import (
    NS_PER_SECOND,
    SHAPER,
    Listener,
    Stream,
    belongings,
    dropped,
    exists,
    frozen,
    link,
    now_ns,
    plug,
    shape,
    show,
    wait_carrier,
    wait_state,
)

pytestmark = pytest.mark.light

STALL_MS = 1000  # specified: the longest that a crash may cost
OTHER_PORT = 9200


def kill_forwarder(shaperd: Shaperd) -> tuple[int, int]:
    """Kill the one forwarder outright; return its process id and when that was."""
    (forwarder,) = shaperd.forwarder_pids()
    killed_ns = now_ns()
    os.kill(forwarder, signal.SIGKILL)
    return forwarder, killed_ns


def wait_successor(shaperd: Shaperd, killed: int) -> None:
    """Wait until another forwarder, and one only, has taken the place of a killed one."""
    wait_until(
        lambda: len(pids := shaperd.forwarder_pids()) == 1 and killed not in pids,
        "another forwarder",
    )


def stall_ms(listener: Listener, start_ns: int) -> int:
    """Return the longest silence in the two seconds after a moment, once they have passed."""
    end_ns = start_ns + 2 * NS_PER_SECOND
    wait_until(lambda: listener.since(end_ns), "traffic after two seconds")
    return listener.longest_gap_ms(start_ns, end_ns)


def carrier_changes(pair: Pair) -> int:
    """Return how often the shaper's carrier has come and gone."""
    return int(link(pair.host)["stats64"]["tx"]["carrier_changes"])


def is_running(process: int) -> bool:
    """Whether a process, of whatever parent, runs; one that has ended and waits does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_killed_forwarder_costs_a_moment_only(pair: Pair, shaperd: Shaperd) -> None:
    """Under load: a stall of at most 1 s; carrier, addresses, routes and counters go on."""
    shape(shaperd, pair, "10mbit")
    flow, load = Flow("udp", REMOTE, OTHER_PORT), Load(seconds=4, pace_bits=5_000_000)
    with Listener(pair.peer) as listener, Stream(pair.host), Sender(pair.host, flow, load):
        listener.wait_after(0)
        before, owned, changes = (
            show(shaperd)["stats"],
            belongings(pair.host),
            carrier_changes(pair),
        )
        killed, killed_ns = kill_forwarder(shaperd)
        assert stall_ms(listener, killed_ns) <= STALL_MS
        wait_successor(shaperd, killed)
    after = show(shaperd)["stats"]
    assert after["sent_packets"] > before["sent_packets"] + 100
    assert belongings(pair.host) == owned
    assert carrier_changes(pair) == changes


@pytest.mark.together
def test_killed_forwarder_loses_no_more_than_was_in_its_hands(
    pair: Pair, shaperd: Shaperd
) -> None:
    """Frames that come meanwhile wait in the TAP, or are counted where it is full."""
    shape(shaperd, pair, "10mbit")
    with Listener(pair.peer) as listener, Stream(pair.host) as stream:
        listener.wait_after(0)
        _, killed_ns = kill_forwarder(shaperd)
        listener.wait_after(killed_ns)
        stream.wait_for(50)
        stream.stop()
        last = stream.sent - 1
        wait_until(lambda: listener.arrivals()[-1][1] == last, "the last datagram")
        shown = show(shaperd)
        lost = stream.sent - len(listener.arrivals()) - dropped(shown)
        assert 0 <= lost <= shown["options"]["limit_packets"]


def test_change_that_meets_the_crash_is_finished(pair: Pair, shaperd: Shaperd) -> None:
    """The master changes as the forwarder dies: both are dealt with, and traffic goes on."""
    shape(shaperd, pair, "10mbit")
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
        with frozen(shaperd):
            killed, killed_ns = kill_forwarder(shaperd)
            pair.host.ip(f"link set {MASTER} mtu 1400")
        assert show(shaperd)["link"] == MASTER
        assert stall_ms(listener, killed_ns) <= STALL_MS
        wait_successor(shaperd, killed)
    assert link(pair.host)["mtu"] == 1400


def test_master_that_goes_with_the_forwarder(pair: Pair, shaperd: Shaperd) -> None:
    """Traffic resumes when the master is back."""
    shape(shaperd, pair, "10mbit")
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
        with frozen(shaperd):
            killed, _ = kill_forwarder(shaperd)
            pair.host.ip(f"link delete {MASTER}")
        wait_state(shaperd, "master-missing")
        wait_successor(shaperd, killed)
        assert listener.wait_after(plug(pair)) <= STALL_MS


def test_master_that_goes_as_the_successor_starts(pair: Pair, shaperd: Shaperd) -> None:
    """The successor cannot be given its socket; it stays, alone, and resumes with the master."""
    shape(shaperd, pair, "10mbit")
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
        killed, _ = kill_forwarder(shaperd)
        wait_successor(shaperd, killed)
        with frozen(shaperd):
            (successor,) = shaperd.forwarder_pids()
            pair.host.ip(f"link delete {MASTER}")
        wait_state(shaperd, "master-missing")
        assert listener.wait_after(plug(pair)) <= STALL_MS
        assert shaperd.forwarder_pids() == [successor]


@pytest.mark.together
def test_killed_supervisor_leaves_the_device_closed(pair: Pair, shaperd: Shaperd) -> None:
    """Nothing leaves unshaped: device, addresses and routes stay, carrier and forwarder go."""
    shape(shaperd, pair)
    with Listener(pair.peer) as listener, Stream(pair.host) as stream:
        listener.wait_after(0)
        (forwarder,) = shaperd.forwarder_pids()
        owned, ifindex = belongings(pair.host), link(pair.host)["ifindex"]
        shaperd.kill()
        wait_until(lambda: not is_running(forwarder), "the forwarder to end")
        wait_carrier(pair.host, is_on=False)
        closed_ns = now_ns()
        stream.wait_for(100)
        assert listener.since(closed_ns) == []
    assert belongings(pair.host) == owned
    assert link(pair.host)["ifindex"] == ifindex


def test_new_supervisor_adopts_what_the_killed_one_left(pair: Pair, shaperd: Shaperd) -> None:
    """The same device, its addresses and routes; traffic resumes before anyone does a thing."""
    shape(shaperd, pair)
    with Listener(pair.peer) as listener, Stream(pair.host) as stream:
        listener.wait_after(0)
        shown, owned = show(shaperd), belongings(pair.host)
        shaperd.kill()
        wait_carrier(pair.host, is_on=False)
        stream.wait_for(20)
        shaperd.start()
        ready_ns = now_ns()
        assert listener.wait_after(ready_ns) <= STALL_MS
    again = wait_state(shaperd, "active")
    assert belongings(pair.host) == owned
    for key in ("ifindex", "link", "options", "mtu"):
        assert again[key] == shown[key]


def test_forwarder_that_hangs_is_replaced(pair: Pair, shaperd: Shaperd) -> None:
    """One that no longer answers is ended when it is told something, and traffic resumes."""
    shape(shaperd, pair)
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
        (forwarder,) = shaperd.forwarder_pids()
        os.kill(forwarder, signal.SIGSTOP)
        refused = shaperd.shapecfg("speed", SHAPER, "2mbit", seconds=20)
        assert refused.returncode in (2, 3)
        wait_successor(shaperd, forwarder)
        assert listener.wait_after(now_ns()) <= 2 * STALL_MS


@pytest.mark.together
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_after_a_crash_leaves_nothing(
    pair: Pair, shaperd: Shaperd, number: signal.Signals
) -> None:
    """A forwarder that is dead already does not keep the daemon from ending cleanly."""
    shape(shaperd, pair)
    with frozen(shaperd):
        kill_forwarder(shaperd)
        os.kill(shaperd.pid, number)
    assert shaperd.process is not None
    assert shaperd.process.wait(10) == 0
    assert not exists(pair.host)


def test_a_forwarder_stands_by(pair: Pair, shaperd: Shaperd) -> None:
    """It is as confined as any other, holds nothing of a shaper, and takes over when one dies.

    Then it is one like any other, also by its command line, and the next one stands by.
    """
    shape(shaperd, pair, "10mbit")
    with Listener(pair.peer) as listener, Stream(pair.host):
        wait_until(lambda: len(shaperd.standby_pids()) == 1, "one that stands by")
        (ready,) = shaperd.standby_pids()
        wait_until(lambda: "Seccomp:\t2" in Path(f"/proc/{ready}/status").read_text(), "a filter")
        held = {os.readlink(each) for each in Path(f"/proc/{ready}/fd").iterdir()}
        assert "/dev/net/tun" not in held
        listener.wait_after(now_ns())
        killed, killed_ns = kill_forwarder(shaperd)
        assert stall_ms(listener, killed_ns) <= STALL_MS
        assert shaperd.forwarder_pids() == [ready]
        wait_until(lambda: len(shaperd.standby_pids()) == 1, "another one")
    assert shaperd.standby_pids() != [killed]
    assert f"forwarder {ready} is in its place" in shaperd.log()
    shaperd.close()
    assert not is_running(ready)
