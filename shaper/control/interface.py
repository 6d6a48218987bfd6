"""The varlink interface org.shaper: methods and types; `refusals` has its errors.

The interface description that `varlinkctl introspect` shows is made from these annotations, so
this module does not postpone their evaluation.
"""

from collections.abc import AsyncIterator
from typing import Protocol, TypedDict

from asyncvarlink import VarlinkInterface, varlinkmethod

from shaper import __version__
from shaper.control import refusals
from shaper.control.latest_events import EventsObject, LatestEvents
from shaper.events import Kind

INTERFACE = refusals.INTERFACE


class TraceObject(TypedDict):
    """What a rate follows: how, how long it is, how far it is, and what it offers now."""

    mode: str
    steps: int
    length_us: int
    at_us: int
    rate_bits: int


class OptionsObject(TypedDict):
    """The settings in force, defaults filled in."""

    rate_bits: int
    burst_bytes: int
    queue: str
    limit_packets: int
    hz: int
    line: dict[str, str]
    trace: TraceObject | None


class StatsObject(TypedDict):
    """The counters of one shaper."""

    sent_bytes: int
    sent_packets: int
    dropped: dict[str, int]
    overlimits: int
    backlog_bytes: int
    backlog_packets: int
    ecn_marks: int
    flows: int
    delay_ns: int | None
    delay_p99_ns: int | None
    achieved_bits: int | None
    busy_ns: int
    busy_bytes: int
    lately_bits: int | None
    lately_packets: int
    worst_bits: int | None
    achieved_since: int | None
    altered: dict[str, int]
    lately_burst_bytes: int | None
    worst_burst_bytes: int | None
    total_burst_bytes: int | None
    worst_delay_p99_ns: int | None
    total_delay_p99_ns: int | None


class AlarmObject(TypedDict):
    """What is wrong with a shaper, and since when (seconds since the epoch)."""

    alarm: str
    sentence: str
    since: int


class FindingObject(TypedDict):
    """What keeps a shaper from shaping: a stable id, how bad it is, and what mends it."""

    id: str
    severity: str
    sentence: str
    remedy: str | None


class ShaperObject(TypedDict):
    """One shaper, as `shapecfg -j show` prints it."""

    ifname: str
    ifindex: int
    link: str | None
    capture: str
    cgroup: str | None
    state: str
    operstate: str
    mtu: int
    options: OptionsObject
    stats: StatsObject
    warnings: list[str]
    alarms: list[AlarmObject]
    findings: list[FindingObject]


class ShownObject(TypedDict):
    """Shapers, the last event's number, how many there were of each kind, our version."""

    shapers: list[ShaperObject]
    serial: int
    events: dict[str, int]
    version: str


class AddedObject(TypedDict):
    """A shaper that was created."""

    ifname: str
    warnings: list[str]


class ShaperCommands(Protocol):
    """What the interface asks of the supervisor. Every method may raise errors.ShaperError."""

    def show(self, ifname: str | None) -> list[ShaperObject]:
        """Return one shaper, or all of them, without waiting for anything."""
        ...

    async def attach(
        self,
        ifname: str,
        master: str,
        *,
        capture: str | None,
        cgroup: str | None,
        may_replace: bool,
    ) -> list[str]:
        """Bind a shaper to a master, for what is routed to it or taken there; return warnings."""
        ...

    async def detach(self, ifname: str) -> list[str]:
        """Unbind a shaper; return warnings."""
        ...

    async def set_speed(self, ifname: str, rate_bits: int) -> list[str]:
        """Set the rate; return warnings."""
        ...

    async def add(self, ifname: str | None) -> AddedObject:
        """Create a shaper; return its name and warnings."""
        ...

    async def delete(self, ifname: str) -> list[str]:
        """Remove a shaper; return warnings."""
        ...

    async def save_configuration(self) -> str:
        """Return a configuration file of everything as it is now."""
        ...

    async def restore_configuration(self, configuration: str) -> list[str]:
        """Make everything be as a configuration file says, all or none; return warnings."""
        ...

    async def set_options(
        self,
        ifname: str,
        *,
        queue: str | None,
        limit_packets: int | None,
        burst_bytes: int | None,
        hz: int | None,
        line: dict[str, str] | None,
        trace: str | None,
        profile: str | None,
    ) -> list[str]:
        """Change what is not None, 0 meaning the default; return warnings."""
        ...


class ShaperInterface(VarlinkInterface, name=INTERFACE):
    """Shaper devices: bound to a master, given a speed, and used by route.

    Reading is open to everyone; changing needs root or membership of the service's group.
    """

    errors = refusals.ERRORS

    def __init__(self, shapers: ShaperCommands, latest: LatestEvents) -> None:
        self._shapers = shapers
        self._latest = latest

    @varlinkmethod
    def Show(self, *, ifname: str | None = None) -> ShownObject:  # noqa: N802 - varlink
        """Return one shaper, or all of them, and the number of the last event."""
        latest = self._latest
        shapers = self._shapers.show(ifname)
        return ShownObject(
            shapers=shapers, serial=latest.serial, events=latest.counts(), version=__version__
        )

    @varlinkmethod(delay_generator=False)
    async def Monitor(  # noqa: N802 - varlink
        self, *, after: int | None = None
    ) -> AsyncIterator[EventsObject]:
        """Return events as they happen, those after a number first; needs `more`."""
        async for batch in self._latest.follow(after):
            yield batch

    @varlinkmethod(return_parameter="warnings")
    async def Attach(  # noqa: N802 - varlink
        self,
        *,
        ifname: str,
        master: str,
        capture: str | None = None,
        cgroup: str | None = None,
    ) -> list[str]:
        """Bind a shaper to a master. It keeps a speed that was set before.

        With a capture other than route a shaperN that is not there is created.
        """
        return await self._shapers.attach(
            ifname, master, capture=capture, cgroup=cgroup, may_replace=False
        )

    @varlinkmethod(return_parameter="warnings")
    async def Replace(  # noqa: N802 - varlink
        self,
        *,
        ifname: str,
        master: str,
        capture: str | None = None,
        cgroup: str | None = None,
    ) -> list[str]:
        """Bind a shaper to a master, whatever it is bound to; the same again changes nothing."""
        return await self._shapers.attach(
            ifname, master, capture=capture, cgroup=cgroup, may_replace=True
        )

    @varlinkmethod(return_parameter="warnings")
    async def Detach(self, *, ifname: str) -> list[str]:  # noqa: N802 - varlink
        """Unbind a shaper; the device stays, without carrier."""
        return await self._shapers.detach(ifname)

    @varlinkmethod(return_parameter="warnings")
    async def SetSpeed(self, *, ifname: str, rate_bits: int) -> list[str]:  # noqa: N802 - varlink
        """Set the rate in bits per second, live: no frame is lost, no burst granted."""
        return await self._shapers.set_speed(ifname, rate_bits)

    @varlinkmethod
    async def Add(self, *, ifname: str | None = None) -> AddedObject:  # noqa: N802 - varlink
        """Create a shaper; without a name it takes the first free shaperN."""
        return await self._shapers.add(ifname)

    @varlinkmethod(return_parameter="warnings")
    async def Delete(self, *, ifname: str) -> list[str]:  # noqa: N802 - varlink
        """Remove a shaper, and its addresses and routes with it."""
        return await self._shapers.delete(ifname)

    @varlinkmethod(return_parameter="warnings")
    async def SetOptions(  # noqa: N802 - varlink
        self,
        *,
        ifname: str,
        queue: str | None = None,
        limit_packets: int | None = None,
        burst_bytes: int | None = None,
        hz: int | None = None,
        line: dict[str, str] | None = None,
        trace: str | None = None,
        profile: str | None = None,
    ) -> list[str]:
        """Change what is given, live. 0 puts limit_packets or burst_bytes back to the default."""
        return await self._shapers.set_options(
            ifname,
            queue=queue,
            limit_packets=limit_packets,
            burst_bytes=burst_bytes,
            hz=hz,
            line=line,
            trace=trace,
            profile=profile,
        )

    @varlinkmethod(return_parameter="configuration")
    async def Save(self) -> str:  # noqa: N802 - varlink
        """Return everything as it is now, as the text of a shaper.toml."""
        return await self._shapers.save_configuration()

    @varlinkmethod(return_parameter="warnings")
    async def Restore(self, *, configuration: str) -> list[str]:  # noqa: N802 - varlink
        """Make everything be as a shaper.toml says, all or none. Other shapers are removed."""
        return await self._shapers.restore_configuration(configuration)


READING_METHODS = frozenset({f"{INTERFACE}.Show", f"{INTERFACE}.Monitor"})
EVENTS = {
    f"{INTERFACE}.Add": Kind.ADDED,
    f"{INTERFACE}.Attach": Kind.ATTACHED,
    f"{INTERFACE}.Delete": Kind.DELETED,
    f"{INTERFACE}.Detach": Kind.DETACHED,
    f"{INTERFACE}.Replace": Kind.ATTACHED,
    f"{INTERFACE}.Restore": Kind.RESTORED,
    f"{INTERFACE}.SetOptions": Kind.OPTIONS,
    f"{INTERFACE}.SetSpeed": Kind.SPEED,
}
READING_INTERFACE = "org.varlink.service"
