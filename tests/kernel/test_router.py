"""A router: what a LAN sends through it is shaped, what comes back is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import (
    HOST,
    LAN,
    LAN_NETWORK,
    MASTER,
    REMOTE,
    REMOTE6,
    Pair,
    Router,
)
from bench.lab.traffic import Flow, Load, Sender, Sink
from bench.lab.wait import wait_until
from tests.kernel.shaping import TCP_LACK_PERCENT, Errand, hold, measure, outlast_stalls
from tests.kernel.steps import PORT, SHAPER, ip_json, shape, wait_state

RATE_BITS = 2_000_000


def tentative(router: Router) -> list[object]:
    """Return the addresses of the master that may yet prove to be somebody else's."""
    shown = ip_json(router.host, "address", "show", "dev", MASTER, "tentative")
    return [address for device in shown for address in device.get("addr_info", [])]


@pytest.fixture
def routing(router: Router, tmp_path: Path) -> Iterator[Shaperd]:
    """Run the daemon on the router, the remote networks routed over its shaper."""
    with Shaperd(router.host, directory=tmp_path) as daemon:
        shape(daemon, router, str(RATE_BITS))
        outlast_stalls(daemon, RATE_BITS)
        wait_state(daemon, "active")
        # Until its link-local address is known to be its own, the master asks for no neighbour.
        wait_until(lambda: not tentative(router), f"the addresses of {MASTER}")
        yield daemon


@pytest.mark.light
@pytest.mark.parametrize("address", [REMOTE, REMOTE6])
def test_forwarded_tcp_is_shaped(router: Router, routing: Shaperd, address: str) -> None:
    """TCP from the LAN reaches the peer at the set speed."""
    # As far as sending goes, the LAN takes the host's place.
    from_lan = Pair(router.lan, router.peer)

    def attempt() -> list[str]:
        errand = Errand(Flow("tcp", address, PORT), Load(seconds=1.5))
        (measured,) = measure(from_lan, routing, errand)
        assert measured.received.payload_bytes > 0
        assert routing.show(SHAPER)["stats"]["sent_packets"] >= len(measured.frames)
        return measured.rate_faults(0.3, TCP_LACK_PERCENT)

    hold(attempt)


@pytest.mark.together
def test_the_way_back_is_not_shaped(router: Router, routing: Shaperd) -> None:
    """The LAN receives much faster than it may send, though its acknowledgements are shaped."""
    router.peer.ip(f"route replace {LAN_NETWORK} via {HOST} src {REMOTE}")
    flow, load = Flow("tcp", LAN, PORT), Load(seconds=10, total_bytes=5_000_000)
    with Sink(router.lan, flow) as sink, Sender(router.peer, flow, load) as sender:
        sent = sender.wait()
        received = sink.stop()
    assert (sent.failures, received.payload_bytes) == (0, 5_000_000)
    stats = routing.show(SHAPER)["stats"]
    assert stats["sent_packets"] > 0
    assert stats["sent_bytes"] < 500_000


@pytest.mark.together
def test_strict_reverse_path_filtering_is_warned_of(router: Router, tmp_path: Path) -> None:
    """The kernel would drop the replies in silence; attaching names the sysctl and the value."""
    router.host.sysctl(f"net/ipv4/conf/{MASTER}/rp_filter", 1)
    with Shaperd(router.host, directory=tmp_path) as daemon:
        attached = daemon.shapecfg("attach", SHAPER, MASTER)
        assert (attached.returncode, attached.stderr.count("\n")) == (0, 1)
        assert "strict reverse-path filtering" in attached.stderr
        assert f"sysctl -w net.ipv4.conf.{MASTER}.rp_filter=2" in attached.stderr
        router.host.sysctl(f"net/ipv4/conf/{MASTER}/rp_filter", 2)
        daemon.configure("detach", SHAPER)
        assert daemon.shapecfg("attach", SHAPER, MASTER).stderr == ""
