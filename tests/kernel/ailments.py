"""Ways not to be in force, by state, by route and by all else: how each is made and undone."""

from __future__ import annotations

from tests.kernel.lookout import ALARM, WARNING
from tests.kernel.patient import (
    AGAIN,
    ASIDE,
    IN_FRONT,
    NEVER,
    NO_OTHER_TABLE,
    NO_SECOND,
    OTHER_TABLE,
    SECOND,
    Ailment,
    at_peer,
    leave_group,
    make_group,
    moved,
    restored,
)

BY_STATE = {
    "detached": Ailment("detached", ("shapecfg detach shaper0",)),
    "a shaper that nothing uses": Ailment(
        "unused", ("shapecfg add wan0",), NO_SECOND, word="wan0"
    ),
    "no speed": Ailment("no-speed", SECOND, NO_SECOND),
    "the shaper is down": Ailment("admin-down", ("ip link set shaper0 down",), AGAIN),
    "the master is down": Ailment(
        "master-down",
        ("ip link set eth1 down",),
        ("ip address replace fd00::1/64 dev eth1 nodad", *AGAIN),
    ),
    "no carrier": Ailment(
        "master-no-carrier",
        (at_peer("ip link set eth0 down"),),
        (at_peer("ip link set eth0 up"),),
        is_mended=False,
    ),
    "the master is gone": Ailment(
        "master-missing",
        (
            "ip link add br9 type bridge",
            "shapecfg add wan0",
            "shapecfg attach wan0 br9",
            "shapecfg speed wan0 1mbit",
            "ip link del br9",
        ),
        NO_SECOND,
    ),
    "another device has the name": Ailment(
        "conflict", (restored,), ("shapecfg del wan1", "ip link del br7")
    ),
    "moved away": Ailment(
        "away",
        (*SECOND, moved),
        (lambda patient: patient.net.lan.run(["ip", "link", "del", "wan0"]), *NO_SECOND),
        is_mended=False,
    ),
    "no such control group": Ailment(
        "cgroup-missing",
        (
            "shapecfg add wan0",
            "shapecfg speed wan0 1mbit",
            "shapecfg attach wan0 eth1 cgroup shaper-doctor.service",
        ),
        NO_SECOND,
        is_mended=False,
    ),
    "a control group without a process": Ailment(
        "cgroup-empty",
        (
            make_group,
            "shapecfg add wan0",
            "shapecfg speed wan0 1mbit",
            "shapecfg attach wan0 eth1 cgroup shaper-doctor",
        ),
        (*NO_SECOND, leave_group),
        is_mended=False,
        told="a service that is not running is no fault",
    ),
}
BY_ROUTE = {
    "no route": Ailment(
        "no-route",
        (
            "ip address flush dev shaper0",
            "ip route flush dev shaper0",
            "ip -6 route flush dev shaper0",
        ),
        ("ip address add 10.0.0.1/28 dev shaper0", *AGAIN),
        told=WARNING,
    ),
    "a table without a rule": Ailment(
        "table-without-rule",
        ("ip route add 10.8.0.0/24 dev shaper0 table 100",),
        ("ip route flush table 100", "ip rule del lookup 100"),
        told=NEVER,
    ),
    "a rule before ours": Ailment(
        "earlier-rule",
        (OTHER_TABLE, "ip rule add to 10.1.0.0/16 lookup 101"),
        (NO_OTHER_TABLE, "ip rule del lookup 101", "ip rule del to 10.1.0.0/24"),
        told=ALARM,
    ),
    "a rule of marks": Ailment(
        "earlier-rule",
        (OTHER_TABLE, "ip rule add fwmark 7 lookup 101"),
        (NO_OTHER_TABLE, "ip rule del lookup 101", "ip rule del to 10.1.0.0/24"),
        word="fwmark 7",
        told=ASIDE,
    ),
    "a rule of an input device": Ailment(
        "earlier-rule",
        (OTHER_TABLE, "ip rule add iif eth2 lookup 101"),
        (NO_OTHER_TABLE, "ip rule del lookup 101", "ip rule del to 10.1.0.0/24"),
        word="iif eth2",
        told=ASIDE,
    ),
    "a rule of a user": Ailment(
        "earlier-rule",
        (OTHER_TABLE, "ip rule add uidrange 1000-1000 lookup 101"),
        (NO_OTHER_TABLE, "ip rule del lookup 101", "ip rule del to 10.1.0.0/24"),
        word="uidrange 1000-1000",
        told=ASIDE,
    ),
    "a rule of IPv6": Ailment(
        "earlier-rule",
        (
            "ip -6 route add default via fd00::100 dev eth1 table 101",
            "ip -6 rule add to fd00:1::/64 lookup 101",
        ),
        (
            "ip -6 route flush table 101",
            "ip -6 rule del lookup 101",
            "ip -6 rule del to fd00:1::/64",
        ),
        told=ALARM,
    ),
    "half a longer prefix": Ailment(
        "longer-prefix",
        ("ip route add 10.1.0.0/25 via 10.0.0.100 dev eth1",),
        told=ALARM,
    ),
    "an address of its own": Ailment(
        "longer-prefix",
        ("ip route add 10.1.0.2/32 via 10.0.0.100 dev eth1",),
        word="10.1.0.2/32",
        told="an exception that somebody may have wanted",
    ),
    "two longer prefixes": Ailment(
        "longer-prefix",
        (
            "ip route add 10.1.0.0/25 via 10.0.0.100 dev eth1",
            "ip route add 10.1.0.128/25 via 10.0.0.100 dev eth1",
        ),
        told=ALARM,
    ),
    "a lower metric": Ailment(
        "better-route",
        (
            "ip route add 10.8.0.0/24 dev shaper0 metric 100",
            "ip route add 10.8.0.0/24 via 10.0.0.100 dev eth1 metric 50",
        ),
        ("ip route del 10.8.0.0/24 dev shaper0",),
        word="metric 50",
        told=ALARM,
    ),
    "the master's connected route": Ailment(
        "better-route",
        ("ip address add 10.8.0.1/24 dev eth1", "ip route add 10.8.0.0/24 dev shaper0 metric 10"),
        ("ip address del 10.8.0.1/24 dev eth1", "ip route del 10.8.0.0/24 dev shaper0"),
        told=NEVER,
    ),
    "a lower metric of IPv6": Ailment(
        "better-route",
        ("ip -6 route add fd00:1::/64 via fd00::100 dev eth1 metric 10",),
        told=ALARM,
    ),
    "a rule that refuses": Ailment(
        "refused",
        ("ip rule add to 10.1.0.0/24 prohibit",),
        told=IN_FRONT,
    ),
    "a route that refuses": Ailment(
        "refused",
        ("ip route add 10.8.0.0/24 dev shaper0 metric 5", "ip route add blackhole 10.8.0.0/24"),
        ("ip route del blackhole 10.8.0.0/24", "ip route del 10.8.0.0/24 dev shaper0"),
        is_mended=False,
        told=IN_FRONT,
    ),
    "one next hop of two": Ailment(
        "multipath",
        ("ip route add 10.8.0.0/24 nexthop dev shaper0 nexthop via 10.0.0.100 dev eth1",),
        ("ip route del 10.8.0.0/24",),
        told=ASIDE,
    ),
    "a nexthop object": Ailment(
        "nexthop-object",
        ("ip nexthop add id 5 dev shaper0", "ip route add 10.8.0.0/24 nhid 5"),
        ("ip route del 10.8.0.0/24", "ip nexthop del id 5"),
        told=NEVER,
    ),
    "routes without carrier are ignored": Ailment(
        "ignore-linkdown",
        ("sysctl -qw net.ipv4.conf.all.ignore_routes_with_linkdown=1",),
        told="it is so as soon as the master has no carrier, which the state tells",
    ),
    "nothing is forwarded": Ailment(
        "not-forwarding",
        (
            "ip route add 10.8.0.0/24 dev shaper0 table 102",
            "ip rule add iif eth2 lookup 102",
            "sysctl -qw net.ipv4.ip_forward=0",
        ),
        ("ip rule del lookup 102", "ip route flush table 102"),
        told=IN_FRONT,
    ),
    "IPv6 passes by": Ailment(
        "ipv6-passes-by",
        (
            "ip route add 0.0.0.0/1 dev shaper0",
            "ip -6 route del fd00:1::/64 dev shaper0",
            "ip -6 route add default via fd00::100 dev eth1",
        ),
        (
            "ip route del 0.0.0.0/1 dev shaper0",
            "ip -6 route del default dev eth1",
            "ip -6 route del default dev shaper0",
            *AGAIN,
        ),
        told=NEVER,
    ),
}
