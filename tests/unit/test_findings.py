"""Each check finds what it is for, says it in a sentence, and finds nothing else."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from shaper.desired.findings import Facts, Finding, Receiving, run_checks
from tests.unit.machine_rig import ETH1

OWN = replace(ETH1, ifindex=9, ifname="shaper0")
BRIDGE = replace(ETH1, ifindex=7, ifname="br0", kind="bridge")
ON_TOP = replace(ETH1, ifindex=8, ifname="macvlan0", kind="macvlan", lower=2)
BOTH = frozenset({"10.0.0.1/24", "fd00::1/64"})
HEALTHY = Facts(
    ifname="shaper0",
    own=OWN,
    master=ETH1,
    receiver=ETH1,
    own_addresses=frozenset({"10.0.0.1/28", "fd00::1/128"}),
    master_addresses=BOTH,
    ipv6_mtu=1500,
    master_ipv6_mtu=1500,
)
PORT = replace(ETH1, upper=7, port_kind="bridge")
DOTTED = replace(ETH1, ifname="eth1.5")

FINDINGS: list[tuple[str, Facts, str]] = [
    (
        "rp-filter",
        replace(HEALTHY, receiver=DOTTED, receiving=Receiving(rp_filter=1)),
        "sysctl -w net.ipv4.conf.eth1/5.rp_filter=2",
    ),
    ("reverse-path-rule", replace(HEALTHY, reverse_path_rules=("t c",)), "t c"),
    ("arp-filter", replace(HEALTHY, receiving=Receiving(arp_filter=1)), "eth1.arp_filter=0"),
    (
        "arp-ignore",
        replace(
            HEALTHY,
            own_addresses=frozenset({"10.9.0.1/24"}),
            receiving=Receiving(arp_ignore=1),
        ),
        "ip addr add 10.9.0.1/32 dev eth1",
    ),
    (
        "ipv6-address-alone",
        replace(HEALTHY, own_addresses=frozenset({"fd00::9/64"})),
        "ip -6 addr add fd00::9/128 dev eth1",
    ),
    (
        "proxy-arp",
        replace(HEALTHY, receiving=Receiving(answers_for_others=True)),
        "eth1.proxy_arp=0",
    ),
    (
        "source-address-gone",
        replace(HEALTHY, lost_addresses=frozenset({"10.0.0.1"})),
        "ip addr del 10.0.0.1 dev shaper0",
    ),
    ("shaper-is-port", replace(HEALTHY, port_of="br0"), "ip link set shaper0 nomaster"),
    ("device-on-shaper", replace(HEALTHY, above_own=(ON_TOP,)), "macvlan0"),
    (
        "master-is-port",
        replace(
            HEALTHY,
            master=replace(ETH1, upper=7, port_kind="openvswitch"),
            master_port_of="ovs-system",
        ),
        "ovs-system",
    ),
    (
        "master-is-taken",
        replace(HEALTHY, above_master=(replace(ON_TOP, takes_all=True),)),
        "attach to macvlan0",
    ),
    ("ipv6-mtu", replace(HEALTHY, master_ipv6_mtu=1400), "shaper0.mtu=1400"),
    ("loop", replace(HEALTHY, far_end=ip_address("10.7.0.1")), "ip route replace 10.7.0.1 via"),
]
QUIET = {
    "healthy": HEALTHY,
    "no master": replace(
        HEALTHY, master=None, receiver=None, master_addresses=frozenset(), lost_addresses=BOTH
    ),
    "loose": replace(HEALTHY, receiving=Receiving(rp_filter=2)),
    "arp_ignore, and the address is the master's": replace(
        HEALTHY, receiving=Receiving(arp_ignore=2)
    ),
    "an IPv4 address of its own": replace(HEALTHY, own_addresses=frozenset({"10.9.0.1/24"})),
    "a port of a bridge": replace(HEALTHY, master=PORT, receiver=BRIDGE),
    "a macvlan beside it": replace(HEALTHY, above_master=(ON_TOP,)),
    "a smaller IPv6 MTU of its own": replace(HEALTHY, ipv6_mtu=1280),
    "no IPv6": replace(HEALTHY, ipv6_mtu=None, master_ipv6_mtu=1400),
}


@pytest.mark.parametrize(("name", "facts", "words"), FINDINGS, ids=[each[0] for each in FINDINGS])
def test_each_check_finds_its_own(name: str, facts: Facts, words: str) -> None:
    """One finding, by its id, with a sentence that names the value or the command."""
    (finding,) = run_checks(facts)
    assert finding.id == name
    assert words in str(finding)


@pytest.mark.parametrize("facts", QUIET.values(), ids=QUIET)
def test_nothing_is_found_where_all_is_well(facts: Facts) -> None:
    """A false warning is worse than none: what is read every day must mean something."""
    assert run_checks(facts) == []


def test_a_finding_without_a_remedy_is_its_sentence() -> None:
    """A finding reads as one line, with the command in brackets where there is one."""
    finding = Finding("id", run_checks(FINDINGS[0][1])[0].severity, "it is so")
    assert str(finding) == "it is so"
    assert str(replace(finding, remedy="do this")) == "it is so (do this)"
