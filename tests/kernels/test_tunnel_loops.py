"""Tunnels with their far end routed over their own shaper: told where known, ended where not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import PEER, PEER6, REMOTE, REMOTE6, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import SHAPER, show
from tests.kernels.test_bare_ip import MASTERS, shape

MOST_FRAMES = 200


@pytest.mark.parametrize("name", [each for each in MASTERS if each != "pppoe"])
def test_a_loop_is_told_and_ends(pair: Pair, shaperd: Shaperd, name: str) -> None:
    """`show` names the far end once it is routed so, and a few pings are sent some dozen times."""
    build: Callable[[Pair], AbstractContextManager[str]] = MASTERS[name][0]
    versions = MASTERS[name][1:]
    with build(pair) as master:
        shape(shaperd, pair, master, "100mbit")
        assert "comes back" not in str(show(shaperd)["warnings"])
        far = PEER6 if name.startswith("ip6") else PEER
        pair.host.ip(f"route add {far} dev {SHAPER} metric 1")
        wait_until(lambda: far in str(show(shaperd)["warnings"]), "the loop is told")
        inside = REMOTE if 4 in versions else REMOTE6
        pair.host.run(["ping", "-c", "5", "-i", "0.2", "-W", "1", inside], check=False)
        stats = show(shaperd)["stats"]
        print(name, stats["sent_packets"], stats["dropped"])
        assert stats["sent_packets"] <= MOST_FRAMES
