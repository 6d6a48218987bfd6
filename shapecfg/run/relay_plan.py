"""The network of the relay, between the link and pasta: the words for `ip` and `nft`. Pure.

    pasta ── out ── [ relay ] ── shaped ── veth ── out ── [ outer: shaperd with up and down ] ...

TCP of the command ends at the relay, at both sides in the kernel; all else is routed. To pasta
everything comes from one address, as it answers the one that it saw last.
"""

from __future__ import annotations

from shapecfg.run.link_plan import (
    GATEWAY6,
    MACHINE_MAC,
    MTU,
    OUT_MAC,
    WAY_OUT,
    RunMachine,
    addresses,
    open_way_out,
)

# Chosen: names inside of the namespace, which meet no others.
LINK = "shaped"  # towards the shapers
PORT = 1  # of the relay
# What keeper and relay say to each other.
BEGIN, READY, ASKED, BUSY, IDLE = b"begin", b"ready", b"?", b"busy", b"idle"


def join_relay(pid: int) -> list[str]:
    """Return the `ip` lines of the outer namespace that join that of the relay, a process."""
    return [
        f"link add {WAY_OUT} address {OUT_MAC} mtu {MTU} type veth"
        f" peer name {LINK} address {MACHINE_MAC} mtu {MTU} netns {pid}"
    ]


def furnish_relay(machine: RunMachine) -> list[str]:
    """Return the `ip` lines of the namespace of the relay, once both of its devices are there."""
    own = addresses(machine.number)
    lines = [
        *open_way_out(),
        "link set lo up",
        f"link set {LINK} addrgenmode none",
        f"link set {LINK} up",
    ]
    if machine.has_ipv4:
        lines += _between(own.gateway, own.command, own.resolver, "32")
    if machine.has_ipv6:
        lines += _between(GATEWAY6, own.command6, own.relay6, "128 nodad")
    return lines


def _between(gateway: str, command: str, relay: str, length: str) -> list[str]:
    return [
        f"address add dev {LINK} {relay}/{length}",
        f"neighbour replace {gateway} lladdr {MACHINE_MAC} dev {WAY_OUT} nud permanent",
        f"neighbour replace {command} lladdr {OUT_MAC} dev {LINK} nud permanent",
        f"route replace {command} dev {LINK}",
        f"route replace default via {gateway} dev {WAY_OUT} onlink src {relay}",
    ]


def relay_rules(machine: RunMachine) -> str:
    """Return the rules of nft that lead TCP to the relay, and all else on under its address."""
    own = addresses(machine.number)
    tables = []
    if machine.has_ipv4:
        tables.append(_table("ip", own.command, own.resolver, f"{own.resolver}:{PORT}"))
    if machine.has_ipv6:
        tables.append(_table("ip6", own.command6, own.relay6, f"[{own.relay6}]:{PORT}"))
    return "".join(tables)


def _table(family: str, command: str, relay: str, door: str) -> str:
    return (
        f"table {family} relay {{"
        " chain in { type nat hook prerouting priority -100;"
        f' iifname "{LINK}" meta l4proto tcp dnat to {door}; }};'
        " chain out { type nat hook postrouting priority 100;"
        f" {family} saddr {command} snat to {relay}; }}; }}\n"
    )
