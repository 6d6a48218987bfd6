"""Gathers the facts of shapers for `desired.findings`, and tells in the log what is found anew.

Facts come from the tables that are kept current and from /proc/sys: a look at a shaper asks the
kernel nothing by netlink. Firewall rules, and where tunnels lead, are asked for once in a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from shaper.desired.findings import Facts, Finding, Receiving, run_checks
from shaper.events import Event, Kind, tell
from shaper.kernel.addresses import Addresses
from shaper.kernel.links import Links
from shaper.kernel.linux import Kernel
from shaper.kernel.sysctl import Sysctls
from shaper.model import Capture, Link
from shaper.network import IpAddress
from shaper.supervisor.device import Device

# Chosen.
_LOOP_SECONDS = 60.0  # a loop is told of for so long after frames came back last
_RULES_SECONDS = 1.0  # a set of firewall rules is taken to be the same for so long ...
_RULES_SHARE = 100  # ... and for so many times as long as it took to read them


class Inspector:
    """Finds what keeps shapers from shaping.

    Args:
        links: all network devices.
        addresses: their addresses.
        far_end_behind: returns the far end of a tunnel below a master that its shaper leads to.
        kernel: what sysctls and firewall rules are read from.
    """

    def __init__(
        self,
        links: Links,
        addresses: Addresses,
        far_end_behind: Callable[[Device, Link | None], IpAddress | None],
        kernel: Kernel,
    ) -> None:
        self._links = links
        self._kernel = kernel
        self._far_end_behind = far_end_behind
        self._addresses = addresses
        self._shared: dict[int, frozenset[str]] = {}  # addresses that a master had as well
        self._told: dict[int, set[str]] = {}  # by the shaper's index, ids
        self._loops: dict[int, float] = {}  # by the shaper's index, until when to tell of it
        self._rules: tuple[str, ...] = ()
        self._rules_until = 0.0

    def findings(self, device: Device, sysctls: Sysctls | None = None) -> list[Finding]:
        """Return what is found of a shaper.

        Args:
            device: the shaper.
            sysctls: of /proc/sys, to be shared by several looks at the same time.
        """
        facts = self._facts(device, sysctls or self._kernel.sysctls(), self._reverse_path_rules())
        return run_checks(facts) if facts is not None else []

    def follow(self, devices: Iterable[Device], indices: set[int]) -> None:
        """Log what is found anew of the shapers that changed devices have to do with."""
        changed = [link for link in map(self._links.index, indices) if link is not None]
        beside = {each for link in changed for each in (link.lower, link.upper) if each}
        for device in devices:
            receiver = self._links.resolver(device.master_index or 0)
            if {device.ifindex, device.master_index, receiver} & (indices | beside):
                self._tell(device)

    def forget(self, ifindex: int) -> None:
        """Forget a shaper that is gone."""
        self._shared.pop(ifindex, None)
        self._told.pop(ifindex, None)
        self._loops.pop(ifindex, None)

    def note_loop(self, device: Device) -> None:
        """Take note that frames of a shaper came back to it; the log tells of it once a minute."""
        now = time.monotonic()
        is_news = now >= self._loops.get(device.ifindex, 0)
        self._loops[device.ifindex] = now + _LOOP_SECONDS
        if is_news:
            self._told.get(device.ifindex, set()).discard("loop")
            self._tell(device)

    def _tell(self, device: Device) -> None:
        facts = self._facts(device, self._kernel.sysctls(), ())
        found = {each.id: each for each in run_checks(facts)} if facts is not None else {}
        known = self._told.setdefault(device.ifindex, set())
        for finding in found.values():
            if finding.id not in known:
                ifname, master = device.spec.ifname, device.master_name or ""
                tell(Event(Kind.FINDING, ifname, master), "%s: %s", ifname, finding)
        self._told[device.ifindex] = set(found)

    def _facts(self, device: Device, sysctls: Sysctls, rules: tuple[str, ...]) -> Facts | None:
        own = self._links.index(device.ifindex)
        if own is None or device.spec.capture is not Capture.ROUTE:
            return None  # answers to what is taken from a device come as without a shaper
        index = device.master_index
        master = self._links.index(index) if index is not None else None
        receiver = self._links.index(self._links.resolver(index)) if index is not None else None
        own_addresses = self._addresses.of(device.ifindex)
        master_addresses = self._addresses.of(index)
        if receiver is not None:
            master_addresses |= self._addresses.of(receiver.ifindex)
        return Facts(
            ifname=device.spec.ifname,
            own=own,
            master=master,
            receiver=receiver,
            above_own=tuple(self._links.resting_on(own.ifindex)),
            above_master=tuple(self._links.resting_on(index)) if index is not None else (),
            port_of=self._name(own.upper),
            master_port_of=self._name(master.upper) if master is not None else None,
            own_addresses=own_addresses,
            master_addresses=master_addresses,
            lost_addresses=self._lost(device.ifindex, own_addresses, master_addresses),
            ipv6_mtu=sysctls.ipv6_mtu(own.ifname),
            master_ipv6_mtu=sysctls.ipv6_mtu(master.ifname) if master is not None else None,
            receiving=_receiving(receiver, sysctls),
            reverse_path_rules=rules,
            far_end=self._far_end_behind(device, master),
            is_loop=time.monotonic() < self._loops.get(device.ifindex, 0),
        )

    def _name(self, ifindex: int | None) -> str | None:
        link = self._links.index(ifindex) if ifindex is not None else None
        return link.ifname if link is not None else None

    def _lost(self, ifindex: int, own: frozenset[str], master: frozenset[str]) -> frozenset[str]:
        """Return the shaper's addresses that the master had, and has no longer.

        The prefix may differ: with 1996's netmask on the shaper they are the same address.
        """
        bare = frozenset(map(_bare, own))
        seen = (self._shared.get(ifindex, frozenset()) | frozenset(map(_bare, master))) & bare
        self._shared[ifindex] = seen
        return seen - frozenset(map(_bare, master))

    def _reverse_path_rules(self) -> tuple[str, ...]:
        now = time.monotonic()
        if now >= self._rules_until:
            self._rules = self._kernel.reverse_path_rules()
            took = time.monotonic() - now
            self._rules_until = now + max(_RULES_SECONDS, _RULES_SHARE * took)
        return self._rules


def _receiving(receiver: Link | None, sysctls: Sysctls) -> Receiving:
    if receiver is None:
        return Receiving()
    ifname = receiver.ifname
    return Receiving(
        rp_filter=sysctls.ipv4(ifname, "rp_filter"),
        arp_filter=sysctls.ipv4(ifname, "arp_filter"),
        arp_ignore=sysctls.ipv4(ifname, "arp_ignore"),
        answers_for_others=bool(
            sysctls.ipv4(ifname, "proxy_arp") and sysctls.ipv4(ifname, "forwarding")
        ),
    )


def _bare(address: str) -> str:
    return address.partition("/")[0]
