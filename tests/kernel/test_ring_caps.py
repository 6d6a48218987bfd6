"""Floods that no forwarder can read to their end: others keep their share, and all is counted."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.datagrams import Course, Datagrams, Pit, flooding
from bench.lab.law import BITS_PER_BYTE
from bench.lab.pump import Filler, Receiver, share_bits
from bench.lab.task import Task
from bench.lab.topology import MASTER, REMOTE, Pair, make_pair
from bench.lab.traffic import Flow, Load
from bench.lab.wait import wait_until
from shaper.kernel.ring_caps import RingCaps
from tests.kernel.manager import Manager
from tests.kernel.shaping import hold, look
from tests.kernel.steps import SHAPER, Listener, Stream, route, shape, wait_carrier

RATE_BITS = 10**9
FRAME_BYTES = 1042
FLOOD_FRAMES = 250_000  # a second: twice the rate, and more than is read
LEAST_SHARE = 0.4  # of the rate, for TCP; half would be even
STREAM, FLOOD, SPARSE = 9101, 9102, 9103  # ports
FLOOD_S = 2.0
SETTLE_S = 0.9  # TCP begins, the flood fills the ring, and is capped
STANDING_FRAMES = 30_000  # sent, and the flood is in full swing
ATTEMPTS = 4
RUN_FRAMES = 384  # what a run reads and sends, which is counted at its end


@pytest.fixture(autouse=True)
def _programs() -> None:
    """Skip where there are none."""
    caps = RingCaps(1, 1)
    caps.close()
    if caps.refusal:
        pytest.skip(caps.refusal)


@pytest.fixture
def fast() -> Iterator[tuple[Pair, Shaperd]]:
    """Run a shaper of 1 Gbit/s on a cable that passes offload frames whole."""
    with make_pair(wire_frames=False) as pair, Shaperd(pair.host) as daemon:
        shape(daemon, pair, str(RATE_BITS))
        wait_carrier(pair.host, is_on=True)
        resolve(pair)
        for pid in daemon.forwarder_pids():
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
        yield pair, daemon


def resolve(pair: Pair) -> None:
    """Have the kernel find the neighbour: it drops what comes before, and counts it elsewhere."""
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)


def flood(port: int, frames: int, seconds: float = FLOOD_S) -> Datagrams:
    """Return what sends so many datagrams a second."""
    pace_bits = frames * FRAME_BYTES * BITS_PER_BYTE
    return Datagrams([Course((REMOTE, port), FRAME_BYTES, pace_bits)], flooding(seconds))


def tcp_share(pair: Pair) -> float:
    """Return the part of the rate that one connection has beside a flood, once it has settled."""
    flow = Flow("tcp", REMOTE, STREAM)
    pit = Pit(pair.peer, (REMOTE, FLOOD))
    with (
        contextlib.closing(pit),
        Task(pair.peer, Receiver({flow: SETTLE_S})) as receiver,
        Task(pair.host, Filler([flow], Load(FLOOD_S))),
        Task(pair.host, flood(FLOOD, FLOOD_FRAMES)),
    ):
        time.sleep(FLOOD_S)
        end_ns = time.monotonic_ns()
        return share_bits(receiver.stop().streams, end_ns) / RATE_BITS


def test_tcp_keeps_its_share_beside_a_flood(fast: tuple[Pair, Shaperd]) -> None:
    """Of more frames than can be read: without the program it had a hundredth of the rate."""
    pair, _ = fast

    def attempt() -> list[str]:
        share = tcp_share(pair)
        return [] if share >= LEAST_SHARE else [f"TCP had {share:.0%} of the rate"]

    hold(attempt)


def test_a_restart_puts_the_program_on_anew(tmp_path: Path) -> None:
    """The TAP outlives the daemon with the program of the one before, which nothing reads for."""
    configuration = f'[device.shaper0]\nmaster = "{MASTER}"\nspeed = "{RATE_BITS}"\n'
    with (
        make_pair(wire_frames=False) as pair,
        contextlib.closing(Manager(pair, tmp_path, configuration)) as manager,
    ):
        manager.start()
        route(pair)
        wait_carrier(pair.host, is_on=True)
        assert manager.process is not None
        manager.process.kill()
        manager.process.wait()
        manager.listen()
        manager.start()
        shares: list[float] = []
        while max(shares, default=0) < LEAST_SHARE and len(shares) < ATTEMPTS:
            shares.append(tcp_share(pair))
        assert max(shares) >= LEAST_SHARE


def test_a_forwarder_killed_amid_a_flood_loses_no_more_than_it_had_read(
    fast: tuple[Pair, Shaperd],
) -> None:
    """The successor goes on; all but that has left, or is counted as lost."""
    pair, daemon = fast
    (forwarder,) = daemon.forwarder_pids()
    before = accounted(daemon)
    wait_until(daemon.standby_pids, "one that stands by")
    with (
        contextlib.closing(Pit(pair.peer, (REMOTE, FLOOD))),
        contextlib.closing(Pit(pair.peer, (REMOTE, SPARSE))),
        Task(pair.host, flood(FLOOD, FLOOD_FRAMES, 1.2)) as dense,
        Task(pair.host, flood(SPARSE, 1000, 1.2)) as sparse,
    ):
        wait_until(lambda: look(daemon)["stats"]["sent_packets"] > STANDING_FRAMES, "the flood")
        os.kill(forwarder, signal.SIGKILL)
        sent = look(daemon)["stats"]["sent_packets"]
        wait_until(lambda: look(daemon)["stats"]["sent_packets"] > sent + 1000, "a successor")
        offered = sum(each.result(5.0).units for each in (dense, sparse))
        goal = before + offered
        wait_until(lambda: accounted(daemon) >= goal - RUN_FRAMES, "the rest")
        assert accounted(daemon) <= goal


def accounted(daemon: Shaperd) -> int:
    """Return how many frames have left or are counted as lost; the kernel's own are not."""
    stats = look(daemon)["stats"]
    dropped = stats["dropped"]
    return int(stats["sent_packets"]) + sum(dropped.values()) - dropped["neighbour"]


@pytest.mark.parametrize("queue", ["fq_codel", "fifo"])
def test_every_frame_of_a_flood_is_counted(fast: tuple[Pair, Shaperd], queue: str) -> None:
    """Whether or not there is a program on the ring."""
    pair, daemon = fast
    daemon.configure("set", SHAPER, "queue", queue)
    before = accounted(daemon)
    with (
        contextlib.closing(Pit(pair.peer, (REMOTE, FLOOD))),
        Task(pair.host, flood(FLOOD, FLOOD_FRAMES, 0.6)) as sender,
    ):
        goal = before + sender.result(5.0).units
        wait_until(lambda: accounted(daemon) >= goal, "all to be accounted for")
        assert accounted(daemon) == goal
