"""Ways not to be in force although state and routes are as they should be."""

from __future__ import annotations

from tests.kernel.lookout import WARNING
from tests.kernel.patient import (
    AGAIN,
    FORWARD,
    IN_FRONT,
    NO_RULE_SET,
    OUTPUT,
    SLOWER,
    Ailment,
    attach_program,
    bind_socket,
    inet,
    let_go,
)
from tests.kernel.steps import PORT

BESIDE = {
    "a socket bound to the master": Ailment(
        "bound-to-master",
        (bind_socket,),
        (let_go, "shapecfg replace shaper0 eth1 route"),
        word=f"port {PORT}",
        told="every socket of the machine would be looked at, time and again",
    ),
    "a next hop that is silent": Ailment(
        "gateway-silent",
        (
            "ip route add 10.8.0.0/24 via 10.0.0.7 dev shaper0 onlink",
            "ip neigh replace 10.0.0.7 dev shaper0 nud failed",
        ),
        ("ip route del 10.8.0.0/24 dev shaper0", "ip neigh flush dev shaper0 nud all"),
        is_mended=False,
        told="a host that is switched off looks the same",
    ),
    "strict reverse-path filtering": Ailment(
        "rp-filter",
        ("sysctl -qw net.ipv4.conf.eth1.rp_filter=1",),
        ("sysctl -qw net.ipv4.conf.eth1.rp_filter=0",),
        told=WARNING,
    ),
    "arp_filter": Ailment(
        "arp-filter",
        ("sysctl -qw net.ipv4.conf.eth1.arp_filter=1",),
        told=WARNING,
    ),
    "arp_ignore": Ailment(
        "arp-ignore",
        ("ip address add 10.9.0.1/32 dev shaper0", "sysctl -qw net.ipv4.conf.eth1.arp_ignore=1"),
        (
            "sysctl -qw net.ipv4.conf.eth1.arp_ignore=0",
            "ip address del 10.9.0.1/32 dev shaper0",
            "ip address del 10.9.0.1/32 dev eth1",
        ),
        told=WARNING,
    ),
    "proxy_arp": Ailment(
        "proxy-arp",
        ("sysctl -qw net.ipv4.conf.eth1.proxy_arp=1",),
        told=WARNING,
    ),
    "an IPv6 address alone": Ailment(
        "ipv6-address-alone",
        ("ip address add fd00:9::1/128 dev shaper0 nodad",),
        ("ip address del fd00:9::1/128 dev shaper0", "ip address del fd00:9::1/128 dev eth1"),
        told=WARNING,
    ),
    "a port of a bridge": Ailment(
        "shaper-is-port",
        ("ip link add br9 type bridge", "ip link set shaper0 master br9"),
        ("ip link del br9", *AGAIN),
        told=WARNING,
    ),
    "a device on top": Ailment(
        "device-on-shaper",
        ("ip link add mv0 link shaper0 type macvlan",),
        ("ip link del mv0",),
        is_mended=False,
        told=WARNING,
    ),
    "a firewall that looks back": Ailment(
        "reverse-path-rule",
        inet(
            "add chain inet f pre { type filter hook prerouting priority -290; }",
            "add rule inet f pre meta nfproto ipv6 fib saddr . iif oif missing drop",
        ),
        NO_RULE_SET,
        is_mended=False,
        told=WARNING,
    ),
    "output that names the master": Ailment(
        "firewall-output",
        inet(
            OUTPUT % "drop",
            "add rule inet f out ct state established accept",
            "add rule inet f out oifname eth1 accept",
        ),
        NO_RULE_SET,
        told=IN_FRONT,
    ),
    "output that drops all but the master": Ailment(
        "firewall-output",
        inet(OUTPUT % "accept", "add rule inet f out oifname != { eth1, lo } drop"),
        NO_RULE_SET,
        told=IN_FRONT,
    ),
    "output that drops a destination": Ailment(
        "firewall-output",
        inet(OUTPUT % "accept", "add rule inet f out ip daddr 10.1.0.0/24 reject"),
        NO_RULE_SET,
        told=IN_FRONT,
    ),
    "output that jumps": Ailment(
        "firewall-output",
        inet(
            "add chain inet f sub",
            OUTPUT % "drop",
            "add rule inet f out jump sub",
            "add rule inet f sub oifname eth1 accept",
        ),
        NO_RULE_SET,
        told=IN_FRONT,
    ),
    "forwarding that names the master": Ailment(
        "firewall-forward",
        inet(
            FORWARD,
            "add rule inet f across iifname eth2 oifname eth1 accept",
            "add rule inet f across ct state established accept",
        ),
        NO_RULE_SET,
        told=IN_FRONT,
    ),
    "masquerade that names the master": Ailment(
        "masquerade-names-master",
        inet(
            "add chain inet f post { type nat hook postrouting priority 100; }",
            "add rule inet f post oifname eth1 masquerade",
        ),
        NO_RULE_SET,
        told="answers to another address are as good as any",
    ),
    "a slow tbf": Ailment(
        "qdisc-slower",
        ("tc qdisc add dev eth1 root tbf rate 1mbit burst 10k limit 10k",),
        told=SLOWER,
    ),
    "a slow htb": Ailment(
        "qdisc-slower",
        (
            "tc qdisc add dev eth1 root handle 1: htb default 1",
            "tc class add dev eth1 parent 1: classid 1:1 htb rate 2mbit",
        ),
        word="2Mbit",
        told=SLOWER,
    ),
    "a slow default class": Ailment(
        "qdisc-slower",
        (
            "tc qdisc add dev eth1 root handle 1: htb default 10",
            "tc class add dev eth1 parent 1: classid 1:1 htb rate 1gbit",
            "tc class add dev eth1 parent 1:1 classid 1:10 htb rate 1mbit ceil 3mbit",
            "tc class add dev eth1 parent 1:1 classid 1:20 htb rate 100mbit",
        ),
        word="3Mbit",
        told=SLOWER,
    ),
    "a slow qdisc below a fast one": Ailment(
        "qdisc-slower",
        (
            "tc qdisc add dev eth1 root handle 1: htb default 1",
            "tc class add dev eth1 parent 1: classid 1:1 htb rate 1gbit",
            "tc qdisc add dev eth1 parent 1:1 handle 2: tbf rate 1mbit burst 10k limit 10k",
        ),
        told=SLOWER,
    ),
    "a slow qdisc of the shaper": Ailment(
        "qdisc-slower",
        ("tc qdisc add dev shaper0 root tbf rate 1mbit burst 10k limit 10k",),
        word="tbf qdisc of shaper0",
        told=IN_FRONT,
    ),
    "a larger MTU": Ailment(
        "mtu-larger",
        ("ip link set shaper0 mtu 9000",),
        told=WARNING,
    ),
    "no offload": Ailment(
        "offload-off",
        ("shapecfg speed shaper0 1gbit",),
        ("ethtool -K eth1 tx off tso off gso off", "shapecfg speed shaper0 10mbit"),
        told=SLOWER,
    ),
    "another program before ours": Ailment(
        "foreign-program",
        ("shapecfg replace shaper0 eth1 egress", attach_program),
        (let_go, "shapecfg replace shaper0 eth1 route"),
        is_mended=False,
        word="other",
        told="a program that lets everything pass does no harm",
    ),
    "a state that cannot be written": Ailment(
        "state-unwritable",
        (lambda patient: patient.daemon.state.rename(patient.daemon.state.with_name("aside")),),
        (lambda patient: patient.daemon.state.with_name("aside").rename(patient.daemon.state),),
        is_mended=False,
        told=WARNING,
    ),
}
