"""What a shaper should be, given what is wanted and what is seen: decisions, nothing done.

Pure. The supervisor carries a plan out and compares it with the one before, so carrying out the
same plan twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from shaper.errors import InvalidValue
from shaper.model import (
    AGGREGATES,
    DATAGRAM_FRAMES,
    Capture,
    Framing,
    Group,
    Link,
    Options,
    Queue,
    Settings,
    Spec,
    State,
)
from shaper.names import printable
from shaper.units import format_rate

# Specified: include/uapi/linux/if_arp.h, if_ether.h.
ARPHRD_ETHER = 1
ARPHRD_LOOPBACK = 772
_ARPHRD_PPP = 512
_ARPHRD_IPGRE = 778
_ARPHRD_IP6GRE = 823
ETHERNET_HEADER_BYTES = 14
ETHERNET_ADDRESS_BYTES = 6
_MAX_GSO_BYTES = 65_536
_MAX_TAP_MTU = 65_521  # drivers/net/tun.c: less than the 65536 of loopback
_TCP_IPV6_HEADER_BYTES = 60  # the largest headers without options that a segment repeats
_TCP_IPV4_HEADER_BYTES = 40  # the smallest
_MAX_TCP_HEADER_BYTES = 321  # what the kernel sets aside of gso_max_size (net/core/sock.c)

# Chosen.
ALIAS_PREFIX = "shaper"  # of ours: a device of another alias is never taken over
# What a queue may hold, as a time of the rate and as frames. For a fifo this is the delay under
# load. fq_codel keeps delays short by other means and needs room for bursts and many flows.
_DEFAULT_QUEUES = {
    Queue.FIFO: (Fraction(50, 1000), 10),
    Queue.FQ_CODEL: (Fraction(250, 1000), 1000),
}
_DETACHED_RING_FRAMES = 10
_MAX_DEFAULT_LIMIT_PACKETS = 10_000  # 15 MB of full frames
# How late a wake-up may be and still be caught up entirely: a few scheduler's turns on a busy
# machine. At low rates that is less than a frame, and one frame of credit does no harm there.
_LATENESS_SECONDS = Fraction(20, 1000)
_MIN_OFFLOAD_FRAMES = 2  # an offload frame of fewer saves nothing
_OFFLOAD_FRAMES_A_JIFFY, _OFFLOAD_FRAMES_A_SECOND = 2, 2000  # of the largest, at the least
_IDLE_JIFFIES = Fraction(1, 8)  # how exactly departures are timed, so it cannot be told from none
# Microseconds: jiffies say when the forwarder wakes up, but what a rate has earned by then and how
# long a frame has waited is counted finer. The classic queue counts in jiffies, as in 1996.
_TICKS_PER_SECOND = 1_000_000
_CLASSIC_LIMIT_PACKETS = 10  # of the 1996 driver
_MAX_RING_FRAMES = 10_000  # of the TAP, which the kernel allocates
_DETACHED_MTU = 1500
_MEGABIT = 1_000_000

# What a raw packet socket takes for the link header is the device's hard_header_len. That of ppp
# is not 0, though its packets have no such header, nor is that of gre without a fixed remote: see
# docs/design.md. Every other device without an Ethernet header is taken to have none at all.
_FRAMINGS = {
    ARPHRD_ETHER: Framing.ETHERNET,
    ARPHRD_LOOPBACK: Framing.ETHERNET,
    _ARPHRD_PPP: Framing.COOKED,
    _ARPHRD_IPGRE: Framing.COOKED,
    _ARPHRD_IP6GRE: Framing.COOKED,
}

# The first that applies is the state of a shaper. Nothing moves from one to another by itself: a
# change of what is wanted or seen does, and docs/design.md, which is held to this, says which.
_STATES: dict[State, Callable[[Spec, Link | None, Link | None, Group | None], bool]] = {
    State.DETACHED: lambda spec, own, master, group: spec.master is None,
    State.NO_SPEED: lambda spec, own, master, group: not spec.options.mean_bits,
    State.MASTER_MISSING: lambda spec, own, master, group: master is None,
    State.MASTER_DOWN: lambda spec, own, master, group: master is not None and not _is_up(master),
    State.ADMIN_DOWN: lambda spec, own, master, group: own is None or not own.is_up,
    State.CGROUP_MISSING: lambda spec, own, master, group: spec.waits_for(group),
    State.ACTIVE: lambda spec, own, master, group: True,
}


@dataclass(frozen=True)
class Plan:
    """What the supervisor should make true of one shaper."""

    state: State
    has_carrier: bool  # the master can take frames: a packet socket is open on it
    mtu: int
    ipv6_mtu: int | None  # the master's own, which a router may have lowered
    address: bytes | None  # the master's link-layer address; None: keep what it has
    has_neighbours: bool  # frames have addresses, and the master's entries say which
    has_arp: bool  # the master asks for addresses; otherwise its own serves, as in its frames
    port_of: int | None  # the bridge, bond or team whose entries serve in place of the master's
    framing: Framing  # how frames reach the master
    is_tunnel: bool  # what the master sends may come back to the shaper, encapsulated
    alias: str
    speed_mbit: int | None
    offload_bytes: int  # gso_max_size; 0: no offload frames
    ring_frames: int  # txqueuelen
    settings: Settings | None  # None: no speed
    capture: Capture = Capture.ROUTE
    is_capturing: bool = False  # programs on the master take traffic to the shaper
    group: Group | None = None  # of Capture.CGROUP; None while there is none


def make_plan(
    spec: Spec,
    own: Link | None,
    master: Link | None,
    group: Group | None = None,
    before: Plan | None = None,
    *,
    is_obstructed: bool = False,
    is_tunnel: bool = False,
) -> Plan:
    """Return the plan for a shaper.

    While the master is missing, what depends on it stays as it was. So an MTU that somebody set on
    the shaper by hand is touched when the master's changes, and not because the master was away.

    Args:
        spec: what is wanted.
        own: the shaper's device as netlink shows it; None while it is not seen yet.
        master: the device it is attached to; None when there is none, or none of use.
        group: the control group that it is for; None when there is none, or it is for all.
        before: the plan before this one.
        is_obstructed: there is a master, and no frame may go to it.
        is_tunnel: the master is one, or leads to one.
    """
    options = spec.options
    has_carrier = options.mean_bits > 0 and master is not None and _is_up(master)
    mtu = _mtu(own, master, before)
    framing = _framing(spec, master, before)
    settings = make_settings(options, mtu, framing)
    return Plan(
        state=_state(spec, own, master, group, is_obstructed=is_obstructed),
        has_carrier=has_carrier,
        mtu=mtu,
        ipv6_mtu=master.ipv6_mtu if master is not None else None,
        address=_address(master),
        # A frame that was taken from a device has the address of its neighbour already.
        has_neighbours=spec.capture is Capture.ROUTE and framing is Framing.ETHERNET,
        has_arp=_has_arp(spec, master, before),
        port_of=_port_of(master),
        framing=framing,
        is_tunnel=is_tunnel,
        alias=_alias(spec, master),
        speed_mbit=options.mean_bits // _MEGABIT if options.mean_bits else None,
        offload_bytes=offload_bytes(options, mtu, framing) if settings else 0,
        ring_frames=_ring_frames(spec.options, settings),
        settings=settings,
        capture=spec.capture,
        # Without a speed nothing is taken: whoever attaches by way of this device would be shut
        # out before a speed is set.
        is_capturing=(
            spec.capture is not Capture.ROUTE and options.mean_bits > 0 and master is not None
        ),
        group=group,
    )


def make_settings(
    options: Options, mtu: int, framing: Framing = Framing.ETHERNET
) -> Settings | None:
    """Fill every default in; None when no speed has been set.

    The bucket defaults to the largest frame plus the credit of a wake-up `_LATENESS_SECONDS` late
    (of one full frame at the least; the highest rate of a trace counts), and is never less than
    the largest frame, whose length a change of the MTU may have raised.
    """
    if not options.mean_bits:
        return None
    header_bytes = ETHERNET_HEADER_BYTES if framing is Framing.ETHERNET else 0
    cost = options.line.cost.behind(header_bytes)
    frame_bytes = mtu + header_bytes
    unit_bytes = max(
        frame_bytes, cost.bytes_of(frame_bytes), _offload_wire_bytes(options, mtu, framing)
    )
    lateness_bytes = int(_LATENESS_SECONDS * options.peak_bits) // 8
    default_bytes = unit_bytes + max(lateness_bytes, frame_bytes)
    burst_bytes = max(options.burst_bytes or default_bytes, unit_bytes)
    return Settings(
        rate_bits=options.mean_bits,
        unit_bytes=unit_bytes,
        burst_bytes=burst_bytes,
        queue=options.queue,
        limit_packets=options.limit_packets or _default_limit(options, frame_bytes),
        ticks_per_second=options.clock_hz if options.queue is Queue.CLASSIC else _TICKS_PER_SECOND,
        jiffy_ns=10**9 // options.clock_hz,
        idle_bytes=int(options.mean_bits * _IDLE_JIFFIES) // (8 * options.clock_hz),
        reserve_bytes=_reserve_bytes(options, frame_bytes, burst_bytes - unit_bytes),
        line=replace(options.line, cost=cost),
        playback=options.playback,
    )


def _reserve_bytes(options: Options, frame_bytes: int, surplus_bytes: int) -> int:
    """Return what is kept for sparse flows: of what is beyond a full frame, another at most."""
    if options.queue is not Queue.FQ_CODEL or not options.line.cost.is_none:
        return 0
    return max(0, min(frame_bytes, surplus_bytes - frame_bytes))


def check_burst(options: Options, mtu: int) -> None:
    """Raise InvalidValue when the bucket that was set cannot hold one full frame."""
    frame_bytes = mtu + ETHERNET_HEADER_BYTES
    if options.burst_bytes is not None and options.burst_bytes < frame_bytes:
        raise InvalidValue(
            f"burst {options.burst_bytes}b is less than one full frame of {frame_bytes}b"
        )


def offload_bytes(options: Options, mtu: int, framing: Framing = Framing.ETHERNET) -> int:
    """Return the largest offload frame this rate may carry, as gso_max_size; 0: none at all.

    Half a jiffy of the rate in whole segments, or half a millisecond if that is less, so that
    several make up what leaves together; and never more than half of a bucket that was set. A
    cooked packet has no virtio-net header to say that it is one.
    """
    if framing is Framing.COOKED or options.queue is Queue.CLASSIC or not options.mean_bits:
        return 0
    if not options.line.cost.is_none:  # each frame is charged for by itself
        return 0
    frames_a_second = max(options.clock_hz * _OFFLOAD_FRAMES_A_JIFFY, _OFFLOAD_FRAMES_A_SECOND)
    unit_bytes = options.least_bits // (8 * frames_a_second)
    if options.burst_bytes is not None:
        unit_bytes = min(unit_bytes, options.burst_bytes // 2)
    segments = unit_bytes // (mtu + ETHERNET_HEADER_BYTES)
    if segments < _MIN_OFFLOAD_FRAMES:
        return 0
    payload = segments * (mtu - _TCP_IPV4_HEADER_BYTES)
    return min(payload + _MAX_TCP_HEADER_BYTES, _MAX_GSO_BYTES)


def _offload_wire_bytes(options: Options, mtu: int, framing: Framing) -> int:
    """Return what the largest offload frame occupies on the wire: each segment has headers."""
    payload = offload_bytes(options, mtu, framing)
    if not payload:
        return 0
    segments = -(-payload // (mtu - _TCP_IPV6_HEADER_BYTES))
    return payload + segments * (ETHERNET_HEADER_BYTES + _TCP_IPV6_HEADER_BYTES)


def _default_limit(options: Options, frame_bytes: int) -> int:
    if options.queue is Queue.CLASSIC:
        return _CLASSIC_LIMIT_PACKETS
    seconds, least_packets = _DEFAULT_QUEUES[options.queue]
    frames = int(seconds * options.mean_bits) // (8 * frame_bytes)
    return min(max(frames, least_packets), _MAX_DEFAULT_LIMIT_PACKETS)


def _ring_frames(options: Options, settings: Settings | None) -> int:
    """Return what fits the queue; a datagram, too, unless a limit was set, which it then shows."""
    if settings is None:
        return _DETACHED_RING_FRAMES
    is_set = options.limit_packets is not None or options.queue is Queue.CLASSIC
    return min(max(settings.limit_packets, 0 if is_set else DATAGRAM_FRAMES), _MAX_RING_FRAMES)


def _state(
    spec: Spec, own: Link | None, master: Link | None, group: Group | None, *, is_obstructed: bool
) -> State:
    state = next(each for each, applies in _STATES.items() if applies(spec, own, master, group))
    is_unusable = is_obstructed and state is State.MASTER_MISSING
    return State.MASTER_UNUSABLE if is_unusable else state


def _framing(spec: Spec, master: Link | None, before: Plan | None) -> Framing:
    if master is not None:
        return _FRAMINGS.get(master.arphrd, Framing.BARE)
    return Framing.ETHERNET if before is None or spec.master is None else before.framing


def _has_arp(spec: Spec, master: Link | None, before: Plan | None) -> bool:
    if master is None:
        return before is None or spec.master is None or before.has_arp
    return not master.is_noarp


def _mtu(own: Link | None, master: Link | None, before: Plan | None) -> int:
    if master is not None:
        return min(master.mtu, _MAX_TAP_MTU)
    if before is not None:
        return before.mtu
    return own.mtu if own is not None else _DETACHED_MTU


def _is_up(link: Link) -> bool:
    return link.is_up and link.is_running


def _address(master: Link | None) -> bytes | None:
    """Return an address a TAP can bear: of six bytes, not multicast and not all zero."""
    if master is None or len(master.address) != ETHERNET_ADDRESS_BYTES:
        return None
    is_usable = any(master.address) and not master.address[0] & 1
    return master.address if is_usable else None


def _port_of(master: Link | None) -> int | None:
    return master.upper if master is not None and master.port_kind in AGGREGATES else None


def _alias(spec: Spec, master: Link | None) -> str:
    if spec.master is None:
        return f"{ALIAS_PREFIX}, detached"
    name = printable(master.ifname if master is not None else spec.master_now or spec.master)
    if not spec.options.mean_bits:
        return f"{ALIAS_PREFIX} of {name}, no speed set"
    return f"{ALIAS_PREFIX} of {name} at {format_rate(spec.options.mean_bits)}"
