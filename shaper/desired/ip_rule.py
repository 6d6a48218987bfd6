"""Policy rules as `ip rule` writes them: read, and written back. See ip-rule(8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shaper.desired.ip_words import EVERYTHING, LEAST_PORT, MOST, MOST_PORT, MOST_UID, Words
from shaper.network import Rule, RuleAction

# Specified: the protocol numbers of IANA.
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "ipv6-icmp": 58, "sctp": 132}


def parse_rule(text: str, tables: dict[str, int] | None = None) -> Rule:
    """Return a rule as `ip rule add` takes it. Raises InvalidValue, naming line and value.

    It is one of IPv4 unless an address or the word `inet6` before it says otherwise.
    """
    words = Words("rule", text)
    family = words.take_if("inet", "inet6", "-4", "-6")
    values: dict[str, Any] = {"is_inverted": words.take_if("not") is not None}
    while words:
        key = words.take()
        parse = _RULE_KEYS.get(key)
        if parse is None:
            raise words.wrong(f"{key!r} is not understood here")
        taken = parse(words, key, tables or {})
        if not values.keys().isdisjoint(taken):
            raise words.wrong(f"{key} is said twice")
        values |= taken
    told = {values[key].version for key in ("source", "destination") if values.get(key)}
    if family is not None:
        told.add(6 if family.endswith("6") else 4)
    if len(told) > 1:
        raise words.wrong("IPv4 and IPv6 are mixed")
    if "action" not in values:
        raise words.wrong("it says neither which table nor what else to do")
    for key in ("source", "destination"):
        if values.get(key) and not values[key].prefixlen:  # the kernel shows no such selector
            values[key] = None
    return _checked_rule(words, Rule(told.pop() if told else 4, **values))


def _checked_rule(words: Words, rule: Rule) -> Rule:
    suppressed, most = rule.suppress_prefix_bits, EVERYTHING[rule.version].max_prefixlen
    if suppressed is not None and suppressed > most:
        raise words.wrong(f"suppress_prefixlength {suppressed} is more than {most}")
    return rule


def _mark(words: Words, key: str, _: dict[str, int]) -> dict[str, Any]:
    value, slash, mask = words.take().partition("/")
    try:
        numbers = {"mark": int(value, 0), "mark_mask": int(mask, 0) if slash else MOST}
    except ValueError:
        raise words.wrong(f"{key} is no number") from None
    if not all(0 <= number <= MOST for number in numbers.values()):
        raise words.wrong(f"{key} does not fit into 32 bits")
    if not numbers["mark_mask"]:
        raise words.wrong(f"{key} with a mask of 0 matches everything")
    return dict(numbers)


def _protocol(words: Words, key: str, _: dict[str, int]) -> dict[str, Any]:
    word = words.take()
    if word in _PROTOCOLS:
        return {"protocol_number": _PROTOCOLS[word]}
    if not word.isdecimal() or not 0 < int(word) < 256:
        raise words.wrong(f"{key} {word!r} is no protocol")
    return {"protocol_number": int(word)}


def _lookup(words: Words, key: str, tables: dict[str, int]) -> dict[str, Any]:
    return {"action": RuleAction.LOOKUP, "table": words.table(tables)}


_RULE_KEYS: dict[str, Callable[[Words, str, dict[str, int]], dict[str, Any]]] = {
    "from": lambda words, key, _: {"source": words.prefix()},
    "to": lambda words, key, _: {"destination": words.prefix()},
    "fwmark": _mark,
    "iif": lambda words, key, _: {"input_device": words.device(key)},
    "dev": lambda words, key, _: {"input_device": words.device(key)},
    "oif": lambda words, key, _: {"output_device": words.device(key)},
    "ipproto": _protocol,
    "sport": lambda words, key, _: {"source_ports": words.span(key, MOST_PORT, LEAST_PORT)},
    "dport": lambda words, key, _: {"destination_ports": words.span(key, MOST_PORT, LEAST_PORT)},
    "uidrange": lambda words, key, _: {"uids": words.span(key, MOST_UID)},
    "suppress_prefixlength": lambda words, key, _: {
        "suppress_prefix_bits": words.number(key, most=128)
    },
    "table": _lookup,
    "lookup": _lookup,
    **{
        name: lambda words, key, _: {"priority": words.number(key)}
        for name in ("priority", "preference", "pref", "order")
    },
    **{
        action.value: lambda words, key, _: {"action": RuleAction(key)}
        for action in RuleAction
        if action is not RuleAction.LOOKUP
    },
}


def format_rule(rule: Rule) -> str:
    """Return a rule as `parse_rule` takes it."""
    words = ["inet6"] if rule.version == 6 and not (rule.source or rule.destination) else []
    words += ["not"] if rule.is_inverted else []
    if rule.priority is not None:
        words += ["priority", str(rule.priority)]
    words += ["from", str(rule.source) if rule.source else "all"]
    if rule.destination:
        words += ["to", str(rule.destination)]
    if rule.mark is not None:
        mask = "" if rule.mark_mask in (None, MOST) else f"/{rule.mark_mask:#x}"
        words += ["fwmark", f"{rule.mark:#x}{mask}"]
    words += _pairs(
        iif=rule.input_device,
        oif=rule.output_device,
        ipproto=rule.protocol_number,
        sport=_span(rule.source_ports),
        dport=_span(rule.destination_ports),
        uidrange=_span(rule.uids, is_always_range=True),
    )
    words += ["lookup", str(rule.table)] if rule.action is RuleAction.LOOKUP else [rule.action]
    words += _pairs(suppress_prefixlength=rule.suppress_prefix_bits)
    return " ".join(words)


def _pairs(**values: object) -> list[str]:
    return [
        word for key, value in values.items() if value is not None for word in (key, str(value))
    ]


def _span(span: tuple[int, int] | None, *, is_always_range: bool = False) -> str | None:
    if span is None:
        return None
    low, high = span
    return f"{low}-{high}" if low != high or is_always_range else str(low)
