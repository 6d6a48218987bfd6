"""What `show` says was achieved is what left, whatever kept the forwarder from running."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from bench.lab import law
from bench.lab.daemon import Shaperd
from bench.lab.topology import REMOTE, Pair
from bench.lab.traffic import Flow, Load
from tests.kernel.shaping import Errand, hold, look, measure
from tests.kernel.steps import PORT, shape

RATE_BITS = 10_000_000
STOPPED_S = 0.15  # of every 0.3 s: more than the bucket makes up for
CYCLES = 6


class BusyTime:
    """What a shaper achieves from now on."""

    def __init__(self, shaperd: Shaperd) -> None:
        self._shaperd = shaperd
        self._busy_ns, self._busy_bytes = self._sums()

    def bits(self) -> float:
        """Return it, in bits per second."""
        busy_ns, busy_bytes = self._sums()
        return (busy_bytes - self._busy_bytes) * 8 * 10**9 / (busy_ns - self._busy_ns)

    def _sums(self) -> tuple[int, int]:
        stats = look(self._shaperd)["stats"]
        return stats["busy_ns"], stats["busy_bytes"]


def stop_and_continue(pid: int) -> None:
    """Stop a process for half of the time, for a while."""
    for _ in range(CYCLES):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.kill(pid, signal.SIGCONT)
        time.sleep(STOPPED_S)


def test_time_off_the_processor_is_no_idle_time(pair: Pair, shaperd: Shaperd) -> None:
    """Under a flood, with the forwarder stopped half of the time, what arrived is told.

    The rate achieved, and the largest burst.
    """
    shape(shaperd, pair, str(RATE_BITS))
    # CoDel would hold a flood so short that the queue is empty at some of the stops.
    shaperd.configure("set", "shaper0", "queue", "fifo", "limit", "200")
    (pid,) = shaperd.forwarder_pids()
    load = Load(seconds=3.5, frame_bytes=1000, pace_bits=2 * RATE_BITS)

    def faults() -> list[str]:
        busy = BusyTime(shaperd)
        stops = threading.Timer(0.7, stop_and_continue, [pid])  # amid the traffic
        stops.start()
        (measured,) = measure(pair, shaperd, Errand(Flow("udp", REMOTE, PORT), load))
        stops.join()
        arrived_bits = float(law.rate_bits(measured.frames))
        achieved_bits = busy.bits()
        assert arrived_bits < 0.9 * RATE_BITS
        burst = law.burst_bytes(measured.frames, RATE_BITS)
        told = look(shaperd)["stats"]["lately_burst_bytes"] or 0
        found = []
        if achieved_bits != pytest.approx(arrived_bits, rel=0.02):
            found.append(f"achieved {achieved_bits:.0f} bit/s where {arrived_bits:.0f} arrived")
        if told != pytest.approx(burst, abs=measured.tick_bytes + 2 * load.frame_bytes):
            found.append(f"a burst of {told} B is told where one of {burst} arrived")
        return found

    hold(faults)


@pytest.mark.light
def test_time_without_a_master_is_not_busy(pair: Pair, shaperd: Shaperd) -> None:
    """Frames that wait while the master is down count neither in bytes nor in time."""
    shape(shaperd, pair, str(RATE_BITS))
    load = Load(seconds=2.0, frame_bytes=1000, pace_bits=2 * RATE_BITS)

    def away() -> None:
        for change in ("down", "up"):
            pair.host.ip(f"link set eth1 {change}")

    busy = BusyTime(shaperd)
    timer = threading.Timer(0.7, away)
    timer.start()
    measure(pair, shaperd, Errand(Flow("udp", REMOTE, PORT), load))
    timer.join()
    assert busy.bits() == pytest.approx(RATE_BITS, rel=0.02)
