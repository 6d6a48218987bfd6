"""What keeps traffic from being answered is told: at attach, in show, and in the log later."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable

import pytest
from scapy.layers import inet6, l2

from bench.lab.daemon import Shaperd
from bench.lab.topology import HOST, MASTER, NIC, Pair
from bench.lab.wait import wait_until
from shapecfg.client import Client
from tests.kernel.steps import SHAPER, shape, show, wait_carrier


def sysctl(pair: Pair, key: str, value: int) -> None:
    """Set a value below net/ of the host."""
    pair.host.sysctl(f"net/{key}", value)


def firewall(pair: Pair) -> None:
    """Add the rule that firewalld has by default."""
    if shutil.which("nft") is None:
        pytest.skip("needs nft (package nftables)")
    rule = "meta nfproto ipv6 fib saddr . iif oif missing drop"
    for words in (
        "add table inet firewalld",
        "add chain inet firewalld filter_PREROUTING "
        "{ type filter hook prerouting priority -290; }",
        f"add rule inet firewalld filter_PREROUTING {rule}",
    ):
        pair.host.run(["nft", words])


CAUSES: dict[str, Callable[[Pair], object]] = {
    "strict reverse-path filtering": lambda pair: sysctl(pair, f"ipv4/conf/{MASTER}/rp_filter", 1),
    "arp_filter": lambda pair: sysctl(pair, "ipv4/conf/all/arp_filter", 1),
    "arp_ignore": lambda pair: sysctl(pair, f"ipv4/conf/{MASTER}/arp_ignore", 1),
    "neighbour solicitations for fd00:9::1": lambda pair: pair.host.ip(
        f"address add fd00:9::1/64 dev {SHAPER} nodad"
    ),
    "firewalld filter_PREROUTING": firewall,
    "proxy_arp": lambda pair: (
        sysctl(pair, "ipv4/ip_forward", 1),
        sysctl(pair, f"ipv4/conf/{MASTER}/proxy_arp", 1),
    ),
    "of which nothing is said": lambda pair: None,
}


@pytest.mark.parametrize("words", CAUSES)
def test_what_drops_answers_is_told_at_attach_and_in_show(
    pair: Pair, shaperd: Shaperd, words: str
) -> None:
    """Each cause is one warning that names it; where all is well there is none."""
    if words == "arp_ignore":
        pair.host.ip(f"address add 10.9.0.1/24 dev {SHAPER}")
    CAUSES[words](pair)
    warnings = Client(str(shaperd.socket)).attach(SHAPER, MASTER)
    assert warnings == show(shaperd)["warnings"]
    assert [words in each for each in warnings] == ([] if "nothing" in words else [True])


def told(shaperd: Shaperd, words: str) -> None:
    """Wait until words are in a warning of `show` and in the log."""
    wait_until(lambda: any(words in each for each in show(shaperd)["warnings"]), words)
    wait_until(lambda: words in shaperd.log(), f"{words} in the log")


def test_an_address_that_the_master_lost_is_told(pair: Pair, shaperd: Shaperd) -> None:
    """A new lease leaves the shaper with the address of the one before."""
    shape(shaperd, pair)
    wait_carrier(pair.host, is_on=True)
    assert not show(shaperd)["warnings"]
    pair.host.ip(f"address del {HOST}/24 dev {MASTER}", f"address add 10.0.0.7/24 dev {MASTER}")
    told(shaperd, f"{HOST} of {SHAPER} is no longer an address of {MASTER}")
    pair.host.ip(f"address add {HOST}/24 dev {MASTER}")
    wait_until(lambda: not show(shaperd)["warnings"], "no warning")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("macvlan0 is on top of", f"link add macvlan0 link {SHAPER} type macvlan"),
        (f"{SHAPER} is a port of br0", f"link set {SHAPER} master br0"),
        ("takes what eth1 receives", f"link add mv0 link {MASTER} type macvlan mode passthru"),
    ],
)
def test_a_device_that_gets_no_answers_is_told(
    pair: Pair, shaperd: Shaperd, words: str, command: str
) -> None:
    """Whatever is put on top of the shaper, or takes what its master receives."""
    shape(shaperd, pair)
    pair.host.ip("link add br0 type bridge", command)
    told(shaperd, words)


def ipv6_mtu(pair: Pair, ifname: str) -> int:
    """Return the IPv6 MTU of a device of the host."""
    path = f"/proc/sys/net/ipv6/conf/{ifname}/mtu"
    return int(pair.host.run(["cat", path]).stdout)


def test_an_ipv6_mtu_that_a_router_lowered_is_followed(pair: Pair, shaperd: Shaperd) -> None:
    """A router advertisement with an MTU option sets the master's, and so the shaper's."""
    shape(shaperd, pair)
    wait_carrier(pair.host, is_on=True)
    sysctl(pair, f"ipv6/conf/{MASTER}/accept_ra", 2)
    router = l2.Ether(dst="33:33:00:00:00:01") / inet6.IPv6(
        src="fe80::99", dst="ff02::1", hlim=255
    )
    advert = bytes(router / inet6.ICMPv6ND_RA() / inet6.ICMPv6NDOptMTU(mtu=1400))
    with pair.peer.enter():
        handle = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with handle:
        handle.bind((NIC, 0))
        handle.send(advert)
    wait_until(lambda: ipv6_mtu(pair, MASTER) == 1400, "the master to take the MTU")
    wait_until(lambda: ipv6_mtu(pair, SHAPER) == 1400, "the shaper to follow")
