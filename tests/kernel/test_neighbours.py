"""Neighbours of a shaper are resolved by its master, and never by the shaper itself."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers import inet6, l2
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import MASTER, NIC, PEER, PEER6, REMOTE, REMOTE6, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import (
    SHAPER,
    Listener,
    Stream,
    Tapper,
    ip_json,
    link,
    now_ns,
    shape,
    show,
    wait_carrier,
)

BEHIND = "10.3.0.1"  # of the peer, behind itself as a gateway
BEHIND6 = "fd00:3::1"
ROUTER6 = "fe80::100"  # of the peer: IPv6 gateways go by their link-local address
NOBODY = "10.1.0.77"
NOBODY6 = "fd00:1::77"
OTHER_MAC = "02:00:00:00:01:77"
FORGED_MAC = "02:00:00:00:01:99"
RESUME_MS = 1000  # specified: traffic resumes within a second
FAIL_S = 1.0  # chosen: with askings 50 ms apart; a shaper that waits for its own takes 3 s

# Specified by include/uapi/linux/in.h and in6.h: UDP tells of unreachable hosts only if asked.
IP_RECVERR = (socket.IPPROTO_IP, 11)
IPV6_RECVERR = (socket.IPPROTO_IPV6, 25)
# Specified by RFC 4861, section 4, RFC 2710 and RFC 3810: types of ICMPv6.
ICMP6_AT = 54  # in an Ethernet frame, without extension headers
ICMP6_TYPE_RS = 133
ETHERNET_TYPE_AT = 12
IPV6 = b"\x86\xdd"


@pytest.fixture(autouse=True)
def _link_local(pair: Pair) -> None:
    """Give the master a link-local address that is usable now, not when DAD is over."""
    pair.host.ip(f"address add fe80::1/64 dev {MASTER} nodad")


def ask_fast(namespace: Namespace, version: int, ifname: str) -> None:
    """Let a device ask for neighbours every 50 ms in place of every second."""
    namespace.sysctl(f"net/ipv{version}/neigh/{ifname}/retrans_time_ms", 50)


def neighbours(pair: Pair, ifname: str = SHAPER) -> dict[str, dict[str, Any]]:
    """Return the neighbour entries of a device, by address."""
    return {each["dst"]: each for each in ip_json(pair.host, "neigh", "show", "dev", ifname)}


def wait_mac(pair: Pair, address: str, mac: str) -> None:
    """Wait until the shaper's entry for an address holds a link-layer address."""
    wait_until(
        lambda: neighbours(pair).get(address, {}).get("lladdr") == mac,
        f"{address} to be at {mac}",
    )


def error_of_sending(pair: Pair, address: str) -> tuple[int, float]:
    """Send a datagram to nobody; return the error that comes back and after how long."""
    is_ipv6 = ":" in address
    with pair.host.enter():
        handle = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    with handle:
        handle.setsockopt(*(IPV6_RECVERR if is_ipv6 else IP_RECVERR), 1)
        handle.settimeout(10)
        start = time.monotonic()
        handle.connect((address, 9))
        handle.send(b"anyone?")
        try:
            handle.recv(1)
        except OSError as error:
            return error.errno or 0, time.monotonic() - start
    raise AssertionError("somebody answered")


def neighbour_drops(shaperd: Shaperd) -> int:
    """Return how many frames the shaper dropped because they belong to the master."""
    return int(show(shaperd)["stats"]["dropped"]["neighbour"])


@pytest.mark.parametrize("address", [REMOTE, REMOTE6])
def test_on_link_host_is_resolved(pair: Pair, shaperd: Shaperd, address: str) -> None:
    """The first datagram arrives, at once: the master has asked, over the real wire."""
    shape(shaperd, pair)
    wait_carrier(pair.host, is_on=True)
    start_ns = now_ns()
    with Listener(pair.peer) as listener, Stream(pair.host, address):
        assert listener.wait_after(start_ns) <= RESUME_MS
        assert listener.arrivals()[0][1] == 0
    wait_mac(pair, address, link(pair.peer, NIC)["address"])
    assert neighbours(pair, MASTER)[address]["lladdr"] == link(pair.peer, NIC)["address"]


@pytest.mark.parametrize(
    ("gateway", "network", "address"),
    [(PEER, "10.3.0.0/24", BEHIND), (ROUTER6, "fd00:3::/64", BEHIND6)],
)
def test_gateway_is_resolved(
    pair: Pair, shaperd: Shaperd, gateway: str, network: str, address: str
) -> None:
    """A gateway given for the shaper is the master's neighbour, and serves."""
    shape(shaperd, pair)
    pair.peer.ip(f"address add {address} dev lo", f"address add {ROUTER6}/64 dev {NIC} nodad")
    pair.host.ip(f"route add {network} via {gateway} dev {SHAPER} onlink")
    start_ns = now_ns()
    with Listener(pair.peer) as listener, Stream(pair.host, address):
        assert listener.wait_after(start_ns) <= RESUME_MS
    wait_mac(pair, gateway, link(pair.peer, NIC)["address"])


@pytest.mark.parametrize("why", ["none", "tentative"])
def test_ipv6_needs_no_link_local_address(pair: Pair, shaperd: Shaperd, why: str) -> None:
    """A master without one, or whose one is still being checked, asks from another address."""
    shape(shaperd, pair)
    wait_carrier(pair.host, is_on=True)
    pair.host.ip(f"address del fe80::1/64 dev {MASTER}")
    if why == "tentative":
        pair.host.sysctl(f"net/ipv6/conf/{MASTER}/dad_transmits", 100)
        pair.host.ip(f"address add fe80::2/64 dev {MASTER}")
    start_ns = now_ns()
    with Listener(pair.peer) as listener, Stream(pair.host, REMOTE6):
        assert listener.wait_after(start_ns) <= RESUME_MS
    wait_mac(pair, REMOTE6, link(pair.peer, NIC)["address"])


def test_entry_the_master_has_already_is_used(pair: Pair, shaperd: Shaperd) -> None:
    """No event comes for an entry that is valid as it is; it serves the shaper all the same."""
    mac = link(pair.peer, NIC)["address"]
    pair.host.ip(f"neigh replace {REMOTE} dev {MASTER} lladdr {mac} nud permanent")
    shape(shaperd, pair)
    start_ns = now_ns()
    with Listener(pair.peer) as listener, Stream(pair.host):
        assert listener.wait_after(start_ns) <= RESUME_MS
    wait_mac(pair, REMOTE, mac)


@pytest.mark.parametrize(
    ("address", "announcement"),
    [(REMOTE, "net/ipv4/conf/eth0/arp_notify"), (REMOTE6, "net/ipv6/conf/eth0/ndisc_notify")],
)
def test_announced_change_is_followed(
    pair: Pair, shaperd: Shaperd, address: str, announcement: str
) -> None:
    """The peer takes another address and says so: traffic goes there within a second."""
    pair.peer.sysctl(announcement, 1)
    shape(shaperd, pair)
    with Listener(pair.peer) as listener, Stream(pair.host, address):
        listener.wait_after(0)
        changed_ns = now_ns()
        pair.peer.ip(f"link set {NIC} address {OTHER_MAC}")
        assert listener.wait_after(changed_ns) <= RESUME_MS
    wait_mac(pair, address, OTHER_MAC)


def test_silent_change_is_found_out(pair: Pair, shaperd: Shaperd) -> None:
    """The peer takes another address and says nothing: the master's probes find it."""
    shape(shaperd, pair)
    for ifname in (MASTER, SHAPER):
        pair.host.sysctl(f"net/ipv4/neigh/{ifname}/base_reachable_time_ms", 200)
        pair.host.sysctl(f"net/ipv4/neigh/{ifname}/delay_first_probe_time", 0)
    ask_fast(pair.host, 4, MASTER)
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
        pair.peer.ip(f"link set {NIC} address {OTHER_MAC}")
        wait_mac(pair, REMOTE, OTHER_MAC)
        assert listener.wait_after(now_ns()) <= RESUME_MS


@pytest.mark.parametrize("address", [NOBODY, NOBODY6])
def test_failing_neighbour_fails_as_quickly_as_on_the_master(
    pair: Pair, shaperd: Shaperd, address: str
) -> None:
    """The sender is told that there is no such host, and the host is found when it appears."""
    shape(shaperd, pair)
    ask_fast(pair.host, 6 if ":" in address else 4, MASTER)
    error, seconds = error_of_sending(pair, address)
    assert error == errno.EHOSTUNREACH
    assert seconds < FAIL_S
    length = 64 if ":" in address else 24
    pair.peer.ip(f"address add {address}/{length} dev {NIC} nodad")
    with Listener(pair.peer) as listener, Stream(pair.host, address):
        listener.wait_after(0, "the host that appeared")


def packets_of_neighbourhood() -> list[Packet]:
    """Return one of everything by which hosts find each other on a link."""
    arp = {"hwsrc": FORGED_MAC, "psrc": "10.0.0.9"}
    me, all_nodes = "fe80::99", "ff02::1"
    target = inet6.ICMPv6NDOptSrcLLAddr(lladdr=FORGED_MAC)
    alert = inet6.IPv6ExtHdrHopByHop(options=inet6.RouterAlert())
    near = inet6.IPv6(src=me, dst=all_nodes, hlim=255)
    listening = inet6.IPv6(src=me, dst="ff02::16", hlim=1) / alert
    return [
        l2.ARP(op="who-has", pdst=PEER, **arp),
        l2.ARP(op="is-at", pdst=PEER, hwdst="ff:ff:ff:ff:ff:ff", **arp),
        near / inet6.ICMPv6ND_NS(tgt=PEER6) / target,
        near / inet6.ICMPv6ND_NA(tgt=me),
        near / inet6.ICMPv6ND_RS() / target,
        near / inet6.ICMPv6ND_RA(),
        near / inet6.ICMPv6ND_Redirect(tgt=me, dst=PEER6),
        listening / inet6.ICMPv6MLReport(mladdr="ff02::1:ff00:99"),
        listening / inet6.ICMPv6MLDone(mladdr="ff02::1:ff00:99"),
        listening / inet6.ICMPv6MLReport2(),
        listening / inet6.ICMPv6MLQuery(),
        listening / inet6.ICMPv6MLQuery2(),
    ]


def inject(pair: Pair, packets: list[Packet]) -> None:
    """Put frames into the shaper as its kernel would, with a source of their own."""
    header = l2.Ether(src=FORGED_MAC, dst="ff:ff:ff:ff:ff:ff")
    with pair.host.enter():
        handle = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with handle:
            handle.bind((SHAPER, 0))
            for packet in packets:
                handle.send(bytes(header / packet))


def test_no_neighbour_traffic_leaves_through_a_shaper(pair: Pair, shaperd: Shaperd) -> None:
    """ARP, ND, RS and MLD of every kind are dropped and counted; what follows them leaves."""
    shape(shaperd, pair, "10mbit")
    wait_carrier(pair.host, is_on=True)
    forbidden = packets_of_neighbourhood()
    last = IP(src="10.0.0.9", dst=REMOTE) / UDP(sport=1, dport=2) / b"the last of them"
    source = bytes.fromhex(FORGED_MAC.replace(":", ""))
    with Tapper(pair.peer, NIC) as tapper:
        inject(pair, [*forbidden, last])

        def forged() -> list[bytes]:
            return [frame for frame in tapper.frames() if frame[6:12] == source]

        wait_until(lambda: any(b"the last of them" in frame for frame in forged()), "the last")
        assert len(forged()) == 1
    assert neighbour_drops(shaperd) == len(forbidden)


def is_discovery(frame: bytes) -> bool:
    """Whether a frame is ARP, or IPv6 that speaks of neighbours, routers or listeners."""
    kind = frame[ETHERNET_TYPE_AT : ETHERNET_TYPE_AT + 2]
    return kind == b"\x08\x06" or (kind == IPV6 and frame[20] in (0, socket.IPPROTO_ICMPV6))


def test_addresses_added_to_a_shaper_stay_silent(pair: Pair, shaperd: Shaperd) -> None:
    """Duplicate detection, MLD and router solicitation of its own addresses end in the shaper."""
    shape(shaperd, pair)
    wait_carrier(pair.host, is_on=True)
    pair.host.sysctl(f"net/ipv6/conf/{SHAPER}/router_solicitation_delay", 0)
    own = [ipaddress.ip_address(each).packed for each in ("fe80::5a:1234", "fd00:9::5b:1234")]
    marks = [*own, bytes.fromhex("01ff5a1234"), bytes.fromhex("01ff5b1234")]
    with Tapper(pair.host, SHAPER) as inside, Tapper(pair.peer, NIC) as outside:
        pair.host.ip(
            f"address add fe80::5a:1234/64 dev {SHAPER}",
            f"address add fd00:9::5b:1234/64 dev {SHAPER}",
        )
        wait_until(solicits_routers(inside), "the kernel to look for routers on the shaper")
        wait_until(
            lambda: neighbour_drops(shaperd) == sum(map(is_discovery, inside.frames())),
            "all of it to be counted",
        )
        assert not [each for each in outside.frames() if any(mark in each for mark in marks)]


def solicits_routers(tapper: Tapper) -> Callable[[], bool]:
    """Return a look at whether a router solicitation has passed."""
    return lambda: any(
        frame[ETHERNET_TYPE_AT : ETHERNET_TYPE_AT + 2] == IPV6 and frame[ICMP6_AT] == ICMP6_TYPE_RS
        for frame in tapper.frames()
        if len(frame) > ICMP6_AT
    )


def test_shaper_as_it_comes_up_says_nothing(pair: Pair, shaperd: Shaperd) -> None:
    """Before an administrator adds an IPv6 address, the kernel has nothing to say through it."""
    pair.host.ip(f"link set {SHAPER} up")
    with Tapper(pair.host, SHAPER) as tapper:
        shape(shaperd, pair)
        with Listener(pair.peer) as listener, Stream(pair.host, REMOTE6):
            listener.wait_after(0)
        assert not list(filter(is_discovery, tapper.frames()))
    assert neighbour_drops(shaperd) == 0
