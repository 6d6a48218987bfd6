"""A keeper of declarations on a host, and what can be declared, in many ways of writing."""

from __future__ import annotations

import socket
from dataclasses import replace

from bench.lab.topology import MASTER, Pair
from shaper.desired.declared import parse_network
from shaper.kernel.routing import Routing
from shaper.network import Network
from shaper.supervisor.network_keeper import NetworkKeeper
from shaper.supervisor.subjects import Subject

SHAPER = "shaper0"  # here a plain macvlan: what matters is that it is another device
ROUTES = """
0.0.0.0/8; 255.255.255.255; 0.0.0.0/0; 0.0.0.0/1; 10.3.0.0/24 metric 0; 10.3.0.0/24 mtu 65520
10.3.0.0/24 metric 4294967135; 10.3.0.0/24 mtu lock 1400; 10.3.0.0/255.255.255.0 scope global
10.3.0.0/24 table 4294967295; 10.3.0.0/24 table local; 10.3.0.0/24 via 10.2.0.9 src 10.2.0.1
10.3.0.0/24 via inet6 fe80::7; 10.3.0.0/24 via inet6 fd77::7 onlink; 10.2.0.0/24; throw 10.3.0.0/24
inet default via inet6 fe80::7 table 9; default via 10.2.0.9; prohibit default table 9
blackhole ::/0; unreachable default metric 4; unreachable fd09::/64
fd09::/64 metric 0; fd09::/64 metric 1024
fd09::/64 via fe80::1 onlink; fd09::/64 via fd02::9; fd09::/64 src fd02::1; ::/1; ::1; fe80::/10
fd09::/64 table 255 mtu 65520; ::ffff:10.0.0.0/112; fd02::/64
"""
RULES = """
from 0.0.0.0/0 lookup 7; to ::/0 lookup 7; lookup 7; not lookup 7; fwmark 0 lookup 7; lookup local
fwmark 0/0xff lookup 7; unreachable fwmark 8/7; inet6 priority 0 fwmark 5 lookup 7; oif lo lookup 7
fwmark 5 lookup 4294967295 suppress_prefixlength 32; priority 4294967295 iif nosuch lookup default
ipproto udp sport 1-65534 dport 7 table 7; uidrange 0-4294967294 prohibit; lookup main
from 10.0.0.0/8 to 224.0.0.0/4 blackhole; inet6 to fe80::/64 uidrange 1-2 lookup 9
"""


def split_lines(lines: str) -> list[str]:
    """Return what is between semicolons and line ends."""
    return [line.strip() for line in lines.replace("\n", ";").split(";") if line.strip()]


class KeeperBench:
    """A keeper on a host whose one shaper has a declaration that a test changes."""

    def __init__(self, pair: Pair, routing: Routing) -> None:
        self.host = pair.host
        self.host.ip(
            "route add default via 10.0.0.100",
            f"route add ::/0 via fd00::100 dev {MASTER} metric 1024",
            f"link add {SHAPER} link {MASTER} type macvlan",
        )
        self.before = self.state()
        self.host.ip(f"link set {SHAPER} up")
        with self.host.enter():
            self._ifindex = socket.if_nametoindex(SHAPER)
            master_index = socket.if_nametoindex(MASTER)
        self.subject = Subject(SHAPER, Network(), self._ifindex, True, master_index)
        self.routing = routing
        self.keeper = NetworkKeeper(routing, lambda: [self.subject])

    def want(
        self,
        *routes: str,
        addresses: list[str] | str = "master",
        rules: tuple[str, ...] = (),
    ) -> None:
        """Declare this and nothing else."""
        network = parse_network(
            SHAPER, is_up=None, addresses=addresses, routes=[*routes], rules=[*rules]
        )
        self.subject = replace(self.subject, network=network)

    def declare(
        self,
        *routes: str,
        addresses: list[str] | str = "master",
        rules: tuple[str, ...] = (),
    ) -> None:
        """Declare this and nothing else, and have it made true."""
        self.want(*routes, addresses=addresses, rules=rules)
        self.look()

    def look(self) -> None:
        """Make it true."""
        assert self.keeper.look()

    def ip(self, *arguments: str) -> str:
        """Return what `ip` prints."""
        return self.host.run(["ip", *arguments]).stdout

    def state(self) -> str:
        """Return everything that is routed and ruled, but for what comes with the shaper."""
        lines = "".join(
            self.ip(*family, what, "show", *("table", "all")[: 2 * (what == "route")])
            for family in ((), ("-6",))
            for what in ("route", "rule")
        ).splitlines()
        return "\n".join(sorted(line for line in lines if SHAPER not in line))
