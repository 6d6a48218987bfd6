"""What concerns a shaper in the kernel, turned back into a declaration: for `save`.

What is declared is saved as it was declared, so that what follows the master still does. What
somebody added with `ip` is saved beside it. What the kernel or a router made by itself is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from shaper.desired.declared import Presence
from shaper.desired.doubles import Place, places
from shaper.network import (
    DEFAULT_METRICS,
    MAIN_TABLE,
    IpInterface,
    Network,
    Route,
    Rule,
    RuleAction,
)

# Specified: include/uapi/linux/rtnetlink.h (RT_TABLE_DEFAULT, RT_TABLE_LOCAL).
_EVERYBODYS_TABLES = {253, MAIN_TABLE, 255}


@dataclass(frozen=True)
class Seen:
    """What the kernel has that may concern a shaper.

    Attributes:
        is_up: as an administrator set it.
        addresses: of the device, but for link-local ones of the kernel's own.
        routes: through the device, but for those of the kernel's and of router advertisements.
        rules: all policy rules, but for the kernel's own.
    """

    is_up: bool
    addresses: tuple[IpInterface, ...]
    routes: tuple[Route, ...]
    rules: tuple[Rule, ...]


def inventory(ifname: str, declared: Network, wanted: Presence, seen: Seen) -> Network:
    """Return a declaration of everything that concerns a shaper now.

    Args:
        ifname: the shaper.
        declared: what is declared already.
        wanted: what follows from that, which is not to be declared a second time.
        seen: what there is.
    """
    added = (_with_metric(each) for each in seen.routes if each not in wanted.routes)
    routes = _first_of_each_place([*declared.routes, *added])
    tables = {route.table for route in routes} - _EVERYBODYS_TABLES
    rules = [each for each in seen.rules if _concerns(each, ifname, tables)]
    is_up = seen.is_up if declared.is_up is None else declared.is_up
    return Network(
        is_up=is_up or None,
        follows_master=declared.follows_master,
        addresses=_together(declared.addresses, seen.addresses, without=wanted.copies),
        routes=routes,
        rules=(*declared.rules, *(each for each in rules if not _is_among(each, declared.rules))),
    )


def _with_metric(route: Route) -> Route:
    """Return a route that says the metric that an undeclared one has by default."""
    return replace(route, metric=route.metric or DEFAULT_METRICS[route.version])


def _first_of_each_place(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Leave out what the kernel does not use: another comes before it."""
    taken: set[Place] = set()
    found = []
    for route in routes:
        if taken.isdisjoint(places(route)):
            found.append(route)
        taken.update(places(route))
    return tuple(found)


def _together(
    declared: Iterable[IpInterface], seen: Iterable[IpInterface], *, without: Iterable[IpInterface]
) -> tuple[IpInterface, ...]:
    others = {*without}
    found = dict.fromkeys([*declared, *(each for each in seen if each not in others)])
    return tuple(found)


def _concerns(rule: Rule, ifname: str, tables: set[int]) -> bool:
    leads_to_us = rule.action is RuleAction.LOOKUP and rule.table in tables
    return leads_to_us or ifname in (rule.input_device, rule.output_device)


def _is_among(rule: Rule, declared: Iterable[Rule]) -> bool:
    return rule in declared or replace(rule, priority=None) in declared
