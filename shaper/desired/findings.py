"""What keeps a shaper from shaping, or its traffic from being answered: checks over facts.

Pure. The facts of one shaper are gathered first, each check looks at them and says what it finds:
a stable id, how bad it is, a sentence, and the command that mends it, where there is one. `attach`
and `show` print them, the log has those that appear later.

Answers to what a shaper sends arrive on its master. Most of what can go wrong follows from that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from shaper.model import AGGREGATES, Link
from shaper.network import IpAddress

# Specified: Documentation/networking/ip-sysctl.rst; RFC 3704, section 2.2.
_RP_FILTER_STRICT = 1
_RP_FILTER_LOOSE = 2
_ARP_IGNORE_OTHERS = (1, 2)  # answers for addresses of the device that is asked alone

REVERSE_PATH_RULE = "reverse-path-rule"
# Chosen.
_PORTS_THAT_RECEIVE = AGGREGATES | {"vrf"}  # or whose addresses are resolved above


class Severity(StrEnum):
    """How bad a finding is."""

    FAULT = "fault"  # traffic does not pass
    WARNING = "warning"  # some traffic does not, or may not


@dataclass(frozen=True)
class Finding:
    """Something that an administrator should know.

    Attributes:
        id: stable, for programs.
        sentence: what is so and what follows from it, without a full stop.
        remedy: a command or advice that mends it.
    """

    id: str
    severity: Severity
    sentence: str
    remedy: str | None = None

    def __str__(self) -> str:
        """Return the sentence with its remedy."""
        return f"{self.sentence} ({self.remedy})" if self.remedy else self.sentence


@dataclass(frozen=True)
class Receiving:
    """Settings by which the kernel takes in what arrives on a master; /proc/sys/net/ipv4/conf.

    Each is what is in force: of `all` and the device's own, whichever the kernel goes by.
    """

    rp_filter: int = 0
    arp_filter: int = 0
    arp_ignore: int = 0
    answers_for_others: bool = False  # proxy_arp, on a device that forwards


@dataclass(frozen=True)
class Facts:
    """What is known of one shaper.

    Attributes:
        ifname: the shaper's name.
        own: its device.
        master: the master's; None while there is none.
        receiver: the device that the master's frames are handed to: itself, or its bridge or bond.
        above_own: devices on top of the shaper: vlans, macvlans.
        above_master: devices on top of the master.
        port_of: the name of the device that the shaper is a port of.
        master_port_of: the same for the master.
        own_addresses: as `10.0.0.1/24`; IPv6 link-local ones are left out.
        master_addresses: of master and receiver.
        lost_addresses: of the shaper, that were the master's as well and are no longer.
        ipv6_mtu: of the shaper; None without IPv6.
        master_ipv6_mtu: of the master.
        reverse_path_rules: firewall rules that look up the way back, as `TABLE CHAIN`.
        far_end: of a tunnel, the master or below it, whose packets go to the shaper.
        is_loop: frames that the shaper sent came back to it a short while ago.
    """

    ifname: str
    own: Link
    master: Link | None
    receiver: Link | None = None
    above_own: tuple[Link, ...] = ()
    above_master: tuple[Link, ...] = ()
    port_of: str | None = None
    master_port_of: str | None = None
    own_addresses: frozenset[str] = frozenset()
    master_addresses: frozenset[str] = frozenset()
    lost_addresses: frozenset[str] = frozenset()
    ipv6_mtu: int | None = None
    master_ipv6_mtu: int | None = None
    receiving: Receiving = field(default_factory=Receiving)
    reverse_path_rules: tuple[str, ...] = ()
    far_end: IpAddress | None = None
    is_loop: bool = False


def run_checks(facts: Facts) -> list[Finding]:
    """Return everything that the checks find, in the order of CHECKS."""
    return [finding for check in CHECKS for finding in check(facts)]


def _strict_rp_filter(facts: Facts) -> Iterator[Finding]:
    if facts.receiver is not None and facts.receiving.rp_filter == _RP_FILTER_STRICT:
        ifname = facts.receiver.ifname
        yield Finding(
            "rp-filter",
            Severity.FAULT,
            f"strict reverse-path filtering drops replies that arrive on {ifname}",
            _sysctl(ifname, "rp_filter", _RP_FILTER_LOOSE),
        )


def _reverse_path_rule(facts: Facts) -> Iterator[Finding]:
    if facts.master is not None and facts.reverse_path_rules:
        yield reverse_path_finding(facts.master.ifname, facts.reverse_path_rules)


def reverse_path_finding(master: str, rules: tuple[str, ...]) -> Finding:
    """Return what firewall rules that look up the way back may do."""
    return Finding(
        REVERSE_PATH_RULE,
        Severity.WARNING,
        f"a firewall rule that looks up the way back ({', '.join(rules)}) may drop replies that "
        f"arrive on {master}",
        f"exempt {master} from it; firewalld: IPv6_rpfilter=loose",
    )


def _arp_filter(facts: Facts) -> Iterator[Finding]:
    if facts.receiver is not None and facts.receiving.arp_filter:
        ifname = facts.receiver.ifname
        yield Finding(
            "arp-filter",
            Severity.WARNING,
            f"arp_filter keeps {ifname} from answering ARP of hosts that are routed over "
            f"{facts.ifname}",
            _sysctl(ifname, "arp_filter", 0),
        )


def _arp_ignore(facts: Facts) -> Iterator[Finding]:
    alone = _alone(facts, is_ipv6=False)
    if facts.receiver is not None and facts.receiving.arp_ignore in _ARP_IGNORE_OTHERS and alone:
        ifname = facts.receiver.ifname
        yield Finding(
            "arp-ignore",
            Severity.FAULT,
            f"arp_ignore keeps {ifname} from answering ARP for {', '.join(alone)}, which "
            f"{facts.ifname} has alone",
            f"ip addr add {alone[0]}/32 dev {ifname}",
        )


def _ipv6_address_alone(facts: Facts) -> Iterator[Finding]:
    alone = _alone(facts, is_ipv6=True)
    if facts.receiver is not None and alone:
        ifname = facts.receiver.ifname
        yield Finding(
            "ipv6-address-alone",
            Severity.FAULT,
            f"{ifname} does not answer neighbour solicitations for {', '.join(alone)}, which "
            f"{facts.ifname} has alone",
            f"ip -6 addr add {alone[0]}/128 dev {ifname}",
        )


def _proxy_arp(facts: Facts) -> Iterator[Finding]:
    if facts.receiver is not None and facts.receiving.answers_for_others:
        ifname = facts.receiver.ifname
        yield Finding(
            "proxy-arp",
            Severity.WARNING,
            f"proxy_arp makes {ifname} answer ARP for hosts on its own link that are routed over "
            f"{facts.ifname}",
            _sysctl(ifname, "proxy_arp", 0),
        )


def _lost_address(facts: Facts) -> Iterator[Finding]:
    if facts.master is not None and facts.lost_addresses:
        lost = sorted(facts.lost_addresses)
        yield Finding(
            "source-address-gone",
            Severity.FAULT,
            f"{', '.join(lost)} of {facts.ifname} is no longer an address of "
            f"{facts.master.ifname}, so nothing may be answered, and routes with it as their "
            "source may be gone",
            f"ip addr del {lost[0]} dev {facts.ifname}, then add the new one and the routes",
        )


def _upper_device(facts: Facts) -> Iterator[Finding]:
    if facts.port_of is not None:
        yield Finding(
            "shaper-is-port",
            Severity.FAULT,
            f"{facts.ifname} is a port of {facts.port_of}: what is bridged into it is not "
            "answered, as answers do not arrive on it",
            f"ip link set {facts.ifname} nomaster",
        )
    for link in facts.above_own:
        beneath = facts.master.ifname if facts.master is not None else "the master"
        yield Finding(
            "device-on-shaper",
            Severity.FAULT,
            f"{link.ifname} is on top of {facts.ifname}: what it sends is not answered, as "
            f"answers do not arrive on {facts.ifname}",
            f"put it on top of {beneath}, and attach a shaper to it",
        )


def _master_hands_on(facts: Facts) -> Iterator[Finding]:
    master = facts.master
    if master is None:
        return
    if master.upper is not None and master.port_kind not in _PORTS_THAT_RECEIVE:
        name = facts.master_port_of or f"device {master.upper}"
        yield Finding(
            "master-is-port",
            Severity.FAULT,
            f"{master.ifname} is a port of {name}, which takes what it receives, so answers are "
            "not seen there",
            "attach to the device that has the addresses",
        )
    for link in facts.above_master:
        if link.takes_all:
            yield Finding(
                "master-is-taken",
                Severity.FAULT,
                f"{link.ifname} (macvlan, passthru) takes what {master.ifname} receives, so "
                "answers are not seen there",
                f"attach to {link.ifname}",
            )


def _ipv6_mtu(facts: Facts) -> Iterator[Finding]:
    own, master = facts.ipv6_mtu, facts.master_ipv6_mtu
    if own is not None and master is not None and own > master:
        yield Finding(
            "ipv6-mtu",
            Severity.WARNING,
            f"the IPv6 MTU of {facts.ifname} is {own}, that of its master {master}: larger "
            "packets are lost on the way",
            f"sysctl -w net.ipv6.conf.{_key(facts.ifname)}.mtu={master}",
        )


def _loop(facts: Facts) -> Iterator[Finding]:
    if facts.master is None or not (facts.is_loop or facts.far_end):
        return
    ifname, far_end = facts.ifname, facts.far_end
    which = f"the far end of {facts.master.ifname}, a tunnel,"
    yield Finding(
        "loop",
        Severity.FAULT,
        f"what {ifname} sends comes back to it: {f'{far_end}, {which}' if far_end else which} is "
        f"routed over {ifname}",
        f"ip route replace {far_end or 'FAR_END'} via GATEWAY, of another device than {ifname}",
    )


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _strict_rp_filter,
    _reverse_path_rule,
    _arp_filter,
    _arp_ignore,
    _ipv6_address_alone,
    _proxy_arp,
    _lost_address,
    _upper_device,
    _master_hands_on,
    _ipv6_mtu,
    _loop,
)


def _alone(facts: Facts, *, is_ipv6: bool) -> list[str]:
    """Return the addresses, without their prefixes, that the shaper has and the master has not."""
    own, master = (
        {each.partition("/")[0] for each in addresses if (":" in each) is is_ipv6}
        for addresses in (facts.own_addresses, facts.master_addresses)
    )
    return sorted(own - master)


def _sysctl(ifname: str, name: str, value: int) -> str:
    return f"sysctl -w net.ipv4.conf.{_key(ifname)}.{name}={value}"


def _key(ifname: str) -> str:
    return ifname.replace(".", "/")  # as sysctl(8) writes it
