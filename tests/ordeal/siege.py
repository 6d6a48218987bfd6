"""What frames wait while clients without rights besiege the daemon that shapes them.

The clients take processors, too, and make any frame wait. So the same clients besiege another
daemon in turn, with a shaper as well that no frame takes: what frames wait for then is the
machine's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, Pair, make_pair
from tests.kernel.latency import probe
from tests.kernel.steps import SHAPER, shape, wait_carrier
from tests.ordeal.campaign import Trial, campaign
from tests.ordeal.control_clients import AttackSeen, attack, percentile

CLIENTS = 300
ROUND_S = 20
ENOUGH_ROUNDS = 3  # of 2500 probes each, before their last hundredth is compared
RATE = "10mbit"
DECOY = "shaper1"

# Specified.
PERCENT = 99  # of the frames
MOST_TIMES = 1.1  # of what they wait otherwise
CLOCK_MS = 0.1  # chosen: less is no difference between two runs of the same


@contextmanager
def two_daemons() -> Iterator[tuple[Pair, Shaperd, Shaperd]]:
    """Run a daemon with a shaper that carries traffic, and a decoy with one that carries none."""
    with ExitStack() as stack:
        pair = stack.enter_context(make_pair())
        daemons = []
        for _ in range(2):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            directory.chmod(0o755)
            daemons.append(Shaperd(pair.host, "--shapers", "0", directory=directory))
            stack.enter_context(daemons[-1])
        daemon, decoy = daemons
        daemon.configure("add", SHAPER)
        shape(daemon, pair, RATE)
        decoy.configure("add", DECOY)
        decoy.configure("attach", DECOY, MASTER)
        decoy.configure("speed", DECOY, RATE)
        wait_carrier(pair.host, is_on=True)
        yield pair, daemon, decoy


def waits_beside(
    pair: Pair, daemon: Shaperd, clients: int, seconds: float
) -> tuple[list[float], AttackSeen]:
    """Return how many milliseconds frames waited beside an attack, and what was seen of it."""
    with ThreadPoolExecutor(1) as beside:
        attacking = beside.submit(attack, pair.host, daemon, clients, seconds)
        waits = probe(pair, seconds)
        return waits.waits_ms, attacking.result()


def delayed(
    besieged_ms: list[float], otherwise_ms: list[float], percent: int = PERCENT
) -> list[str]:
    """Return a sentence if so many percent of the frames waited for longer in the siege."""
    besieged, otherwise = percentile(besieged_ms, percent), percentile(otherwise_ms, percent)
    if besieged <= MOST_TIMES * otherwise + CLOCK_MS:
        return []
    return [f"{percent} of 100 frames waited up to {besieged:.2f} ms, otherwise {otherwise:.2f}"]


@campaign("control siege seconds", count=300)
def besiege_frames(trial: Trial) -> None:
    """No frame waits for what 300 clients ask, and what is promised to others holds."""
    besieged_ms: list[float] = []
    otherwise_ms: list[float] = []
    with two_daemons() as (pair, daemon, decoy):
        for number in trial:
            if number % 2 == 0:
                otherwise_ms += waits_beside(pair, decoy, CLIENTS, ROUND_S)[0]
            waits_ms, seen = waits_beside(pair, daemon, CLIENTS, ROUND_S)
            besieged_ms += waits_ms
            if number % 2:
                otherwise_ms += waits_beside(pair, decoy, CLIENTS, ROUND_S)[0]
            trial.repeated(ROUND_S - 1)
            trial.stalled(round(max(waits_ms) * 1e6))
            trial.memory(seen.rss_kib)
            print(
                f"  {PERCENT} of 100 frames waited up to {percentile(besieged_ms, PERCENT):.2f} "
                f"ms, beside the decoy {percentile(otherwise_ms, PERCENT):.2f}; "
                f"root {max(seen.root_s):.3f} s at most"
            )
            faults = seen.faults()
            if number + 1 >= ENOUGH_ROUNDS:
                faults += delayed(besieged_ms, otherwise_ms)
            for sentence in faults:
                trial.failed(sentence)
