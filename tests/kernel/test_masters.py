"""Masters of every kind and in every state: the shaper does what the master would."""

from __future__ import annotations

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import SHAPER, ip_json, link, shape, wait_carrier


def link_locals(pair: Pair, ifname: str = SHAPER) -> list[str]:
    """Return the link-local addresses of a device."""
    (shown,) = ip_json(pair.host, "-6", "address", "show", "dev", ifname) or [{"addr_info": []}]
    return [each["local"] for each in shown.get("addr_info", []) if each["scope"] == "link"]


def test_a_small_mtu_and_back_leaves_no_link_local_address(pair: Pair, shaperd: Shaperd) -> None:
    """Below 1280 bytes a device has no IPv6; with it back, the kernel's own address is removed."""
    shape(shaperd, pair)
    wait_carrier(pair.host, is_on=True)
    for mtu in (1000, 1500):
        pair.host.ip(f"link set {MASTER} mtu {mtu}")
        wait_until(lambda mtu=mtu: link(pair.host)["mtu"] == mtu, f"an MTU of {mtu}")
    wait_until(lambda: not link_locals(pair), "no link-local address")
