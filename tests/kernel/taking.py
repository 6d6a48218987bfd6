"""Taking traffic of the master of `pair` to a shaper, and seeing that it is."""

from __future__ import annotations

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import MASTER
from tests.kernel.steps import SHAPER, show

RATE = "50mbit"


def take(daemon: Shaperd, *how: str, ifname: str = SHAPER, rate: str = RATE) -> None:
    """Take traffic of the master to a shaper."""
    daemon.configure("attach", ifname, MASTER, *how)
    daemon.configure("speed", ifname, rate)


def ping(namespace: Namespace, address: str) -> None:
    """Require that one of three is answered."""
    namespace.run(["ping", "-c", "3", "-i", "0.1", "-W", "1", address])


def sent(daemon: Shaperd, ifname: str = SHAPER) -> int:
    """Return how many frames a shaper counts as sent."""
    return int(show(daemon, ifname)["stats"]["sent_packets"])
