"""The bell on real traffic: a sparse flow beside bulk waits for no frame, at few wake-ups."""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import REMOTE, Pair
from shaper.kernel.ring_caps import RingCaps
from tests.kernel.latency import bulk
from tests.kernel.shaping import hold
from tests.kernel.steps import shape, show
from tests.kernel.test_crash import kill_forwarder, wait_successor

MOST_MS = 0.9  # a full frame takes 1.2 at 10 Mbit/s
LOOK_S = 0.4
MOST_WAKE_UPS = 0.15  # a frame on the wire; without a bell there are 0.22, and with it 0.07


@pytest.fixture(autouse=True)
def _bell() -> None:
    """Skip where the kernel has no ring buffers, or lets nobody use them."""
    caps = RingCaps(1, 1)
    has_bell = bool(caps.bells)
    caps.close()
    if not has_bell:
        pytest.skip("needs CAP_BPF and Linux 5.8")


def round_trips_ms(pair: Pair) -> list[float]:
    """Return the times of some pings to the remote network."""
    answer = pair.host.run(["ping", "-n", "-c", "30", "-i", "0.012", REMOTE]).stdout
    return [float(found) for found in re.findall(r"time=([0-9.]+)", answer)]


def wake_ups(pid: int) -> int:
    """Return how often a process has slept."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_a_ping_waits_for_no_frame(pair: Pair, shaperd: Shaperd) -> None:
    """Beside TCP at 10 Mbit/s, before and after the forwarder was killed."""
    shape(shaperd, pair, "10mbit")

    def attempt() -> list[str]:
        median_ms = statistics.median(round_trips_ms(pair))
        return [] if median_ms < MOST_MS else [f"half of the pings take {median_ms} ms"]

    with bulk(pair, 2):
        hold(attempt)
        killed, _ = kill_forwarder(shaperd)
        wait_successor(shaperd, killed)
        hold(attempt)
    assert show(shaperd)["stats"]["overlimits"]


def test_bulk_leaves_many_frames_a_wake_up(pair: Pair, shaperd: Shaperd) -> None:
    """TCP at 100 Mbit/s leaves a jiffy's worth at a time, as none of it rings."""
    shape(shaperd, pair, "100mbit")
    (pid,) = shaperd.forwarder_pids()

    def attempt() -> list[str]:
        slept, sent = wake_ups(pid), show(shaperd)["stats"]["sent_packets"]
        time.sleep(LOOK_S)
        slept, sent = wake_ups(pid) - slept, show(shaperd)["stats"]["sent_packets"] - sent
        per_frame = slept / max(1, sent)
        return [] if per_frame < MOST_WAKE_UPS else [f"{slept} wake-ups for {sent} frames"]

    with bulk(pair, 2):
        hold(attempt)
