"""Rates that follow a trace for minutes, as the peer sees it, window by window."""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path

from bench.lab.capture import FrameCapture
from bench.lab.daemon import Shaperd
from bench.lab.filters import Wanted
from bench.lab.meters import Meter
from bench.lab.topology import NIC, REMOTE, Pair, make_pair
from shaper.desired.trace_syntax import parse_trace
from shaper.trace import Playback
from tests.kernel.latency import FLOOD_PORT, flood
from tests.kernel.steps import SHAPER, shape
from tests.ordeal.campaign import Trial, campaign

FRAME_BYTES = 1514
WINDOW_US = 100_000
CHANGES = 1000
MINUTES = 10
ROUND_S = 20.0
ROUNDS = 30  # of one trace: its ten minutes
STOLEN_S = 0.1  # in a round whose windows count
MOST_BITS = 50_000_000
RATES = ("0", "200kbit", "1mbit", "5mbit", "20mbit", "50mbit")


def playback_of(shaperd: Shaperd, text: str) -> Playback:
    """Return a trace and when the daemon says that it began."""
    saved = json.loads((shaperd.state / "state.json").read_text())["shapers"][0]
    return Playback(parse_trace(text), saved["trace_began"]["us"])


def wrong_windows(
    pair: Pair, playback: Playback, seconds: float, *, late_ms: int = 1
) -> list[str]:
    """Return the windows in which what arrived is not what was offered.

    Allowed is one frame more or less, and what the highest rate carries in `late_ms`.
    """
    trace = playback.trace
    allowed_bytes = FRAME_BYTES + late_ms * trace.peak_bits // 8000
    clock_us = (time.clock_gettime_ns(time.CLOCK_REALTIME) - time.monotonic_ns()) // 1000
    with FrameCapture(pair.peer, NIC, Wanted(REMOTE, "udp", FLOOD_PORT)) as capture:
        time.sleep(seconds)
        frames = capture.stop().frames
    arrivals = [(at_ns // 1000 - clock_us - playback.began_us, size) for at_ns, size in frames]
    received: dict[int, int] = {}
    for at_us, size in arrivals:
        received[at_us // WINDOW_US] = received.get(at_us // WINDOW_US, 0) + size
    wrong = []
    for window in range(min(received) + 1, max(received)):
        offered, _ = trace.offered(window * WINDOW_US, (window + 1) * WINDOW_US)
        arrived = received.get(window, 0)
        if abs(arrived - offered // 8_000_000) > allowed_bytes:
            wrong.append(f"{arrived} bytes of {offered // 8_000_000} in window {window}")
    return wrong or ([] if len(arrivals) > 100 else ["next to nothing arrived"])


def steps_of(seed: int) -> str:
    """Return a trace of ten minutes with a thousand changes, as CSV."""
    source, length_s = random.Random(seed), 60 * MINUTES
    times = sorted(source.sample(range(1, length_s * 1000), CHANGES - 1))
    lines = [f"{at / 1000:.3f},{source.choice(RATES)}" for at in (0, *times)]
    return "\n".join([*lines, f"{length_s},end", ""])


def opportunities_of(seed: int) -> str:
    """Return a trace of ten minutes with a thousand rates, as mahimahi has them."""
    source, lines, credit = random.Random(seed), [], 0.0
    for first_ms in range(1, 60_000 * MINUTES, 60 * MINUTES):
        share = source.uniform(0, MOST_BITS / 12_000_000)
        for millisecond in range(first_ms, first_ms + 60 * MINUTES):
            credit += share
            lines += [f"{millisecond}\n"] * int(credit)
            credit %= 1
    return "".join(lines)


@campaign("trace seconds", count=2 * 60 * MINUTES)
def follow(trial: Trial) -> None:
    """Each window has what the trace offers, in both formats, unless processors were taken."""
    texts = [steps_of(1), opportunities_of(2)]
    with make_pair() as pair, tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "trace"
        with Shaperd(pair.host) as daemon:
            shape(daemon, pair, "1mbit")
            text = ""
            for _ in trial:
                number = trial.row.repetitions // int(ROUND_S)
                if not text or number % ROUNDS == 0:
                    text = texts[number // ROUNDS % 2]
                    path.write_text(text)
                    daemon.configure("set", SHAPER, "trace", str(path))
                    playback = playback_of(daemon, text)
                meter = Meter()
                with flood(pair, 2 * MOST_BITS):
                    wrong = wrong_windows(pair, playback, ROUND_S)
                stolen_s = meter.spent().stolen_s
                trial.repeated(int(ROUND_S) - 1)
                print(
                    f"  {len(wrong)} of {ROUND_S * 10:.0f} windows differ, {stolen_s:.2f} s stolen"
                )
                for sentence in wrong if stolen_s < STOLEN_S else ():
                    trial.failed(sentence)
