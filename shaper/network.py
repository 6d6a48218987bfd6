"""The words of addresses, routes and rules: what `ip address`, `ip route` and `ip rule` hold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

IpAddress = IPv4Address | IPv6Address
IpInterface = IPv4Interface | IPv6Interface
IpNetwork = IPv4Network | IPv6Network

# Specified: include/uapi/linux/rtnetlink.h, ipv6_route.h.
MAIN_TABLE = 254
IPV6_DEFAULT_METRIC = 1024
DEFAULT_METRICS = {4: None, 6: IPV6_DEFAULT_METRIC}  # of IPv4 the kernel shows none

# Chosen: free in include/uapi/linux/rtnetlink.h and in the files of iproute2; 96 is for 1996. It
# marks routes and rules as ours, so that those alone are removed.
PROTOCOL = 96
# Chosen: less preferred than any metric that is in use, and not the kernel's own 2^32 - 1.
GUARD_METRIC = 0xFFFF_FF60


class RouteKind(StrEnum):
    """What a route does with a packet (rtnetlink.h, RTN_*)."""

    UNICAST = "unicast"
    BLACKHOLE = "blackhole"
    UNREACHABLE = "unreachable"
    PROHIBIT = "prohibit"
    THROW = "throw"


@dataclass(frozen=True, order=True)
class Route:
    """A route. None means: the kernel's default.

    Attributes:
        destination: the prefix; of length 0 for a default route.
        gateway: the next hop; of IPv4 it may be one of IPv6 (RFC 8950).
        follows_master: the next hop is that of the master's own default route.
    """

    destination: IpNetwork
    kind: RouteKind = RouteKind.UNICAST
    gateway: IpAddress | None = None
    is_onlink: bool = False
    table: int = MAIN_TABLE
    metric: int | None = None
    source: IpAddress | None = None
    mtu_bytes: int | None = None
    follows_master: bool = False

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.destination.version


class RuleAction(StrEnum):
    """What a rule does (fib_rules.h, FR_ACT_*)."""

    LOOKUP = "lookup"
    BLACKHOLE = "blackhole"
    UNREACHABLE = "unreachable"
    PROHIBIT = "prohibit"


@dataclass(frozen=True)
class Rule:
    """A policy rule; what is None matches everything.

    Attributes:
        priority: the lower, the earlier; None: the kernel chooses, before the rules there are.
        mark_mask: which bits of the mark are compared.
        suppress_prefix_bits: routes with a prefix of at most so many bits do not count.
    """

    version: int
    action: RuleAction = RuleAction.LOOKUP
    table: int = MAIN_TABLE
    priority: int | None = None
    is_inverted: bool = False
    source: IpNetwork | None = None
    destination: IpNetwork | None = None
    mark: int | None = None
    mark_mask: int | None = None
    input_device: str | None = None
    output_device: str | None = None
    protocol_number: int | None = None
    source_ports: tuple[int, int] | None = None
    destination_ports: tuple[int, int] | None = None
    uids: tuple[int, int] | None = None
    suppress_prefix_bits: int | None = None


@dataclass(frozen=True)
class Network:
    """What is declared beside the shaper itself, and kept true.

    Attributes:
        is_up: whether the device is to be up; None: as it was left.
        follows_master: the device has the master's addresses, whatever they become.
    """

    is_up: bool | None = None
    follows_master: bool = False
    addresses: tuple[IpInterface, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is declared."""
        return self == Network()
