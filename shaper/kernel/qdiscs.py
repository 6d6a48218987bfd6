"""The queue disciplines of devices: how much they let pass, and what they have dropped.

The rate is that of the way which frames take that no filter classifies: through a tbf, through the
default class of an htb and those around it, and through what is below. Where an htb has filters,
the fastest of its classes counts, as nothing says which of them a frame gets to.

Sources: include/uapi/linux/pkt_sched.h; net/sched/sch_htb.c, sch_tbf.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from pyroute2.netlink.rtnl import RTM_GETQDISC, RTM_GETTCLASS, RTM_GETTFILTER
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from shaper.kernel.netlink import filled
from shaper.kernel.netlink_messages import Message

# Specified: linux/pkt_sched.h.
_TC_H_ROOT = 0xFFFFFFFF
_MAJOR = 0xFFFF0000
_BITS = 8

# Chosen.
_MOST_LEVELS = 8

DumpQdiscs = Callable[[int, Message], Iterable[Message]]


class Qdisc(NamedTuple):
    """The root queue discipline of a device.

    Attributes:
        rate_bits: the most that it lets pass; None where it has no rate.
        drops: frames that it has dropped.
    """

    kind: str
    rate_bits: int | None
    drops: int


def roots(dump: DumpQdiscs) -> dict[int, Qdisc]:
    """Return the root of each device that has one, by the device's index."""
    every = list(dump(RTM_GETQDISC, tcmsg()))
    return {
        each["index"]: Qdisc(
            each.get_attr("TCA_KIND"),
            _rate(dump, each, [other for other in every if other["index"] == each["index"]]),
            (each.get_attr("TCA_STATS") or {}).get("drop", 0),
        )
        for each in every
        if each["parent"] == _TC_H_ROOT
    }


def _rate(dump: DumpQdiscs, root: Message, every: list[Message]) -> int | None:
    """Return the least rate on the way down from a root; None where nothing has one."""
    rates: list[int] = []
    qdisc: Message | None = root
    for _ in range(_MOST_LEVELS):
        if qdisc is None or qdisc.get_attr("TCA_OPTIONS") is None:
            break
        below: int | None = None
        match qdisc.get_attr("TCA_KIND"):
            case "tbf":
                rates.append(_tbf(qdisc))
                below = qdisc["handle"] | 1
            case "htb":
                found, below = _htb(dump, qdisc)
                rates += found
        qdisc = next((each for each in every if below and each["parent"] == below), None)
    return min(rates, default=None)


def _tbf(qdisc: Message) -> int:
    options = qdisc.get_attr("TCA_OPTIONS")
    rate = options.get_attr("TCA_TBF_RATE64") or options.get_attr("TCA_TBF_PARMS")["rate"]
    return _BITS * int(rate)


def _htb(dump: DumpQdiscs, qdisc: Message) -> tuple[list[int], int | None]:
    """Return the ceilings on the way of what is not classified, and the class it ends in."""
    index, handle = qdisc["index"], qdisc["handle"]
    classes = {each["handle"]: each for each in dump(RTM_GETTCLASS, filled(tcmsg(), index=index))}
    asked = filled(tcmsg(), index=index, parent=handle)
    initial = qdisc.get_attr("TCA_OPTIONS").get_attr("TCA_HTB_INIT") or {}
    chosen = classes.get(handle & _MAJOR | initial.get("defcls", 0))
    if any(each.get_attr("TCA_KIND") for each in dump(RTM_GETTFILTER, asked)):
        tops = [each for each in classes.values() if each["parent"] in (_TC_H_ROOT, handle)]
        return [max(rates)] if (rates := [_ceiling(each) for each in tops]) else [], None
    if chosen is None:  # what is not classified waits for nothing
        return [], None
    below, rates = chosen["handle"], []
    for _ in range(_MOST_LEVELS):
        rates.append(_ceiling(chosen))
        chosen = classes.get(chosen["parent"])
        if chosen is None:
            break
    return rates, below


def _ceiling(each: Message) -> int:
    options = each.get_attr("TCA_OPTIONS")
    ceiling = options.get_attr("TCA_HTB_CEIL64") or options.get_attr("TCA_HTB_PARMS")["ceil"]
    return _BITS * int(ceiling)
