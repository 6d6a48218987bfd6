"""Gathers the facts that `shapecfg doctor` judges, as the user who asks.

The kernel is asked by netlink, as everybody may; firewall rules and eBPF programs are shown to
root alone. What could not be seen is said.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from shapecfg.client import Client
from shapecfg.reply import Shaper
from shaper import __version__
from shaper.desired.diagnosis.facts import (
    BoundSocket,
    Case,
    MachineFacts,
    Neighbour,
    Packet,
    Processor,
    RootQdisc,
    Shown,
    TableRoute,
    Way,
)
from shaper.desired.diagnosis.questions import questions
from shaper.kernel import bound_sockets, bpf, cgroup, ethtool, firewall_rules, processes, sysctl
from shaper.kernel.reverse_path import reverse_path_rules
from shaper.kernel.survey import Survey
from shaper.model import Capture, Link, State
from shaper.network import PROTOCOL, IpAddress

# Specified: bits/socket.h.
_CREDENTIALS = struct.Struct("=iII")
# Chosen.
_RECENT_SECONDS = 600  # a forwarder that took over within it is told of
_START_SECONDS = 5.0  # a forwarder that starts with the daemon is that much younger at most
_OWN_PROGRAMS = "shaper_"
_HOOKS = {
    Capture.EGRESS: bpf.Hook.EGRESS,
    Capture.CGROUP: bpf.Hook.EGRESS,
    Capture.INGRESS: bpf.Hook.INGRESS,
}


_Word = TypeVar("_Word", State, Capture)


class Gathering:
    """One look at the machine; a context manager.

    Args:
        client: the daemon to ask.
        shapers: what it has shown.
        version: our own.
        list_rules: returns the rules of the firewall; None: they cannot be seen.

    Attributes:
        unseen: what could not be seen, and why.
    """

    def __init__(
        self,
        client: Client,
        shapers: list[Shaper],
        version: str = __version__,
        list_rules: Callable[[], list[dict[str, object]] | None] = firewall_rules.nftables,
    ) -> None:
        self._version = version
        self._list_rules = list_rules
        self.unseen: list[str] = []
        self._client = client
        self._shown = [_shown(each) for each in shapers]
        self._survey = Survey()
        self._links: dict[int, Link] = {}
        self._daemon = _daemon_pid(client.path)
        self._ticks = processes.ticks()
        self._throttled = self._throttling()
        self._drops = {index: each.drops for index, each in self._survey.qdiscs().items()}

    def __enter__(self) -> Gathering:
        return self

    def __exit__(self, *_: object) -> None:
        self._survey.close()

    @property
    def survey(self) -> Survey:
        """What the kernel can be asked."""
        return self._survey

    def cases(self, destination: IpAddress | None = None) -> list[Case]:
        """Return each shaper with everything there is to know.

        Args:
            destination: an address that is looked at as well.
        """
        self._links = {each.ifindex: each for each in self._survey.links()}
        machine = self._machine()
        asked = {each.packet for shown in self._shown for each in questions(Case(shown, machine))}
        if destination is not None:
            asked.add(Packet(destination))
        ways = {packet: self._way(packet) for packet in asked}
        known = {packet: way for packet, way in ways.items() if way is not None}
        machine = replace(machine, ways=known)
        return [Case(shown, machine) for shown in self._shown]

    def _machine(self) -> MachineFacts:
        names = {index: link.ifname for index, link in self._links.items()}
        shown = self._shown
        masters = {each.master for each in shown} - {None}
        ours = {each.ifindex for each in shown if each.ifindex}
        concerned = ours | {index for index, name in names.items() if name in masters}
        rules = self._ruleset()
        return MachineFacts(
            daemon_version=self._client.version(),
            own_version=self._version,
            names=names,
            mtus={index: link.mtu for index, link in self._links.items()},
            ups=frozenset(index for index, link in self._links.items() if link.is_up),
            shapers=frozenset(self._all_shapers()),
            routes=tuple(self._routes(concerned)),
            own_addresses=tuple(self._survey.own_addresses()),
            rules=self._survey.rules(),
            ruleset=rules,
            reverse_path_rules=reverse_path_rules() if rules is not None else None,
            legacy_rules=tuple(firewall_rules.legacy()),
            qdiscs=self._qdiscs(),
            slow_offloads={each: ethtool.offloads_off(names[each]) for each in concerned - ours},
            sysctls=dict(_sysctls(names[each] for each in concerned if each in names)),
            bound=self._bound(concerned - ours),
            failed=tuple(self._failed(ours)),
            foreign_programs=dict(self._foreign(names)),
            empty_groups=frozenset(_empty_groups(each.cgroup for each in shown)),
            processor=self._processor(),
        )

    def _all_shapers(self) -> list[int]:
        return [each["ifindex"] for each in self._client.show() if each["ifindex"]]

    def _routes(self, devices: Iterable[int]) -> Iterator[TableRoute]:
        found: dict[TableRoute, None] = {}
        for ifindex in devices:
            for told in self._survey.routes_through(ifindex):
                is_declared = told.pop("protocol") == PROTOCOL
                route = TableRoute(**told, is_declared=is_declared)
                found[route] = None
        yield from found

    def _ruleset(self) -> list[dict[str, object]] | None:
        rules = self._list_rules()
        if rules is None:
            why = "needs root" if os.geteuid() else "needs nft, package nftables"
            self.unseen.append(f"rules of the firewall ({why})")
        return rules

    def _qdiscs(self) -> dict[int, RootQdisc]:
        return {
            index: RootQdisc(each.kind, each.rate_bits, each.drops - self._drops.get(index, 0))
            for index, each in self._survey.qdiscs().items()
        }

    def _failed(self, devices: Iterable[int]) -> Iterator[Neighbour]:
        for ifindex in devices:
            for address, (state, _) in self._survey.neighbours(ifindex).items():
                if state == "failed":
                    yield Neighbour(ifindex, address)

    def _foreign(self, names: dict[int, str]) -> Iterator[tuple[int, tuple[str, ...]]]:
        for shown in self._shown:
            master = next((index for index, name in names.items() if name == shown.master), None)
            hook = _HOOKS.get(shown.capture)
            if master is None or hook is None:
                continue
            try:
                attached = bpf.names(master, hook)
            except PermissionError:
                self.unseen.append(f"other programs on {shown.master} (needs root)")
                continue
            except OSError:
                continue  # before Linux 6.6 there is no order that ours could be behind
            before = []
            for name in attached:
                if name.startswith(_OWN_PROGRAMS):
                    break
                before.append(name)
            yield master, tuple(before)

    def _way(self, packet: Packet) -> Way | None:
        asked = self._attributes(packet)
        told = self._survey.way(packet.destination, **asked) if asked is not None else None
        if told is None or told.get("is_local"):
            return None
        if "refusal" in told:
            is_answer = told["errno"] in _ANSWERS
            return Way(refusal=told["refusal"]) if is_answer else None
        return Way(
            device=told["device"],
            destination=told["destination"],
            table=told["table"],
            metric=told["metric"],
            gateway=told["gateway"],
            source=told["source"],
        )

    def _attributes(self, packet: Packet) -> dict[str, int | bytes] | None:
        """Return a packet as attributes; None where it cannot arrive."""
        asked: dict[str, int | bytes | None] = {
            "RTA_MARK": packet.mark,
            "RTA_UID": packet.uid,
            "RTA_IP_PROTO": packet.protocol_number,
            "RTA_DPORT": packet.destination_port,
            "RTA_SRC": packet.source.packed if packet.source is not None else None,
        }
        if packet.input_device is not None:
            index = next(
                (
                    each.ifindex
                    for each in self._links.values()
                    if packet.input_device == each.ifname
                ),
                None,
            )
            source = packet.source or self._guest(index, packet.destination.version)
            if index is None or source is None:
                return None
            asked |= {"RTA_IIF": index, "RTA_SRC": source.packed}
        return {key: value for key, value in asked.items() if value is not None}

    def _guest(self, ifindex: int | None, version: int) -> IpAddress | None:
        """Return an address that a packet which arrives on a device may come from."""
        for told in self._survey.routes_through(ifindex or 0):
            network = told["destination"]
            if network.version == version and network.num_addresses > 2:
                guest: IpAddress = network.broadcast_address - 1
                return guest
        return None

    def _bound(self, devices: Collection[int]) -> tuple[BoundSocket, ...]:
        seen, is_complete = bound_sockets.bound_sockets()
        if not is_complete:
            self.unseen.append("some sockets (there are too many)")
        bound = [each for each in seen if each.ifindex in devices]
        programs = processes.programs_of([each.inode for each in bound])
        return tuple(
            BoundSocket(
                each.ifindex,
                each.protocol,
                each.local_port,
                each.uid,
                programs.get(each.inode, ""),
            )
            for each in bound
        )

    def _processor(self) -> Processor:
        before, after = self._ticks, processes.ticks()
        steal = 0
        if before is not None and after is not None and after.total > before.total:
            steal = 100 * (after.steal - before.steal) // (after.total - before.total)
        for now in self._throttling():
            known = next((each for each in self._throttled if each.group == now.group), now)
            if now.periods > known.periods:
                return Processor(
                    steal, now.group, now.quota_file, replaced_seconds=self._replaced()
                )
        return Processor(steal, replaced_seconds=self._replaced())

    def _throttling(self) -> list[processes.Throttling]:
        if self._daemon is None:
            return []
        pids = [self._daemon, *(each.pid for each in processes.children(self._daemon))]
        found = {(each.quota_file): each for pid in pids for each in processes.throttling(pid)}
        return list(found.values())

    def _replaced(self) -> int | None:
        """Return how long ago a forwarder took over; None where none did lately."""
        daemon = processes.process(self._daemon) if self._daemon is not None else None
        if daemon is None:
            return None
        ages = [each.age_seconds for each in processes.children(daemon.pid)]
        late = [each for each in ages if daemon.age_seconds - each > _START_SECONDS]
        recent = [each for each in late if each < _RECENT_SECONDS]
        return round(min(recent)) if recent else None


_ANSWERS = (22, 13, 113, 101)  # EINVAL, EACCES, EHOSTUNREACH, ENETUNREACH


def _shown(shaper: Shaper) -> Shown:
    state = _known(State, shaper["state"], State.ACTIVE)
    warnings = shaper["warnings"]
    is_absent = state in (State.CONFLICT, State.AWAY)
    return Shown(
        shaper["ifname"],
        shaper["ifindex"],
        shaper["link"],
        state,
        _known(Capture, shaper["capture"] or "route", Capture.ROUTE),
        shaper["cgroup"],
        shaper["mtu"],
        shaper["options"]["rate_bits"],
        shaper["stats"]["sent_packets"],
        {each["alarm"]: each["sentence"] for each in shaper["alarms"] or ()},
        reason=warnings[0] if is_absent and warnings else "",
    )


def _known(kind: type[_Word], value: str, otherwise: _Word) -> _Word:
    try:
        return kind(value)
    except ValueError:  # of a newer daemon, as the difference in version says
        return otherwise


def _daemon_pid(path: str) -> int | None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as handle:
        handle.connect(path)
        answer = handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, _, _ = _CREDENTIALS.unpack(answer)
        return int(pid) or None  # 0: it is in another namespace of processes
    return None


def _sysctls(ifnames: Iterable[str]) -> Iterator[tuple[str, int]]:
    keys = {"ip_forward": "ipv4/ip_forward", "ipv6.forwarding": "ipv6/conf/all/forwarding"}
    for scope in ("all", *ifnames):
        name = "ignore_routes_with_linkdown"
        keys[f"{scope}.{name}"] = f"ipv4/conf/{scope}/{name}"
    for name, key in keys.items():
        value = sysctl.read(key)
        if value is not None:
            yield name, value


def _empty_groups(groups: Iterable[str | None]) -> Iterator[str]:
    for group in groups:
        found = cgroup.find(group) if group is not None else None
        if group is not None and found is not None and cgroup.is_empty(found.path):
            yield group
