"""Firewall rules that keep traffic from a shaper, or that name the master where it is meant.

To netfilter what is routed to a shaper leaves by the shaper. `ruleset` tells what becomes of a
packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shaper.desired.diagnosis.facts import Case
from shaper.desired.diagnosis.ruleset import (
    DROPPING,
    AskedPacket,
    Chain,
    Rule,
    Ruleset,
    names_device,
    verb,
)
from shaper.desired.findings import Finding, Severity, reverse_path_finding
from shaper.network import IpAddress

_MASQUERADING = ("masquerade", "snat")
HOOKS = ("output", "forward", "postrouting")


def _reverse_path(case: Case) -> Iterator[Finding]:
    rules = case.machine.reverse_path_rules
    if rules and case.is_by_route and case.shown.master is not None:
        yield reverse_path_finding(case.shown.master, rules)


def _nft_drops(case: Case) -> Iterator[Finding]:
    if not case.is_by_route or case.shown.master is None:
        return
    rules = Ruleset(case.machine.ruleset or [])
    for chain in rules.chains:
        is_unused = chain.hook == "forward" and not case.machine.sysctls.get("ip_forward")
        if chain.hook not in HOOKS or chain.kind != "filter" or is_unused:
            continue
        for address in _destinations(case, chain.family):
            packet = AskedPacket(case.shown.ifname, address)
            masters = rules.verdict(chain, AskedPacket(case.shown.master, address))
            is_shut = chain.hook == "output" and not rules.spares(chain, packet)
            if rules.verdict(chain, packet) in DROPPING and (masters not in DROPPING or is_shut):
                yield _dropped(case, chain)
                break


def _dropped(case: Case, chain: Chain) -> Finding:
    return Finding(
        f"firewall-{chain.hook}",
        Severity.FAULT,
        f"chain {chain.place} of nftables drops what leaves by {case.shown.ifname}",
        f'nft insert rule {chain.place} oifname "{case.shown.ifname}" accept',
    )


def _nft_masquerade(case: Case) -> Iterator[Finding]:
    if not case.is_by_route or case.shown.master is None:
        return
    rules = Ruleset(case.machine.ruleset or [])
    own, masters = AskedPacket(case.shown.ifname), AskedPacket(case.shown.master)
    for chain in rules.chains:
        if chain.kind != "nat" or chain.hook != "postrouting":
            continue
        for rule in chain.rules:
            statements = [each for each in rule if verb(each) in _MASQUERADING]
            if not statements or not _names(rules, chain, rule, masters):
                continue
            if any(_covers(rules, chain, other, own) for other in chain.rules):
                continue
            yield Finding(
                "masquerade-names-master",
                Severity.FAULT,
                f"chain {chain.place} of nftables translates addresses of what leaves by "
                f"{case.shown.master}, and not by {case.shown.ifname}",
                f'nft add rule {chain.place} oifname "{case.shown.ifname}" '
                f"{_words(statements[0])}",
            )
            break


def _words(statement: dict[str, Any]) -> str:
    target = statement.get("snat")
    if isinstance(target, dict) and isinstance(target.get("addr"), str):
        return f"snat to {target['addr']}"
    return "masquerade"


def _covers(rules: Ruleset, chain: Chain, rule: Rule, packet: AskedPacket) -> bool:
    """Whether a rule translates what leaves by a device."""
    is_translating = any(verb(each) in _MASQUERADING for each in rule)
    return is_translating and rules.is_met(chain, rule, packet) is not False


def _names(rules: Ruleset, chain: Chain, rule: Rule, packet: AskedPacket) -> bool:
    """Whether a rule is about what leaves by a device, by its name."""
    return any(names_device(each) and rules.matches(chain, each, packet) for each in rule)


def _legacy(case: Case) -> Iterator[Finding]:
    """Look at what iptables-save prints, where the kernel has tables of before nftables."""
    master, ifname = case.shown.master, case.shown.ifname
    if not case.is_by_route or master is None:
        return
    lines = case.machine.legacy_rules
    for line in lines:
        words = line.split()
        if words[:2] == ["-A", "POSTROUTING"] and _option(words, "-o") == master:
            own = line.replace(f"-o {master}", f"-o {ifname}")
            if words[-1] == "MASQUERADE" and own not in lines:
                yield Finding(
                    "masquerade-names-master",
                    Severity.FAULT,
                    f"iptables masquerades what leaves by {master}, and not by {ifname}",
                    f"iptables -t nat {own}",
                )
    for chain in ("OUTPUT", "FORWARD"):
        is_closed = f":{chain} DROP" in {" ".join(line.split()[:2]) for line in lines}
        rules = [line.split() for line in lines if line.startswith(f"-A {chain} ")]
        accepted = {_option(words, "-o") for words in rules if words[-1] == "ACCEPT"}
        is_closed &= f"-A {chain} -j ACCEPT" not in lines
        is_shut = chain == "OUTPUT" and not accepted
        if is_closed and ifname not in accepted and (master in accepted or is_shut):
            yield Finding(
                f"firewall-{chain.lower()}",
                Severity.FAULT,
                f"chain {chain} of iptables drops what leaves by {ifname}",
                f"iptables -I {chain} -o {ifname} -j ACCEPT",
            )


def _option(words: list[str], option: str) -> str | None:
    return words[words.index(option) + 1] if option in words[:-1] else None


CHECKS = (_reverse_path, _nft_drops, _nft_masquerade, _legacy)


def _destinations(case: Case, family: str) -> list[IpAddress]:
    """Return where packets go that are routed to a shaper, of the families of a table."""
    versions = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}.get(family, ())
    asked = [
        packet.destination
        for packet, way in case.machine.ways.items()
        if way.device == case.shown.ifindex
    ]
    return [each for each in dict.fromkeys(asked) if each.version in versions]
