"""Masters of every kind and in every state: the shaper does what the master would."""

from __future__ import annotations

import socket
import struct

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import HOST, HOST6, MASTER, NIC, REMOTE, REMOTE6, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import (
    NS_PER_MS,
    SHAPER,
    Listener,
    Stream,
    Tapper,
    frozen,
    ip_json,
    link,
    now_ns,
    shape,
    show,
    wait_carrier,
    wait_state,
)

OTHER_MAC = "02:00:00:00:01:77"
ABSENCE_MS = 2000  # of the supervisor; ten times what entries of the test live without it
RESUME_MS = 1000
EVENTS = 16_000  # more than fit the receive buffer
HOSTS = 600  # on one link; the kernel's table has room for 512 for more than five seconds


def link_locals(pair: Pair, ifname: str = SHAPER) -> list[str]:
    """Return the link-local addresses of a device."""
    (shown,) = ip_json(pair.host, "-6", "address", "show", "dev", ifname) or [{"addr_info": []}]
    return [each["local"] for each in shown.get("addr_info", []) if each["scope"] == "link"]


@pytest.mark.parametrize("ifname", [MASTER, SHAPER])
def test_a_small_mtu_and_back_leaves_no_link_local_address(
    pair: Pair, shaperd: Shaperd, ifname: str
) -> None:
    """Below 1280 bytes a device has no IPv6; with it back, the kernel's own address is removed."""
    shape(shaperd, pair)
    wait_carrier(pair.host, is_on=True)
    for mtu in (1000, 1500):
        pair.host.ip(f"link set {ifname} mtu {mtu}")
        wait_until(lambda mtu=mtu: link(pair.host)["mtu"] == mtu, f"an MTU of {mtu}")
    wait_until(lambda: not link_locals(pair), "no link-local address")


def live_briefly(pair: Pair, ifname: str = SHAPER) -> None:
    """Let entries of a device be probed after 0.2 s, every 50 ms."""
    for version in (4, 6):
        folder = f"net/ipv{version}/neigh/{ifname}"
        pair.host.sysctl(f"{folder}/base_reachable_time_ms", 200)
        pair.host.sysctl(f"{folder}/delay_first_probe_time", 0)
        pair.host.sysctl(f"{folder}/retrans_time_ms", 50)


@pytest.mark.parametrize("address", [REMOTE, REMOTE6])
def test_traffic_goes_on_without_the_supervisor(
    pair: Pair, shaperd: Shaperd, address: str
) -> None:
    """Entries live on while it stands still, and a change meanwhile is followed afterwards."""
    shape(shaperd, pair, "10mbit")
    live_briefly(pair)
    with Listener(pair.peer) as listener, Stream(pair.host, address) as stream:
        listener.wait_after(0)
        with frozen(shaperd):
            start_ns = now_ns()
            stream.wait_for(ABSENCE_MS // 4)
            assert listener.longest_gap_ms(start_ns, now_ns()) < RESUME_MS // 2
        pair.peer.ip(f"link set {NIC} address {OTHER_MAC}")
        pair.host.ip(f"neigh replace {address} dev {MASTER} lladdr {OTHER_MAC} nud reachable")
        changed_ns = now_ns()
        assert listener.wait_after(changed_ns) <= RESUME_MS


def test_a_new_destination_waits_for_the_supervisor(pair: Pair, shaperd: Shaperd) -> None:
    """What could not be resolved while it stood still is resolved at once afterwards."""
    shape(shaperd, pair, "10mbit")
    wait_carrier(pair.host, is_on=True)
    with Listener(pair.peer) as listener:
        with frozen(shaperd):
            stream = Stream(pair.host)
            stream.__enter__()
            stream.wait_for(100)
        resumed_ns = now_ns()
        assert listener.wait_after(0) >= 0
        stream.stop()
        assert (listener.arrivals()[0][0] - resumed_ns) // NS_PER_MS <= RESUME_MS


def test_a_successor_takes_the_entries_over(pair: Pair, shaperd: Shaperd) -> None:
    """After a kill and a new start traffic flows, to where the peer is by then."""
    shape(shaperd, pair, "10mbit")
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
        shaperd.kill()
        pair.peer.ip(f"link set {NIC} address {OTHER_MAC}")
        pair.host.ip(f"neigh flush dev {MASTER}")
        shaperd.start()
        assert listener.wait_after(now_ns()) <= RESUME_MS


def destination(frame: bytes) -> str:
    """Return the destination of an Ethernet frame."""
    return frame[:6].hex(":")


def datagrams(tapper: Tapper, address: str = REMOTE) -> list[bytes]:
    """Return the frames that carry IPv4 to an address."""
    packed = bytes(map(int, address.split(".")))
    return [
        each for each in tapper.frames() if each[12:14] == b"\x08\x00" and each[30:34] == packed
    ]


def wait_destination(pair: Pair, mac: str) -> None:
    """Wait until a datagram leaves the master for a link-layer address."""
    with Tapper(pair.host, MASTER) as tapper:
        wait_until(
            lambda: any(destination(each) == mac for each in datagrams(tapper)[-3:]),
            f"a frame to {mac}",
        )


def test_a_master_without_arp_is_done_as_it_does(pair: Pair, shaperd: Shaperd) -> None:
    """Its static entries serve, changed and removed too; without one its own address does.

    The bare master fills its own address in where it neither asks nor has an entry.
    """
    pair.host.ip(f"link set {MASTER} arp off")
    shape(shaperd, pair, "10mbit")
    wait_carrier(pair.host, is_on=True)
    own_mac = link(pair.host, MASTER)["address"]
    peer_mac = link(pair.peer, NIC)["address"]
    with Stream(pair.host):
        wait_destination(pair, own_mac)
        pair.host.ip(f"neigh replace {REMOTE} dev {MASTER} lladdr {peer_mac} nud permanent")
        wait_destination(pair, peer_mac)
        pair.host.ip(f"neigh replace {REMOTE} dev {MASTER} lladdr {OTHER_MAC} nud permanent")
        wait_destination(pair, OTHER_MAC)
        pair.host.ip(f"neigh del {REMOTE} dev {MASTER}")
        wait_destination(pair, own_mac)
        pair.host.ip(f"link set {MASTER} arp on")
        wait_destination(pair, peer_mac)
        pair.host.ip(f"link set {MASTER} arp off")
        wait_destination(pair, own_mac)


def test_a_static_entry_of_the_master_is_followed(pair: Pair, shaperd: Shaperd) -> None:
    """Made, changed and removed while traffic flows, it is the shaper's too."""
    shape(shaperd, pair, "10mbit")
    peer_mac = link(pair.peer, NIC)["address"]
    with Stream(pair.host):
        wait_destination(pair, peer_mac)
        pair.host.ip(f"neigh replace {REMOTE} dev {MASTER} lladdr {OTHER_MAC} nud permanent")
        wait_destination(pair, OTHER_MAC)
        pair.host.ip(f"neigh del {REMOTE} dev {MASTER}")
        wait_destination(pair, peer_mac)


def enslave(pair: Pair, kind: str) -> None:
    """Make the master a port, and give its addresses to the device that it is a port of."""
    made = pair.host.run(["ip", "link", "add", "agg0", "type", *kind.split()], check=False)
    if made.returncode:
        pytest.skip(f"needs devices of type {kind.split()[0]}")
    pair.host.ip(
        f"address flush dev {MASTER}",
        *([f"link set {MASTER} down"] if kind.startswith("bond") else []),
        f"link set {MASTER} master agg0",
        f"link set {MASTER} up",
        "link set agg0 up",
        f"address add {HOST}/24 dev agg0 nodad",
        f"address add {HOST6}/64 dev agg0 nodad",
    )


@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("kind", ["bridge", "bond mode active-backup"])
@pytest.mark.parametrize("address", [REMOTE, REMOTE6])
def test_a_master_that_is_a_port_resolves_above(
    pair: Pair, shaperd: Shaperd, kind: str, is_before: bool, address: str
) -> None:
    """Answers arrive on the bridge or bond: its entries serve, whenever it was put there."""
    if is_before:
        enslave(pair, kind)
    shape(shaperd, pair, "10mbit")
    with Listener(pair.peer) as listener, Stream(pair.host, address):
        if not is_before:
            listener.wait_after(0)
            enslave(pair, kind)
            pair.host.ip(f"neigh flush dev {SHAPER} nud all")
        wait_state(shaperd, "active")
        # A question that was under way on the master itself is asked again a second later.
        assert listener.wait_after(now_ns()) <= 2 * RESUME_MS


def echo_all(pair: Pair) -> None:
    """Let the peer have many addresses on the link."""
    pair.peer.ip(
        *(f"address add 10.1.{4 + n // 250}.{1 + n % 250}/32 dev {NIC}" for n in range(HOSTS))
    )


def test_a_table_holds_as_many_hosts_as_without_a_shaper(pair: Pair, shaperd: Shaperd) -> None:
    """Entries of the shaper do not count in the limits of the kernel's neighbour table."""
    echo_all(pair)
    shape(shaperd, pair, "10mbit")
    pair.host.ip(f"route add 10.1.4.0/22 dev {SHAPER}")
    wait_carrier(pair.host, is_on=True)
    with pair.host.enter():
        handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with Listener(pair.peer) as listener, handle:
        for number in range(HOSTS):
            target = f"10.1.{4 + number // 250}.{1 + number % 250}"
            handle.sendto(struct.pack("=Q", number), (target, 9100))
        wait_until(lambda: len(listener.arrivals()) >= HOSTS, f"{HOSTS} datagrams")


def test_lost_events_leave_nothing_believed_that_is_not_so(pair: Pair, shaperd: Shaperd) -> None:
    """More happens than the kernel can tell: what was told before the loss is out of date."""
    shape(shaperd, pair)
    wait_carrier(pair.host, is_on=True)
    with frozen(shaperd):
        pair.host.ip(*(f"link set {MASTER} mtu {1400 + n % 2}" for n in range(EVENTS)))
        pair.host.ip(f"link set {MASTER} mtu 1300", f"link set {MASTER} down")
    wait_shown(shaperd, "master-down", 1300)
    assert "events were lost" in shaperd.log()
    pair.host.ip(f"link set {MASTER} mtu 1500", f"link set {MASTER} up")
    wait_shown(shaperd, "active", 1500)


def wait_shown(shaperd: Shaperd, state: str, mtu: int) -> None:
    """Wait until a shaper is shown with this state and MTU."""
    expected = (state, mtu)
    wait_until(lambda: tuple(map(show(shaperd).get, ("state", "mtu"))) == expected, str(expected))
