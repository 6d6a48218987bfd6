"""What is done to one shaper, or asked of the daemon, delays no frame of another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, Pair
from shapecfg.client import Client
from tests.kernel.latency import probe
from tests.kernel.shaping import hold
from tests.kernel.steps import shape, wait_carrier
from tests.ordeal.siege import delayed, two_daemons, waits_beside

MOST_MS = 2.0  # specified: beyond the machine's own
PROBING_S = 1.0
OTHER = "shaper7"
CLIENTS = 60
MOST_OF_THEM = 90  # of 100 frames
SIEGE_S = 1.5


def act(shaperd: Shaperd, pair: Pair, is_over: Event, other: str = OTHER) -> int:
    """Create, attach, set, take up and down, detach and delete; return how often all of it."""
    client = Client(str(shaperd.socket))
    rounds = 0
    while not is_over.is_set():
        client.add(other)
        client.attach(other, MASTER)
        for rate_bits in (64_000, 1_000_000, 100_000_000):
            client.set_speed(other, rate_bits)
        pair.host.ip(f"link set {other} up", f"link set {other} down", f"link set {other} up")
        client.detach(other)
        client.delete(other)
        rounds += 1
    return rounds


def test_what_is_done_to_one_shaper_delays_no_frame_of_another(
    pair: Pair, shaperd: Shaperd
) -> None:
    """Against the same traffic without, the longest wait grows by no more than 2 ms."""
    shape(shaperd, pair, "10mbit")
    wait_carrier(pair.host, is_on=True)

    def attempt() -> list[str]:
        calm_ms = probe(pair, PROBING_S).waits_ms[-1]
        is_over = Event()
        with ThreadPoolExecutor(1) as beside:
            acting = beside.submit(act, shaperd, pair, is_over)
            acted_ms = probe(pair, PROBING_S).waits_ms[-1]
            is_over.set()
            rounds = acting.result()
        faults = [] if rounds > 2 else [f"only {rounds} rounds of actions"]
        if acted_ms > calm_ms + MOST_MS:
            faults.append(f"a frame waited for {acted_ms:.1f} ms, {calm_ms:.1f} otherwise")
        return faults

    hold(attempt)


def test_clients_without_rights_delay_no_frame() -> None:
    """Nine of ten frames wait no longer than beside the same clients at another daemon.

    So few frames say nothing about the last hundredth; `make ordeal` looks at that.
    """
    with two_daemons() as (pair, daemon, decoy):

        def attempt() -> list[str]:
            otherwise_ms, _ = waits_beside(pair, decoy, CLIENTS, SIEGE_S)
            besieged_ms, seen = waits_beside(pair, daemon, CLIENTS, SIEGE_S)
            faults = [] if seen.dealt_with > 100 else [f"{seen.dealt_with} messages only"]
            return faults + delayed(besieged_ms, otherwise_ms, MOST_OF_THEM)

        hold(attempt)
