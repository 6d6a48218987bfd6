"""Rate and burst, from a capture at the peer, over the range of rates and of HZ."""

from __future__ import annotations

from functools import partial

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import REMOTE, REMOTE6, Pair
from bench.lab.traffic import Flow, Load
from tests.kernel.shaping import TCP_LACK_PERCENT, Errand, hold, measure, outlast_stalls, surplus
from tests.kernel.steps import PORT, shape

# Rate, length of the frames, seconds, and the error allowed in percent. At 9600 bit/s a second
# has only ten small frames, so that one tick is a larger share of what can be measured.
RATES = [
    (9_600, 120, 3.0, 0.5),
    (64_000, 242, 2.0, 0.1),
    (1_000_000, 1042, 1.5, 0.1),
    (10_000_000, 1514, 1.5, 0.1),
    (100_000_000, 1514, 1.5, 0.1),
]
LIGHT_BITS = 20_000_000  # chosen: two thousand frames a second keep no processor busy


def faults_of(pair: Pair, daemon: Shaperd, errand: Errand, limit_percent: float) -> list[str]:
    """Return what is wrong with the rate of one errand."""
    (measured,) = measure(pair, daemon, errand)
    assert measured.received.payload_bytes > 0
    lack_percent = TCP_LACK_PERCENT if errand.flow.protocol == "tcp" else 0
    return measured.rate_faults(limit_percent, lack_percent)


def bursts_of(pair: Pair, daemon: Shaperd, errand: Errand) -> list[str]:
    """Return what is wrong with the bursts of one errand, and with its start."""
    (measured,) = measure(pair, daemon, errand)
    return measured.burst_faults() + measured.debut_faults()


@pytest.mark.parametrize(
    ("rate_bits", "frame_bytes", "seconds", "limit_percent"),
    [
        pytest.param(*each, marks=[pytest.mark.light] if each[0] <= LIGHT_BITS else [])
        for each in RATES
    ],
)
def test_the_rate_is_the_one_that_was_set(
    pair: Pair,
    shaperd: Shaperd,
    rate_bits: int,
    frame_bytes: int,
    seconds: float,
    limit_percent: float,
) -> None:
    """The rate is exact, neither too high nor too low."""
    shape(shaperd, pair, str(rate_bits))
    outlast_stalls(shaperd, rate_bits, frame_bytes)
    errand = Errand(Flow("udp", REMOTE, PORT), surplus(rate_bits, seconds, frame_bytes))
    hold(partial(faults_of, pair, shaperd, errand, limit_percent))


def test_no_burst_exceeds_the_bucket_shown(pair: Pair, shaperd: Shaperd) -> None:
    """With the bucket chosen from the rate; and an idle shaper has saved nothing up."""
    shape(shaperd, pair)
    for rate_bits, frame_bytes, *_ in RATES:
        shaperd.configure("speed", "shaper0", str(rate_bits))
        # A fast shaper shows its bursts in no time; the shorter, the less can come in between.
        seconds = 1 if rate_bits < 10_000_000 else 0.3
        load = surplus(rate_bits, seconds, frame_bytes)
        hold(partial(bursts_of, pair, shaperd, Errand(Flow("udp", REMOTE, PORT), load)))


@pytest.mark.light
@pytest.mark.parametrize("hz", [100, 10_000])
def test_the_rate_is_the_same_at_every_hz(pair: Pair, shaperd: Shaperd, hz: int) -> None:
    """Coarse ticks and fine ones carry the same bytes; only the last tick is uncertain."""
    shape(shaperd, pair, "1mbit")
    shaperd.configure("set", "shaper0", "hz", str(hz))
    outlast_stalls(shaperd, 1_000_000, 1042)
    errand = Errand(Flow("udp", REMOTE, PORT), surplus(1_000_000, 1.5, 1042))

    def attempt() -> list[str]:
        (measured,) = measure(pair, shaperd, errand)
        assert measured.hz == hz
        return measured.rate_faults(0.1 + measured.tick_percent) + measured.debut_faults()

    hold(attempt)


@pytest.mark.light
@pytest.mark.parametrize("address", [REMOTE, REMOTE6])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_both_protocols_of_both_families_are_shaped(
    pair: Pair, shaperd: Shaperd, protocol: str, address: str
) -> None:
    """UDP and TCP arrive at the set speed, also at one set later; TCP never exceeds it."""
    shape(shaperd, pair)
    flow = Flow(protocol, address, PORT)
    for rate_bits in (1_000_000, 20_000_000):
        shaperd.configure("speed", "shaper0", str(rate_bits))
        outlast_stalls(shaperd, rate_bits)
        load = Load(seconds=1.5) if protocol == "tcp" else surplus(rate_bits, 1)
        errand = Errand(flow, load)
        hold(partial(faults_of, pair, shaperd, errand, 0.3))


def test_every_frame_is_counted_once(pair: Pair, shaperd: Shaperd) -> None:
    """What `show` counts as sent is what arrived, offload frames by their segments."""
    shape(shaperd, pair, "50mbit")
    (measured,) = measure(
        pair, shaperd, Errand(Flow("tcp", REMOTE, PORT), Load(seconds=5, total_bytes=2_000_000))
    )
    stats = shaperd.show("shaper0")["stats"]
    assert measured.received.payload_bytes == 2_000_000
    assert stats["sent_packets"] == len(measured.frames)
    assert stats["sent_bytes"] == sum(size for _, size in measured.frames)
