"""Filters of traffic control, where a kernel before 6.6 has no other place for our programs.

They need the `clsact` queue discipline on the device, which is added and, if nothing else uses it,
removed again. A filter stays when the daemon dies; what it runs is then gone (`programs.stub`).

Sources: include/uapi/linux/pkt_sched.h, pkt_cls.h; net/sched/cls_bpf.c.
"""

from __future__ import annotations

import errno
import socket

from pyroute2.netlink.rtnl import (
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_GETTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
)
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from shaper.errors import Busy
from shaper.kernel.bpf import Hook
from shaper.kernel.netlink_messages import Message
from shaper.kernel.wire import Wire

# Specified: linux/pkt_sched.h, pkt_cls.h, netlink.h, if_ether.h.
_CLSACT_HANDLE = 0xFFFF0000
_CLSACT_PARENT = 0xFFFFFFF1
_PARENTS = {Hook.INGRESS: 0xFFFFFFF2, Hook.EGRESS: 0xFFFFFFF3}
_DIRECT_ACTION = 1
_NLM_F_ACK = 0x1 | 0x4
_NLM_F_NEW = _NLM_F_ACK | 0x400 | 0x200  # create, and nothing of that kind is there
_NLM_F_REPLACE = _NLM_F_ACK | 0x400 | 0x100
_NLM_F_DUMP = 0x1 | 0x300
_ETH_P_ALL = 0x0003

# Chosen.
_HANDLE = 0x5A << 24  # with the shaper's index: no filter of others has it by chance
FIRST_PRIORITY = 32  # the least is served first; without a choice it is 49152
_LAST_PRIORITY = 64


class Filter:
    """A program on a device, by a filter; `close` removes it.

    Raises OSError, or Busy where a foreign `ingress` leaves no place for it.

    Args:
        wire: where requests go.
        program: the descriptor of the program.
        name: of the filter.
        ifindex: the device.
        hook: which of its directions.
        shaper: the index of the shaper.
        priority: the least it may have.
    """

    def __init__(
        self,
        wire: Wire,
        program: int,
        name: str,
        *,
        ifindex: int,
        hook: Hook,
        shaper: int,
        priority: int,
    ) -> None:
        self._wire = wire
        self._ifindex = ifindex
        self._hook = hook
        self._handle = _HANDLE | shaper
        _add_clsact(wire, ifindex, hook)
        for self._priority in range(priority, _LAST_PRIORITY):
            try:
                self._add(program, name)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EEXIST):
                    raise
            else:
                return
        raise Busy(f"the filters of device {ifindex} leave no priority for one of ours")

    def is_in_place(self) -> bool:
        """Whether it is there. Raises OSError where that cannot be told."""
        try:
            self._wire.ask(RTM_GETTFILTER, _NLM_F_ACK, self._of_kind())
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):
                raise
            return False
        return True

    def close(self) -> None:
        """Remove the filter, and `clsact` if it is unused; ignore a device that is gone."""
        try:
            self._wire.ask(RTM_DELTFILTER, _NLM_F_ACK, self._message())
            if not any(_filters(self._wire, self._ifindex, hook) for hook in Hook):
                self._wire.ask(RTM_DELQDISC, _NLM_F_ACK, _clsact(self._ifindex))
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENOENT, errno.EINVAL):
                raise

    def _add(self, program: int, name: str) -> None:
        message = self._of_kind()
        options = [
            ("TCA_BPF_FD", program),
            ("TCA_BPF_NAME", name),
            ("TCA_BPF_FLAGS", _DIRECT_ACTION),
        ]
        message["attrs"].append(("TCA_OPTIONS", {"attrs": options}))
        self._wire.ask(RTM_NEWTFILTER, _NLM_F_REPLACE, message)

    def _of_kind(self) -> Message:
        message = self._message()
        message["attrs"].append(("TCA_KIND", "bpf"))
        return message

    def _message(self) -> Message:
        message = _request(self._ifindex, handle=self._handle, parent=_PARENTS[self._hook])
        message["info"] = self._priority << 16 | socket.htons(_ETH_P_ALL)
        return message


def _add_clsact(wire: Wire, ifindex: int, hook: Hook) -> None:
    try:
        wire.ask(RTM_NEWQDISC, _NLM_F_NEW, _clsact(ifindex))
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        if hook is Hook.EGRESS and not _has_egress(wire, ifindex):
            raise Busy(
                f"device {ifindex} has an ingress queue discipline, which leaves no place for "
                "clsact (tc qdisc del dev … ingress)"
            ) from error


def _has_egress(wire: Wire, ifindex: int) -> bool:
    """Whether there is a place for filters of egress, which `ingress` does not have."""
    try:
        _filters(wire, ifindex, Hook.EGRESS)
    except OSError:
        return False
    return True


def _filters(wire: Wire, ifindex: int, hook: Hook) -> list[Message]:
    request = _request(ifindex, parent=_PARENTS[hook])
    return wire.ask(RTM_GETTFILTER, _NLM_F_DUMP, request)


def _clsact(ifindex: int) -> Message:
    message = _request(ifindex, handle=_CLSACT_HANDLE, parent=_CLSACT_PARENT)
    message["attrs"].append(("TCA_KIND", "clsact"))
    return message


def _request(ifindex: int, *, handle: int = 0, parent: int = 0) -> Message:
    message = tcmsg()
    message["family"], message["index"] = socket.AF_UNSPEC, ifindex
    message["handle"], message["parent"] = handle, parent
    return message
