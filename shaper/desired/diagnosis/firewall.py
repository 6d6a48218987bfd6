"""Firewall rules that keep traffic from a shaper, or that name the master where it is meant.

To netfilter what is routed to a shaper leaves by the shaper. A rule set is read as far as devices
and destinations go: a rule that looks at anything else may match, and decides nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from shaper.desired.diagnosis.facts import Case
from shaper.desired.findings import Finding, Severity, reverse_path_finding
from shaper.network import IpAddress

_DROPPING = ("drop", "reject")
_ENDING = ("accept", *_DROPPING)
_MASQUERADING = ("masquerade", "snat")
HOOKS = ("output", "forward", "postrouting")
_MOST_JUMPS = 8  # chosen


@dataclass(frozen=True)
class _Chain:
    family: str
    table: str
    name: str
    hook: str
    kind: str
    policy: str
    rules: tuple[list[dict[str, Any]], ...]

    @property
    def place(self) -> str:
        return f"{self.family} {self.table} {self.name}"


def _reverse_path(case: Case) -> Iterator[Finding]:
    rules = case.machine.reverse_path_rules
    if rules and case.is_by_route and case.shown.master is not None:
        yield reverse_path_finding(case.shown.master, rules)


def _nft_drops(case: Case) -> Iterator[Finding]:
    if not case.is_by_route or case.shown.master is None:
        return
    chains = _chains(case.machine.ruleset or [])
    for chain in chains.values():
        is_unused = chain.hook == "forward" and not case.machine.sysctls.get("ip_forward")
        if chain.hook not in HOOKS or chain.kind != "filter" or is_unused:
            continue
        for address in _destinations(case, chain.family):
            own = _verdict(chain, chains, case.shown.ifname, address)
            masters = _verdict(chain, chains, case.shown.master, address)
            is_shut = chain.hook == "output" and not _spares(chain, case.shown.ifname, address)
            if own in _DROPPING and (masters not in _DROPPING or is_shut):
                yield _dropped(case, chain)
                break


def _dropped(case: Case, chain: _Chain) -> Finding:
    return Finding(
        f"firewall-{chain.hook}",
        Severity.FAULT,
        f"chain {chain.place} of nftables drops what leaves by {case.shown.ifname}",
        f'nft insert rule {chain.place} oifname "{case.shown.ifname}" accept',
    )


def _spares(chain: _Chain, ifname: str, address: IpAddress) -> bool:
    """Whether some packets are accepted, on whatever condition, before the rest is dropped."""
    for rule in chain.rules:
        matched = [_matches(each, ifname, address) for each in rule if "match" in each]
        if False in matched:
            continue
        if "accept" in map(_verb, rule):
            return True
        if None not in matched and any(_verb(each) in _DROPPING for each in rule):
            return False
    return False


def _nft_masquerade(case: Case) -> Iterator[Finding]:
    if not case.is_by_route or case.shown.master is None:
        return
    chains = [each for each in _chains(case.machine.ruleset or []).values() if each.kind == "nat"]
    for chain in chains:
        if chain.hook != "postrouting":
            continue
        for rule in chain.rules:
            statements = [each for each in rule if _verb(each) in _MASQUERADING]
            if not statements or not _names(rule, case.shown.master):
                continue
            if any(_covers(other, case.shown.ifname) for other in chain.rules):
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


def _covers(rule: list[dict[str, Any]], ifname: str) -> bool:
    """Whether a rule translates what leaves by a device."""
    if not any(_verb(each) in _MASQUERADING for each in rule):
        return False
    return all(_matches(each, ifname, None) is not False for each in rule if "match" in each)


def _names(rule: list[dict[str, Any]], ifname: str) -> bool:
    """Whether a rule is about what leaves by a device, by its name."""
    return any(
        _left(each) in ("oifname", "oif") and _matches(each, ifname, None) is True for each in rule
    )


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


def _chains(ruleset: list[dict[str, Any]]) -> dict[tuple[str, str, str], _Chain]:
    """Return the chains of a rule set, by family, table and name."""
    rules: dict[tuple[str, str, str], list[list[dict[str, Any]]]] = {}
    for each in ruleset:
        if isinstance(rule := each.get("rule"), dict):
            key = (rule["family"], rule["table"], rule["chain"])
            rules.setdefault(key, []).append(rule.get("expr", []))
    chains = {}
    for each in ruleset:
        if isinstance(chain := each.get("chain"), dict):
            key = (chain["family"], chain["table"], chain["name"])
            chains[key] = _Chain(
                *key,
                hook=chain.get("hook", ""),
                kind=chain.get("type", ""),
                policy=chain.get("policy", "accept"),
                rules=tuple(rules.get(key, [])),
            )
    return chains


def _destinations(case: Case, family: str) -> list[IpAddress]:
    """Return where packets go that are routed to a shaper, of the families of a table."""
    versions = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}.get(family, ())
    asked = [
        packet.destination
        for packet, way in case.machine.ways.items()
        if way.device == case.shown.ifindex
    ]
    return [each for each in dict.fromkeys(asked) if each.version in versions]


def _verdict(
    chain: _Chain,
    chains: dict[tuple[str, str, str], _Chain],
    ifname: str,
    address: IpAddress,
    depth: int = 0,
) -> str:
    """Return what becomes of a new packet, by a device to an address; "" for no verdict."""
    for rule in chain.rules:
        matched = [_matches(each, ifname, address) for each in rule if "match" in each]
        if False in matched:
            continue
        is_named = any(_left(each) in ("oifname", "oif") for each in rule)
        ending = next((verb for each in rule if (verb := _verb(each)) in _ENDING), None)
        if ending is not None and (None not in matched or (ending == "accept" and is_named)):
            return ending
        if None not in matched and depth < _MOST_JUMPS:
            verdict = _jumped(rule, chain, chains, ifname, address, depth)
            if verdict:
                return verdict
        if any("return" in each for each in rule) and None not in matched:
            break
    return chain.policy if depth == 0 else ""


def _jumped(
    rule: list[dict[str, Any]],
    chain: _Chain,
    chains: dict[tuple[str, str, str], _Chain],
    ifname: str,
    address: IpAddress,
    depth: int,
) -> str:
    for each in rule:
        jump = each.get("jump") or each.get("goto")
        target = chains.get((chain.family, chain.table, jump["target"])) if jump else None
        if target is not None:
            return _verdict(target, chains, ifname, address, depth + 1)
    return ""


def _verb(statement: dict[str, Any]) -> str:
    return next(iter(statement), "")


def _left(statement: dict[str, Any]) -> str:
    """Return which meta key a statement matches on, or the field of which protocol."""
    left = statement.get("match", {}).get("left", {})
    if not isinstance(left, dict):
        return ""
    if "meta" in left:
        return str(left["meta"].get("key", ""))
    payload = left.get("payload", {})
    return f"{payload.get('protocol', '')} {payload.get('field', '')}".strip()


def _matches(statement: dict[str, Any], ifname: str, address: IpAddress | None) -> bool | None:
    """Whether a statement matches; None where that depends on something else."""
    match = statement.get("match")
    if match is None:
        return None
    left, right = _left(statement), match.get("right")
    if left in ("oifname", "oif"):
        values = _values(right)
        result: bool | None = any(_is_name(value, ifname) for value in values)
    elif left in ("ip daddr", "ip6 daddr"):
        if address is None:
            return None
        if isinstance(right, str) and right.startswith("@"):
            return None  # a named set
        result = any(_holds(value, address) for value in _values(right))
    elif left in ("nfproto", "protocol") and address is not None:
        result = f"ip{'v' if left == 'nfproto' else ''}{address.version}" in str(right)
        result = result or (left == "protocol" and right == "ip" and address.version == 4)
    else:
        return None
    return not result if match.get("op") == "!=" else result


def _values(right: Any) -> list[Any]:
    if isinstance(right, dict) and "set" in right:
        return list(right["set"])
    return [right]


def _is_name(value: Any, ifname: str) -> bool:
    if not isinstance(value, str):
        return False
    return ifname.startswith(value[:-1]) if value.endswith("*") else value == ifname


def _holds(value: Any, address: IpAddress) -> bool:
    try:
        if isinstance(value, str):
            return ip_address(value) == address
        if isinstance(value, dict) and "prefix" in value:
            prefix = value["prefix"]
            return address in ip_network(f"{prefix['addr']}/{prefix['len']}", strict=False)
        if isinstance(value, dict) and "range" in value:
            low, high = map(ip_address, value["range"])
            return low <= address <= high if low.version == address.version else False  # type: ignore[operator]
    except ValueError:
        return False
    return False
