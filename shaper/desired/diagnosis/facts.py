"""What `shapecfg doctor` knows of a shaper and its surroundings when the checks begin.

Gathered elsewhere and complete: a check asks for nothing. What could not be seen is None, and
no check takes that for a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shaper.model import Capture, State
from shaper.network import IpAddress, IpNetwork, RouteKind, Rule


@dataclass(frozen=True)
class Shown:
    """A shaper as the daemon shows it.

    Attributes:
        master: what its master is called; None while it has none.
        alarms: those it is in, each with its sentence.
        reason: the daemon's own words for a state in which nothing passes.
    """

    ifname: str
    ifindex: int
    master: str | None
    state: State
    capture: Capture = Capture.ROUTE
    cgroup: str | None = None
    mtu: int = 0
    rate_bits: int = 0
    sent_packets: int = 0
    alarms: dict[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class TableRoute:
    """A route of any table.

    Attributes:
        devices: the indices of those it leads through; several for several next hops.
        is_kernels: the kernel made it, from an address.
        has_nexthop_object: its next hop is an object of its own (`ip nexthop`).
        is_declared: it is kept true by the daemon.
    """

    destination: IpNetwork
    table: int
    devices: tuple[int, ...]
    metric: int | None = None
    gateway: IpAddress | None = None
    is_kernels: bool = False
    has_nexthop_object: bool = False
    is_declared: bool = False


@dataclass(frozen=True)
class Packet:
    """A packet that the kernel is asked about.

    Attributes:
        input_device: it arrives there; None: it is the machine's own.
        source: its source address; None: the kernel chooses.
    """

    destination: IpAddress
    input_device: str | None = None
    source: IpAddress | None = None
    mark: int | None = None
    uid: int | None = None
    protocol_number: int | None = None
    destination_port: int | None = None


@dataclass(frozen=True)
class Way:
    """What the kernel answers: the route that a packet takes.

    Attributes:
        device: the index of the device it leaves by; None where it is refused.
        refusal: why there is none, in the kernel's words.
        source: the address that the kernel gives it; None where it has none to give.
    """

    device: int | None = None
    destination: IpNetwork | None = None
    table: int = 0
    kind: RouteKind = RouteKind.UNICAST
    metric: int | None = None
    gateway: IpAddress | None = None
    source: IpAddress | None = None
    refusal: str = ""


@dataclass(frozen=True)
class RootQdisc:
    """The root qdisc of a device.

    Attributes:
        rate_bits: the most that it lets pass; None where it has no rate.
        drops: frames that it dropped while the facts were gathered.
    """

    kind: str
    rate_bits: int | None = None
    drops: int = 0


@dataclass(frozen=True)
class BoundSocket:
    """A socket that is bound to a device (SO_BINDTODEVICE)."""

    ifindex: int
    protocol: str
    local_port: int
    uid: int
    program: str = ""  # empty where another user's cannot be told


@dataclass(frozen=True)
class Neighbour:
    """A neighbour that did not answer."""

    ifindex: int
    address: str


@dataclass(frozen=True)
class Processor:
    """What keeps the daemon's processes from running.

    Attributes:
        steal_percent: time that the hypervisor took, lately.
        throttled_group: the control group of a forwarder, if that is held back by a quota.
        quota: the file that holds the quota.
        replaced_seconds: how long ago a forwarder took over from another; None: none did.
    """

    steal_percent: int = 0
    throttled_group: str | None = None
    quota: str = ""
    replaced_seconds: int | None = None


@dataclass(frozen=True)
class MachineFacts:
    """Everything beside the shapers themselves.

    Attributes:
        names: the name of each device, by index.
        mtus: its MTU.
        ups: the indices of those that are up.
        routes: those through shapers and masters.
        own_addresses: what the machine answers to, as prefixes.
        rules: all policy rules, in order.
        ways: what the kernel answered.
        ruleset: `nft -j list ruleset`; None where it could not be read.
        legacy_rules: the lines of iptables-save and ip6tables-save.
        reverse_path_rules: firewall rules that look up the way back; None where not seen.
        qdiscs: by device.
        slow_offloads: of each device, the offloads that are off.
        sysctls: those that were read.
        foreign_programs: names of eBPF programs on a device that come before ours.
        empty_groups: control groups without a process.
    """

    daemon_version: str
    own_version: str
    names: dict[int, str] = field(default_factory=dict)
    mtus: dict[int, int] = field(default_factory=dict)
    ups: frozenset[int] = frozenset()
    shapers: frozenset[int] = frozenset()
    routes: tuple[TableRoute, ...] = ()
    own_addresses: tuple[IpNetwork, ...] = ()
    rules: tuple[Rule, ...] = ()
    ways: dict[Packet, Way] = field(default_factory=dict)
    ruleset: list[dict[str, object]] | None = None
    legacy_rules: tuple[str, ...] = ()
    reverse_path_rules: tuple[str, ...] | None = None
    qdiscs: dict[int, RootQdisc] = field(default_factory=dict)
    slow_offloads: dict[int, tuple[str, ...]] = field(default_factory=dict)
    sysctls: dict[str, int] = field(default_factory=dict)
    bound: tuple[BoundSocket, ...] = ()
    failed: tuple[Neighbour, ...] = ()
    foreign_programs: dict[int, tuple[str, ...]] = field(default_factory=dict)
    empty_groups: frozenset[str] = frozenset()
    processor: Processor = field(default_factory=Processor)

    def index(self, ifname: str | None) -> int | None:
        """Return the index of a device, None where there is none of the name."""
        return next((index for index, name in self.names.items() if name == ifname), None)

    def name(self, ifindex: int | None) -> str:
        """Return the name of a device."""
        return self.names.get(ifindex or 0, f"device {ifindex}")


@dataclass(frozen=True)
class Case:
    """One shaper and its surroundings: what a check is given."""

    shown: Shown
    machine: MachineFacts

    @property
    def master(self) -> int | None:
        """The index of its master."""
        return self.machine.index(self.shown.master)

    @property
    def is_by_route(self) -> bool:
        """Whether it takes what is routed to it."""
        return self.shown.capture is Capture.ROUTE

    @property
    def routes(self) -> tuple[TableRoute, ...]:
        """Routes through it, but for multicast and link-local ones."""
        return tuple(each for each in self.machine.routes if self.shown.ifindex in each.devices)
