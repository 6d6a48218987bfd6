"""Two shapers on one master, at the same time."""

from __future__ import annotations

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import HOST, MASTER, NIC, REMOTE, Pair
from bench.lab.traffic import Flow
from tests.kernel.shaping import Errand, hold, measure, outlast_stalls, surplus
from tests.kernel.steps import PORT

pytestmark = pytest.mark.light

OTHER = "10.1.1.2"
RATES = {"shaper0": 2_000_000, "shaper1": 500_000}
TARGETS = {"shaper0": REMOTE, "shaper1": OTHER}


def test_two_shapers_of_one_master_keep_their_own_rates(pair: Pair, shaperd: Shaperd) -> None:
    """Each carries its own traffic at its own speed; neither borrows from the other."""
    shaperd.configure("add", "shaper1")
    pair.peer.ip(f"address add {OTHER}/24 dev {NIC}")
    for ifname, rate_bits in RATES.items():
        shaperd.configure("attach", ifname, MASTER)
        shaperd.configure("speed", ifname, str(rate_bits))
        outlast_stalls(shaperd, rate_bits, 500, ifname)
        pair.host.ip(
            f"address add {HOST}/32 dev {ifname}",
            f"link set {ifname} up",
            f"route add {TARGETS[ifname]}/32 dev {ifname}",
        )
    errands = [
        Errand(Flow("udp", TARGETS[ifname], PORT), surplus(rate_bits, 2, 500), ifname)
        for ifname, rate_bits in RATES.items()
    ]

    def attempt() -> list[str]:
        return [
            f"{errand.ifname}: {fault}"
            for errand, measured in zip(errands, measure(pair, shaperd, *errands), strict=True)
            for fault in measured.rate_faults(0.2) + measured.burst_faults()
        ]

    hold(attempt)
