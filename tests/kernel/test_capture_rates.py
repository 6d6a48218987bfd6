"""Traffic that is taken from a device is held to the rate, both ways."""

from __future__ import annotations

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import HOST, HOST6, PEER, PEER6, Pair
from bench.lab.traffic import Flow, Load, Received, Sender
from bench.lab.wait import wait_until
from tests.kernel.shaping import (
    TCP_LACK_PERCENT,
    Errand,
    Measured,
    hold,
    look,
    measure,
    outlast_stalls,
    surplus,
)
from tests.kernel.steps import (
    PORT,
    Listener,
)
from tests.kernel.test_capture import take

RATE_BITS = 50_000_000

FRAME_BYTES = 1514

LIMIT_PERCENT = 0.3


@pytest.mark.parametrize(("protocol", "address"), [("udp", PEER), ("tcp", PEER6)])
def test_what_is_sent_is_held_to_the_rate(
    pair: Pair, shaperd: Shaperd, protocol: str, address: str
) -> None:
    """Without a route or an address of the shaper; the peer sees the rate that was set."""
    take(shaperd, "egress")
    outlast_stalls(shaperd, RATE_BITS)
    load = Load(seconds=1.5) if protocol == "tcp" else surplus(RATE_BITS, 1)

    def attempt() -> list[str]:
        (measured,) = measure(pair, shaperd, Errand(Flow(protocol, address, PORT), load))
        return measured.rate_faults(LIMIT_PERCENT, TCP_LACK_PERCENT if protocol == "tcp" else 0)

    hold(attempt)


@pytest.mark.parametrize("address", [HOST, HOST6])
def test_what_is_received_is_held_to_the_rate(pair: Pair, shaperd: Shaperd, address: str) -> None:
    """As the receiving socket has its datagrams stamped by the kernel."""
    take(shaperd, "ingress")
    outlast_stalls(shaperd, RATE_BITS)

    def attempt() -> list[str]:
        with Listener(pair.host, PORT) as listener:
            load = surplus(RATE_BITS, 1)
            with Sender(pair.peer, Flow("udp", address, PORT), load) as sender:
                while look(shaperd)["stats"]["backlog_packets"] or not listener.arrivals():
                    pass
                while look(shaperd)["stats"]["backlog_packets"]:
                    listener.arrivals()
                sender.wait()
            wait_until(lambda: not look(shaperd)["stats"]["backlog_packets"], "an idle shaper")
            frames = [(time_ns, FRAME_BYTES) for time_ns, _ in listener.arrivals()]
        received = Received(len(frames), len(frames))
        return Measured(frames, received, RATE_BITS, 0, 1000).rate_faults(LIMIT_PERCENT)

    hold(attempt)
