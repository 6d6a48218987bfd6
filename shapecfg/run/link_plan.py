"""What a link for one command is made of: namespaces, devices, addresses, and words for programs.

Pure: from what is wished for and what the machine has to the text that `ip` and `shaperd` are
given (`way_out` has that for `nft` and `pasta`). The picture:

    the machine ── way out ── [ outer: shaperd with up and down ] ── veth ── [ inner: COMMAND ]

The outer namespace is a router without an address of its own. What comes from the command is
routed to the shaper `up`, what comes for it to the shaper `down`. There is no ARP and no ND: the
neighbours are known beforehand, so that the first frame through the link is the command's.

The addresses are those set aside for tests of links (RFC 2544, RFC 5180), so they
are neither the machine's nor those of anything it talks to.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shaper.line_options import LineOptions
from shaper.trace import Trace

# Chosen: names inside of the namespaces, which meet no others.
WAY_OUT = "out"  # outer: towards the machine
INSIDE = "in"  # outer: towards the command
NIC = "eth0"  # inner: what the command sees
UP, DOWN = "up", "down"  # the shapers

# Specified by RFC 2544, appendix C.2.2 (198.18.0.0/15) and RFC 5180, section 8 (2001:2::/48).
MOST_LINKS = 1 << 15  # of four addresses each, in 198.18.0.0/15
GATEWAY6 = "fe80::1"

# Chosen: locally administered, and the same in each link.
_COMMAND_MAC = "02:53:48:00:00:01"
_INSIDE_MAC = "02:53:48:00:00:02"
OUT_MAC = "02:53:48:00:00:03"
MACHINE_MAC = "02:53:48:00:00:04"
MTU = 1500
_UNLIMITED_BITS = 10**10  # of a direction without a rate
_LINKED_BITS = 10**9  # the same with a delay or a loss, which takes memory by the rate
_WINDOW_MS = 250  # of the rate, and the delay of the link, are under way in one connection
_MIN_WINDOW_BYTES = 65_536
# Specified by Documentation/networking/ip-sysctl.rst: least, first and most of a socket's buffer,
# of which about half is data.
_RMEM = (4096, 131_072, 6_291_456)
_WMEM = (4096, 16_384, 4_194_304)


@dataclass(frozen=True)
class Direction:
    """One direction of the link.

    Attributes:
        rate_bits: bits per second, of a trace in the mean; None: as fast as the machine is.
        delay_ms: how long a frame takes there and an answer back.
        line: what frames meet behind the bucket.
        trace: what the rate follows from the start of the shaper on; None: it is constant.
    """

    rate_bits: int | None = None
    delay_ms: int = 0
    line: LineOptions = field(default_factory=LineOptions)
    trace: Trace | None = None

    @property
    def speed_bits(self) -> int:
        """The rate of its shaper."""
        return speed_bits(self.rate_bits, is_linked=not self.line.is_default)


@dataclass(frozen=True)
class Wishes:
    """What was asked for.

    Attributes:
        command: the program and its arguments.
        down: towards the command.
        up: away from it.
        has_host_loopback: the gateway is the machine's 127.0.0.1.
    """

    command: tuple[str, ...]
    down: Direction = field(default_factory=Direction)
    up: Direction = field(default_factory=Direction)
    has_host_loopback: bool = False

    @property
    def loses(self) -> bool:
        """Whether frames are lost, doubled, damaged or reordered on purpose, in any direction."""
        lines = (self.down.line, self.up.line)
        return any(
            each.loss is not None or each.duplicate or each.corrupt or each.reorder
            for each in lines
        )


@dataclass(frozen=True)
class RunMachine:
    """What the machine has that a link needs.

    Attributes:
        is_privileged: it may be given a device, and rules for it.
        device: the way to the rest of the world; None: there is none.
        has_ipv4: something is reached over IPv4.
        has_ipv6: something is reached over IPv6.
        number: of the link, where several have to differ: 0 to 32767.
        resolver: a nameserver that only the machine itself reaches; None: there is none.
        has_relay: TCP ends between the link and pasta, in the kernel.
    """

    is_privileged: bool = False
    device: str | None = None
    has_ipv4: bool = True
    has_ipv6: bool = False
    number: int = 0
    resolver: str | None = None
    has_relay: bool = False

    @property
    def recovers(self) -> bool:
        """Whether TCP at both ends of the link is the kernel's, which recovers from loss."""
        return self.is_privileged or self.has_relay


@dataclass(frozen=True)
class LinkAddresses:
    """The addresses of one link; `resolver` is the relay's where there is one."""

    gateway: str
    command: str
    resolver: str
    command6: str
    relay6: str


def speed_bits(rate_bits: int | None, *, is_linked: bool) -> int:
    """Return the rate of a direction for which one was given, or none."""
    return rate_bits or (_LINKED_BITS if is_linked else _UNLIMITED_BITS)


def addresses(number: int) -> LinkAddresses:
    """Return the addresses of a link, by its number: 0 to 32767."""
    first = 4 * number
    prefix = f"198.{18 + (first >> 16)}.{first >> 8 & 255}"
    last = first & 255
    return LinkAddresses(
        gateway=f"{prefix}.{last + 1}",
        command=f"{prefix}.{last + 2}",
        resolver=f"{prefix}.{last + 3}",
        command6=f"2001:2:0:{number:x}::2",
        relay6=f"2001:2:0:{number:x}::3",
    )


def inner_sysctls(machine: RunMachine, wishes: Wishes) -> dict[str, str]:
    """Return the parameters of the command's namespace: what its TCP may have under way."""
    if machine.recovers:
        return {}
    values = {}
    for name, direction, usual in (
        ("net/ipv4/tcp_rmem", wishes.down, _RMEM),
        ("net/ipv4/tcp_wmem", wishes.up, _WMEM),
    ):
        if direction.rate_bits is not None:
            least, first, most = usual
            window = direction.rate_bits * (_WINDOW_MS + direction.delay_ms) // 8000
            most = min(max(2 * window, 2 * _MIN_WINDOW_BYTES), most)
            values[name] = f"{least} {min(first, most)} {most}"
    return values


def outer_sysctls(machine: RunMachine) -> dict[str, int]:
    """Return the parameters of the outer namespace, set before it has devices."""
    values = {
        "net/ipv4/ip_forward": 1,
        "net/ipv4/conf/all/rp_filter": 0,
        "net/ipv4/conf/default/rp_filter": 0,
        "net/ipv4/conf/all/send_redirects": 0,
        "net/ipv4/conf/default/send_redirects": 0,
    }
    if machine.has_ipv6:
        values |= {"net/ipv6/conf/all/forwarding": 1}
    return values


def join(pid: int) -> list[str]:
    """Return the `ip` lines of the outer namespace that join the inner one, of a process."""
    return [
        "link set lo up",
        f"link add {INSIDE} type veth peer name {NIC} netns {pid}",
        f"link set {INSIDE} addrgenmode none",
        f"link set {INSIDE} address {_INSIDE_MAC} mtu {MTU}",
        f"link set {INSIDE} up",
    ]


def furnish(machine: RunMachine) -> list[str]:
    """Return the `ip` lines of the inner namespace, once its device is there."""
    own = addresses(machine.number)
    lines = [
        "link set lo up",
        f"link set {NIC} addrgenmode none",
        f"link set {NIC} address {_COMMAND_MAC} mtu {MTU}",
        f"link set {NIC} up",
    ]
    if machine.has_ipv4:
        lines += [
            f"address add {own.command}/32 dev {NIC}",
            f"neighbour add {own.gateway} lladdr {_INSIDE_MAC} dev {NIC} nud permanent",
            f"route add {own.gateway} dev {NIC} scope link src {own.command}",
            f"route add default via {own.gateway} dev {NIC} src {own.command}",
        ]
    if machine.has_ipv6:
        lines += [
            f"address add {own.command6}/128 dev {NIC} nodad",
            f"neighbour add {GATEWAY6} lladdr {_INSIDE_MAC} dev {NIC} nud permanent",
            f"route add default via {GATEWAY6} dev {NIC} src {own.command6}",
        ]
    return lines


def open_way_out() -> list[str]:
    """Return the `ip` lines of the outer namespace, once the way out is there."""
    return [
        f"link set {WAY_OUT} addrgenmode none",
        f"link set {WAY_OUT} address {OUT_MAC} mtu {MTU}",
        f"link set {WAY_OUT} up",
    ]


def route(machine: RunMachine) -> list[str]:
    """Return the `ip` lines of the outer namespace that send traffic through the shapers."""
    own = addresses(machine.number)
    lines: list[str] = []
    if machine.has_ipv4:
        lines += _through_shapers(own.gateway, own.command)
    if machine.has_ipv6:
        lines += _through_shapers(GATEWAY6, own.command6)
    return lines


def _through_shapers(gateway: str, command: str) -> list[str]:
    return [
        f"neighbour replace {gateway} lladdr {MACHINE_MAC} dev {UP} nud permanent",
        f"neighbour replace {command} lladdr {_COMMAND_MAC} dev {DOWN} nud permanent",
        f"route replace {command} dev {DOWN}",
        f"route replace default via {gateway} dev {UP} onlink",
    ]
