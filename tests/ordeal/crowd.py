"""What is done to one of a thousand shapers, and how long a frame of another waits meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from bench.lab.topology import HOST, REMOTE_NETWORK
from tests.kernel.latency import probe
from tests.kernel.steps import SHAPER
from tests.kernel.test_control_and_frames import MOST_MS, act
from tests.ordeal.campaign import Trial, campaign
from tests.ordeal.forwarder_deaths import NS_PER_MS, many

PROBING_S = 2.0
OTHER = "crowded"  # beside the thousand


@campaign("control beside many", count=20)
def change_one_of_many(trial: Trial) -> None:
    """The longest wait is no more than 2 ms above that of a calm time before, in most attempts.

    A busy machine delays frames by itself, in the calm time as well as in the other.
    """
    late = 0
    with many() as (pair, shaperd, _start_ns):
        pair.host.ip(
            f"address add {HOST}/28 dev {SHAPER}", f"route add {REMOTE_NETWORK} dev {SHAPER}"
        )
        for number in trial:
            calm_ms = probe(pair, PROBING_S).waits_ms[-1]
            is_over = Event()
            with ThreadPoolExecutor(1) as beside:
                acting = beside.submit(act, shaperd, pair, is_over, OTHER)
                acted_ms = probe(pair, PROBING_S).waits_ms[-1]
                is_over.set()
                acting.result()
            more_ms = max(0.0, acted_ms - calm_ms)
            trial.stalled(int(more_ms * NS_PER_MS))
            late += more_ms > MOST_MS
            if late > 1 + number // 2:
                trial.failed(f"a frame waited for {acted_ms:.1f} ms, {calm_ms:.1f} otherwise")
