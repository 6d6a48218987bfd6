"""What `show` says was achieved is what left, whatever kept the forwarder from running."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from bench.lab import law
from bench.lab.daemon import Shaperd
from bench.lab.topology import REMOTE, Pair
from bench.lab.traffic import Flow, Load
from tests.kernel.shaping import Errand, hold, look, measure
from tests.kernel.steps import PORT, shape

RATE_BITS = 10_000_000
STOPPED_S = 0.15  # of every 0.3 s: more than the bucket makes up for


@contextlib.contextmanager
def stopped_half_of_the_time(pid: int) -> Iterator[None]:
    """Stop a process again and again."""
    over = threading.Event()

    def stop() -> None:
        while not over.wait(STOPPED_S):
            os.kill(pid, signal.SIGSTOP)
            over.wait(STOPPED_S)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_time_off_the_processor_is_no_idle_time(pair: Pair, shaperd: Shaperd) -> None:
    """Under a flood, with the forwarder stopped half of the time, achieved is what arrived."""
    shape(shaperd, pair, str(RATE_BITS))
    # CoDel would hold a flood so short that the queue is empty at some of the stops.
    shaperd.configure("set", "shaper0", "queue", "fifo", "limit", "200")
    (pid,) = shaperd.forwarder_pids()
    load = Load(seconds=2.5, frame_bytes=1000, pace_bits=2 * RATE_BITS)

    def faults() -> list[str]:
        # Busy time starts anew with another rate.
        shaperd.configure("speed", "shaper0", str(RATE_BITS + 1))
        shaperd.configure("speed", "shaper0", str(RATE_BITS))
        with stopped_half_of_the_time(pid):
            (measured,) = measure(pair, shaperd, Errand(Flow("udp", REMOTE, PORT), load))
        arrived_bits = law.rate_bits(measured.frames)
        achieved_bits = look(shaperd)["stats"]["achieved_bits"]
        assert achieved_bits is not None
        assert arrived_bits < 0.8 * RATE_BITS
        if achieved_bits == pytest.approx(arrived_bits, rel=0.03):
            return []
        return [f"achieved {achieved_bits} bit/s where {arrived_bits} arrived"]

    hold(faults)


def test_time_without_a_master_is_not_busy(pair: Pair, shaperd: Shaperd) -> None:
    """Frames that wait while the master is down count neither in bytes nor in time."""
    shape(shaperd, pair, str(RATE_BITS))
    load = Load(seconds=2.0, frame_bytes=1000, pace_bits=2 * RATE_BITS)

    def away() -> None:
        for change in ("down", "up"):
            pair.host.ip(f"link set eth1 {change}")

    timer = threading.Timer(0.7, away)
    timer.start()
    measure(pair, shaperd, Errand(Flow("udp", REMOTE, PORT), load))
    timer.join()
    achieved_bits = look(shaperd)["stats"]["achieved_bits"]
    assert achieved_bits == pytest.approx(RATE_BITS, rel=0.03)
