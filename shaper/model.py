"""The words every part shares: what a shaper should be and what it is seen to be.

Frozen values only. Units are in the names: bits per second, bytes on the wire, frames, jiffies
per second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from shaper.line_options import LineOptions
from shaper.network import Network
from shaper.trace import Playback

# Specified by the interface.
DEFAULT_HZ = 1000
# From a rate on, jiffies a second where none are set: bursts stay below those of a token bucket in
# the kernel, which from 10 Mbit/s on are 4 ms of the rate, and 75 kB at 1 Gbit/s.
CLOCKS = ((2_500_000_000, 6000), (500_000_000, 2500), (150_000_000, 1000), (0, 500))
IFNAMSIZ = 16  # include/uapi/linux/if.h: fifteen bytes and a NUL
ALTIFNAMSIZ = 128  # the same of another name of a device (ip link property add ... altname)

# Kinds of devices that receive what their ports do, and have the neighbours of their ports.
AGGREGATES = frozenset({"bridge", "bond", "team"})

# Chosen.
# A ring for the 45 fragments of the largest datagram, which come at once; the kernel frees up to
# 16 places of it together (include/linux/ptr_ring.h).
DATAGRAM_FRAMES = 63
MIN_RATE_BITS = 8  # a byte a second
MAX_RATE_BITS = 10**15  # the speed attribute of a device is a C int of Mbit/s (2 Pbit/s)
MIN_HZ = 10  # coarser ticks than 100 ms shape nothing a user would call smooth
MAX_HZ = 100_000  # 10 us, below what any timer here delivers
MAX_LIMIT_PACKETS = 100_000  # of 1514 bytes: 150 MB a shaper


class Queue(StrEnum):
    """The disciplines a shaper can have."""

    CLASSIC = "classic"
    FIFO = "fifo"
    FQ_CODEL = "fq_codel"


class Framing(StrEnum):
    """How frames reach a master."""

    ETHERNET = "ethernet"  # with their Ethernet header
    BARE = "bare"  # as IP packets: tun, wireguard, ipip
    COOKED = "cooked"  # as IP packets, before which the driver sets a header of its own: ppp


class Capture(StrEnum):
    """How traffic comes to a shaper."""

    ROUTE = "route"  # what is routed to it, as in 1996
    EGRESS = "egress"  # all that the master sends
    INGRESS = "ingress"  # all that the master receives
    CGROUP = "cgroup"  # what a control group sends through the master


class State(StrEnum):
    """Why a shaper does or does not pass traffic; in order of precedence."""

    CONFLICT = "conflict"
    AWAY = "away"
    DETACHED = "detached"
    NO_SPEED = "no-speed"
    MASTER_UNUSABLE = "master-unusable"
    MASTER_MISSING = "master-missing"
    MASTER_DOWN = "master-down"
    ADMIN_DOWN = "admin-down"
    CGROUP_MISSING = "cgroup-missing"
    STALLED = "stalled"
    ACTIVE = "active"


class RingWord(IntEnum):
    """The words of a TAP's row that its forwarder and the program on it share, of 64 bits each."""

    ENTERED = 0  # frames that the program let into the ring
    READ = 1  # frames that the forwarder took out of it
    THRESHOLD = 2  # frames that may wait before a flow is capped
    UNTIL_NS = 3  # CLOCK_MONOTONIC: no flow is capped from then on
    # Three words are the program's own.
    FLOW = 4  # the place of a flow
    FLOW_SEEN_NS = 5  # when a frame of it came last
    OTHER_SEEN_NS = 6  # when one of another flow did
    BELL = 7  # not 0: the next frame of a sparse flow rings, and makes this 0


RING_WORD_BYTES = 8
RING_ROW_BYTES = 64  # a cache line


@dataclass(frozen=True)
class Options:
    """What can be set on a shaper. None means: chosen from the rate."""

    rate_bits: int = 0  # 0: no speed has been set
    burst_bytes: int | None = None
    queue: Queue = Queue.FQ_CODEL
    limit_packets: int | None = None
    hz: int = 0  # 0: chosen from the rate, see `clock_hz`
    has_own_hz: bool = False  # it was set for this shaper; else hz is the daemon's and follows it
    line: LineOptions = field(default_factory=LineOptions)
    playback: Playback | None = None  # of a trace, which the rate follows; None: it is constant

    @property
    def mean_bits(self) -> int:
        """The rate, or the mean of a trace."""
        return self.rate_bits if self.playback is None else self.playback.trace.mean_bits

    @property
    def least_bits(self) -> int:
        """The rate, or the lowest one of a trace at which anything leaves."""
        return self.rate_bits if self.playback is None else self.playback.trace.least_bits

    @property
    def peak_bits(self) -> int:
        """The rate, or the highest one of a trace."""
        return self.rate_bits if self.playback is None else self.playback.trace.peak_bits

    @property
    def clock_hz(self) -> int:
        """Jiffies a second: as set, or as fine as smooth departures at this rate need."""
        if self.hz or not self.mean_bits or self.queue is Queue.CLASSIC:
            return self.hz or DEFAULT_HZ
        return next(hz for least_bits, hz in CLOCKS if self.mean_bits >= least_bits)


@dataclass(frozen=True)
class Settings:
    """What a discipline is told: every default filled in."""

    rate_bits: int
    unit_bytes: int  # the largest frame that may pass whole, on the wire
    burst_bytes: int  # B of the law, at least unit_bytes
    queue: Queue
    limit_packets: int
    ticks_per_second: int  # of the discipline's clock; for `classic` a tick is a jiffy
    jiffy_ns: int = 1_000_000  # departures fall on eighths of it, unless the clock is coarser
    idle_bytes: int = 0  # of the bucket, what may be saved while nothing waits
    reserve_bytes: int = 0  # of the bucket, what is kept for sparse flows
    line: LineOptions = field(default_factory=LineOptions)  # what frames meet behind the bucket
    playback: Playback | None = None  # of a trace; rate_bits is its mean then

    @property
    def peak_bits(self) -> int:
        """The rate, or the highest one of a trace."""
        return self.rate_bits if self.playback is None else self.playback.trace.peak_bits

    @property
    def jiffy_bytes(self) -> int:
        """What the rate earns in a jiffy."""
        return self.rate_bits * self.jiffy_ns // (8 * 10**9)


@dataclass(frozen=True)
class Spec:
    """What a shaper should be: the part that survives a restart.

    Attributes:
        master: the device it is attached to, by the name that `attach` was given.
        master_now: what that device was last called, where that is another name.
    """

    ifname: str
    master: str | None = None
    options: Options = field(default_factory=Options)
    network: Network = field(default_factory=Network)
    capture: Capture = Capture.ROUTE
    cgroup: str | None = None  # a path below the mount of cgroup2, or a unit; of Capture.CGROUP

    master_now: str | None = None

    def waits_for(self, group: Group | None) -> bool:
        """Whether it is for the traffic of a group, and there is none."""
        return self.capture is Capture.CGROUP and group is None


@dataclass(frozen=True)
class Group:
    """A control group that there is."""

    path: str
    inode: int  # another one of the same name is another group


@dataclass(frozen=True)
class Link:
    """A network device as netlink shows it."""

    ifindex: int
    ifname: str
    mtu: int
    address: bytes  # link-layer address; empty for a device without one
    arphrd: int  # ARPHRD_*: the link layer's type
    is_up: bool  # IFF_UP
    is_running: bool  # has carrier, and may use it
    operstate: str  # UP, DOWN, LOWERLAYERDOWN, ...
    txqueuelen: int = 0
    lower: int | None = None  # ifindex of the device below (of a vlan or macvlan)
    upper: int | None = None  # ifindex of the device it is a port of (a bridge, a bond)
    is_noarp: bool = False
    kind: str = ""  # IFLA_INFO_KIND: "bridge", "macvlan", ...; empty for hardware and TAPs of old
    port_kind: str = ""  # the kind of device that it is a port of
    takes_all: bool = False  # a macvlan that takes every frame its lower device receives
    ipv6_mtu: int | None = None  # None: has no IPv6
    makes_link_local: bool = False  # the kernel gives it an IPv6 address of its own
    altnames: tuple[str, ...] = ()  # its other names (ip link property add ... altname)
