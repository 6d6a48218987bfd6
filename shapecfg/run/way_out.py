"""The way out of a link: what pasta is given, or the machine itself, and the nameserver behind it.

Pure, as `link_plan` is.
"""

from __future__ import annotations

from collections.abc import Iterable

from shapecfg.run.link_plan import (
    GATEWAY6,
    MACHINE_MAC,
    MTU,
    OUT_MAC,
    WAY_OUT,
    RunMachine,
    addresses,
)


def pasta(machine: RunMachine, namespace: str, *, has_host_loopback: bool) -> list[str]:
    """Return the command line of pasta for the outer namespace.

    Args:
        machine: what there is.
        namespace: the path of the outer namespace.
        has_host_loopback: map the gateway to the machine's loopback.
    """
    own = addresses(machine.number)
    argv = ["pasta", "--foreground", "--netns-only", "--netns", namespace]
    argv += ["--ns-ifname", WAY_OUT, "--ns-mac-addr", OUT_MAC, "--mtu", str(MTU)]
    argv += ["--no-dhcp", "--no-dhcpv6", "--no-ndp", "--no-ra"]
    for ports in ("--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns"):
        argv += [ports, "none"]
    argv += ["--interface", machine.device] if machine.device is not None else []
    if machine.has_ipv4:
        argv += ["--address", own.command, "--netmask", "30", "--gateway", own.gateway]
        # Of a nameserver on the loopback pasta lets the answers come from the gateway.
        argv += ["--dns-forward", own.gateway]
        argv += [] if machine.resolver is None else ["--dns", machine.resolver]
    if machine.has_ipv6:
        argv += ["--address", own.command6, "--gateway", GATEWAY6]
    argv += [] if machine.has_ipv6 else ["--ipv4-only"]
    argv += [] if machine.has_ipv4 else ["--ipv6-only"]
    return argv if has_host_loopback else [*argv, "--no-map-gw"]


def host_device(machine: RunMachine) -> str:
    """Return the name of the machine's end of the way out, where it has one."""
    return f"run{machine.number}"


def lend(machine: RunMachine, pid: int) -> list[str]:
    """Return the `ip` lines on the machine that make the way out of the namespace of a process."""
    own, device = addresses(machine.number), host_device(machine)
    lines = [
        f"link add {device} address {MACHINE_MAC} mtu {MTU} type veth"
        f" peer name {WAY_OUT} address {OUT_MAC} mtu {MTU} netns {pid}",
        f"link set {device} addrgenmode none",
        f"link set {device} up",
    ]
    if machine.has_ipv4:
        lines += [
            f"address add {own.gateway}/30 dev {device}",
            f"neighbour add {own.command} lladdr {OUT_MAC} dev {device} nud permanent",
        ]
    if machine.has_ipv6:
        lines += [
            f"neighbour add {own.command6} lladdr {OUT_MAC} dev {device} nud permanent",
            f"route add {own.command6} dev {device}",
        ]
    return lines


def lent_sysctls(machine: RunMachine) -> dict[str, int]:
    """Return the parameters of the machine's end, which go with it."""
    device = host_device(machine)
    return {
        f"net/ipv4/conf/{device}/forwarding": 1,
        f"net/ipv4/conf/{device}/route_localnet": 1,
        f"net/ipv4/conf/{device}/rp_filter": 0,
    }


def nft(machine: RunMachine, *, has_host_loopback: bool) -> str:
    """Return the rules on the machine, a line for each table.

    A table goes with the process that made it. Answers are handed to the way out before they are
    routed, so that the machine need not forward what other devices receive, as it may not.
    """
    own, device = addresses(machine.number), host_device(machine)
    tables = []
    if machine.has_ipv4:
        inward = f'iifname "{device}" ip daddr'
        rules = []
        if machine.resolver is not None:
            for protocol in ("udp", "tcp"):
                to = f"{own.resolver} {protocol} dport 53 dnat to {machine.resolver}"
                rules.append(f"{inward} {to}")
        if has_host_loopback:
            rules.append(f"{inward} {own.gateway} dnat to 127.0.0.1")
        tables.append(
            f"table ip shapecfg_{device} {{ flags owner;"
            " chain out { type nat hook postrouting priority 100;"
            f" ip saddr {own.command} masquerade; }};"
            f" chain in {{ type nat hook prerouting priority -100; {_joined(rules)}}};"
            " chain back { type filter hook prerouting priority -90;"
            f' iifname != "{device}" ip daddr {own.command} ct direction reply'
            f' dup to {own.command} device "{device}" drop; }}; }}\n'
        )
    if machine.has_ipv6:
        tables.append(
            f"table ip6 shapecfg_{device} {{ flags owner;"
            " chain out { type nat hook postrouting priority 100;"
            f" ip6 saddr {own.command6} masquerade; }}; }}\n"
        )
    return "".join(tables)


def _joined(rules: Iterable[str]) -> str:
    return "".join(f"{rule}; " for rule in rules)


def resolver_text(text: str, machine: RunMachine) -> str:
    """Return /etc/resolv.conf for a command that is out of reach of the machine's nameserver.

    What forwards to that has an address of its own.

    Args:
        text: the machine's.
        machine: what there is.
    """
    own = addresses(machine.number)
    address = own.resolver if machine.is_privileged else own.gateway
    others = [line for line in text.splitlines() if line.split()[:1] != ["nameserver"]]
    return "\n".join([f"nameserver {address}", *others]) + "\n"


def nameservers(text: str) -> list[str]:
    """Return the addresses that a resolv.conf names."""
    words = (line.split() for line in text.splitlines())
    return [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"]


def is_loopback(address: str) -> bool:
    """Whether an address is one of the loopback device's."""
    return address.startswith("127.") or address.partition("%")[0] == "::1"
