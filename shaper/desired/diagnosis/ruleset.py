"""A rule set of nftables, as `nft -j list ruleset` prints it: what becomes of a packet.

It is read as far as devices and destinations go, by themselves, in sets and in maps of verdicts. A
condition on anything else may hold or not (None), and then decides nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from shaper.network import IpAddress

DROPPING = ("drop", "reject")
_ENDING = ("accept", *DROPPING)
_JUMPING = ("jump", "goto")
_CONDITIONS = ("limit", "quota", "ct count", "xt")  # beside `match`; they look at something else
_DEVICES = ("oifname", "oif")
_VERSIONS = {"ipv4": 4, "ipv6": 6, "ip": 4, "ip6": 6}
_MOST_JUMPS = 8  # chosen

Statement = dict[str, Any]
Rule = list[Statement]


@dataclass(frozen=True)
class Chain:
    """A chain and its rules."""

    family: str
    table: str
    name: str
    hook: str
    kind: str
    policy: str
    rules: tuple[Rule, ...]

    @property
    def place(self) -> str:
        """How commands name it."""
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True)
class AskedPacket:
    """What is asked about.

    Attributes:
        ifname: the device that it leaves by.
        address: where it goes; None: anywhere.
    """

    ifname: str
    address: IpAddress | None = None


class Ruleset:
    """All tables.

    Args:
        objects: the list behind "nftables"; what is not known is passed over.
    """

    def __init__(self, objects: Iterable[Statement]) -> None:
        objects = list(objects)
        rules: dict[tuple[str, str, str], list[Rule]] = {}
        self._elements: dict[tuple[str, str, str], list[Any]] = {}
        for each in objects:
            if isinstance(rule := each.get("rule"), dict):
                key = (rule["family"], rule["table"], rule["chain"])
                rules.setdefault(key, []).append(rule.get("expr", []))
            for kind in ("set", "map"):
                if isinstance(named := each.get(kind), dict):
                    key = (named["family"], named["table"], named["name"])
                    self._elements[key] = named.get("elem", [])
        self._chains = {
            chain_key(chain): Chain(
                *chain_key(chain),
                hook=chain.get("hook", ""),
                kind=chain.get("type", ""),
                policy=chain.get("policy", "accept"),
                rules=tuple(rules.get(chain_key(chain), [])),
            )
            for each in objects
            if isinstance(chain := each.get("chain"), dict)
        }

    @property
    def chains(self) -> list[Chain]:
        """Every chain."""
        return list(self._chains.values())

    def verdict(self, chain: Chain, packet: AskedPacket, depth: int = 0) -> str:
        """Return what becomes of a new packet; "" for no verdict."""
        for rule in chain.rules:
            is_met = self.is_met(chain, rule, packet)
            if is_met is False:
                continue
            for statement in self._outcomes(chain, rule, packet):
                ending = verb(statement)
                if ending in _ENDING and (is_met or (ending == "accept" and _is_by_device(rule))):
                    return ending
                if ending in _JUMPING and is_met and depth < _MOST_JUMPS:
                    target = (chain.family, chain.table, statement[ending]["target"])
                    found = self._chains.get(target)
                    if found is not None and (said := self.verdict(found, packet, depth + 1)):
                        return said
            if is_met and any("return" in each for each in rule):
                break
        return chain.policy if depth == 0 else ""

    def spares(self, chain: Chain, packet: AskedPacket) -> bool:
        """Whether some packets are accepted, on whatever condition, before the rest is dropped."""
        for rule in chain.rules:
            is_met = self.is_met(chain, rule, packet)
            if is_met is False:
                continue
            verbs = [verb(each) for each in self._outcomes(chain, rule, packet, is_certain=False)]
            if "accept" in verbs:
                return True
            if is_met and any(each in DROPPING for each in map(verb, rule)):
                return False
        return False

    def is_met(self, chain: Chain, rule: Rule, packet: AskedPacket) -> bool | None:
        """Whether all conditions of a rule hold; None where that depends on something else."""
        met = [self.matches(chain, each, packet) for each in rule if "match" in each]
        met += [None for each in rule if verb(each) in _CONDITIONS]
        return _all(met)

    def matches(self, chain: Chain, statement: Statement, packet: AskedPacket) -> bool | None:
        """Whether a statement matches; None where that depends on something else."""
        match = statement.get("match")
        if match is None:
            return None
        values = self._values(chain, match.get("right"))
        is_among = None if values is None else _is_among(match.get("left"), values, packet)
        return not is_among if match.get("op") == "!=" and is_among is not None else is_among

    def _outcomes(
        self, chain: Chain, rule: Rule, packet: AskedPacket, *, is_certain: bool = True
    ) -> Iterable[Statement]:
        """Return what a rule does, with what its maps have for the packet.

        Args:
            chain: of the rule.
            rule: the rule.
            packet: the packet.
            is_certain: leave out what a map has for something that is not looked at.
        """
        for statement in rule:
            looked_up = statement.get("vmap")
            if looked_up is None:
                yield statement
                continue
            for each in self._values(chain, looked_up.get("data")) or ():
                match each:
                    case [key, dict(outcome)]:
                        is_it = _is_among(looked_up.get("key"), [key], packet)
                        if is_it or (is_it is None and not is_certain):
                            yield outcome

    def _values(self, chain: Chain, right: Any) -> list[Any] | None:
        """Return the values of a set, written there or named; None where they are not known."""
        if isinstance(right, dict) and "set" in right:
            written = right["set"]
            return written if isinstance(written, list) else [written]
        if isinstance(right, str) and right.startswith("@"):
            return self._elements.get((chain.family, chain.table, right[1:]))
        return [right]


def chain_key(chain: Statement) -> tuple[str, str, str]:
    """Return what tells a chain from others."""
    return chain["family"], chain["table"], chain["name"]


def verb(statement: Statement) -> str:
    """Return what a statement does."""
    return next(iter(statement), "")


def names_device(statement: Statement) -> bool:
    """Whether a statement looks at the device that a packet leaves by."""
    return _name(statement.get("match", {}).get("left")) in _DEVICES


def _is_by_device(rule: Rule) -> bool:
    keys = [each["vmap"].get("key") for each in rule if "vmap" in each]
    return any(map(names_device, rule)) or any(_name(key) in _DEVICES for key in keys)


def _all(met: Iterable[bool | None]) -> bool | None:
    """Return whether all hold; None where none fails and some are not known."""
    met = list(met)
    if False in met:
        return False
    return None if None in met else True


def _name(left: Any) -> str:
    """Return which meta key an expression is, or the field of which protocol."""
    match left:
        case {"meta": {"key": str(key)}}:
            return key
        case {"payload": {"protocol": str(protocol), "field": str(field)}}:
            return f"{protocol} {field}"
    return ""


def _is_among(left: Any, values: Iterable[Any], packet: AskedPacket) -> bool | None:
    results = [_is(left, value, packet) for value in values]
    if True in results:
        return True
    return None if None in results else False


def _is(left: Any, value: Any, packet: AskedPacket) -> bool | None:
    """Whether an expression has a value; None where that depends on something else."""
    match left, value:
        case _, {"elem": {"val": inner}}:
            return _is(left, inner, packet)
        case {"concat": [*lefts]}, {"concat": [*parts]} if len(lefts) == len(parts):
            return _all(_is(*each, packet) for each in zip(lefts, parts, strict=True))
    name, address = _name(left), packet.address
    if name in _DEVICES:
        return _is_device(value, packet.ifname)
    if address is None:
        return None
    if name in ("ip daddr", "ip6 daddr"):
        return _holds(value, address)
    if name in ("nfproto", "protocol"):
        return _VERSIONS.get(str(value)) == address.version
    return None


def _is_device(value: Any, ifname: str) -> bool:
    if not isinstance(value, str):
        return False
    return ifname.startswith(value[:-1]) if value.endswith("*") else value == ifname


def _holds(value: Any, address: IpAddress) -> bool:
    try:
        match value:
            case str():
                return ip_address(value) == address
            case {"prefix": {"addr": start, "len": length}}:
                return address in ip_network(f"{start}/{length}", strict=False)
            case {"range": [str(first), str(last)]}:
                low, high = ip_address(first), ip_address(last)
                return low <= address <= high if low.version == address.version else False  # type: ignore[operator]
    except (ValueError, TypeError):  # of two versions
        return False
    return False
