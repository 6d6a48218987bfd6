"""What reaches the peer under a trace is what the trace offers, window by window."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import Pair
from tests.kernel.latency import flood
from tests.kernel.shaping import hold
from tests.kernel.steps import SHAPER, shape, show
from tests.kernel.test_crash import kill_forwarder
from tests.ordeal.traced_rates import playback_of, wrong_windows

SECONDS = 1.2
FLOOD_BITS = 60_000_000
LATE_MS = 4  # on a machine that is busy; `make ordeal` allows one

# Rates from 0 to 40 Mbit/s, and mahimahi's lines of about as much.
CSV = "0,4mbit\n0.15,40mbit\n0.3,0\n0.5,1mbit\n0.7,20mbit\n1,end\n"
OPPORTUNITIES = "".join(f"{ms}\n" * (1 + ms // 40 % 3) for ms in range(1, 400) if ms % 7)


@pytest.mark.parametrize(("text", "is_killed"), [(CSV, True), (OPPORTUNITIES, False)])
def test_every_window_has_what_the_trace_offers(
    pair: Pair, shaperd: Shaperd, tmp_path: Path, text: str, is_killed: bool
) -> None:
    """As the peer's kernel stamps it; also after the forwarder was killed."""
    shape(shaperd, pair, "1mbit")
    path = tmp_path / "trace"
    path.write_text(text)
    shaperd.configure("set", SHAPER, "trace", str(path))
    playback = playback_of(shaperd, text)
    with flood(pair, FLOOD_BITS):
        hold(lambda: wrong_windows(pair, playback, SECONDS, late_ms=LATE_MS))
        if is_killed:
            kill_forwarder(shaperd)
            hold(lambda: wrong_windows(pair, playback, SECONDS, late_ms=LATE_MS))
    assert show(shaperd)["options"]["trace"]["length_us"] == playback.trace.length_us
