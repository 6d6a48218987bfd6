"""The shapers that are wanted and have no device here now, and how they come back.

A foreign device bears the name (`conflict`), or the shaper's own device was moved to another
network namespace (`away`). Either is looked at whenever devices change. The setting stays: only
removing the device, there or here, strikes it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Protocol

from shaper.errors import Busy, KernelRefused, ShaperError
from shaper.events import Event, Kind, tell
from shaper.kernel.links import Links
from shaper.kernel.netlink import Netlink
from shaper.kernel.tap import Tap
from shaper.model import Spec, State
from shaper.supervisor import ownership

# Chosen.
_RELEASE_SECONDS = 0.2  # what our own descriptors of a device that came back take to close
_REFUSED_SECONDS = 1.0  # from one try to the next, as each may make a device and remove it

_log = logging.getLogger(__name__)


@dataclass
class Absent:
    """What is wanted, and why it is not there.

    Attributes:
        spec: what the shaper should be.
        state: CONFLICT: a foreign device has its name; AWAY: its device is in another namespace.
        reason: a sentence without its end.
        tap: the device while it is away.
        last_refusal: what was last logged of it, so that trying again is not.
        is_refused: its device could not be had, or not be set up, and that is tried again.
        not_before: when, in the event loop's time.
    """

    spec: Spec
    state: State
    reason: str
    tap: Tap | None = None
    last_refusal: str = ""
    is_refused: bool = False
    not_before: float = 0

    @property
    def sentence(self) -> str:
        """What is told of it."""
        if self.is_refused:
            return f"{self.reason}; trying again"
        what = "name is free" if self.state is State.CONFLICT else "device is back"
        return f"{self.reason}: waiting until the {what}"

    def name_here(self, links: Links) -> str | None:
        """Return what a device that was away is called now that it is back; None if it is not."""
        name = self.tap.name() if self.tap is not None else None
        if self.tap is None or name is None or not self.tap.is_here():
            return None
        return name if links.name(name) is not None else None

    def is_deleted(self) -> bool:
        """Whether a device that was away is gone for good."""
        return self.tap is not None and self.tap.name() is None

    def let_go(self, *, is_removed: bool) -> None:
        """Close the device that is away, or remove it."""
        if self.tap is not None and is_removed:
            self.tap.remove()
        elif self.tap is not None:
            self.tap.close()
        self.tap = None


class DeviceMaker(Protocol):
    """What the absentees ask of the supervisor."""

    links: Links
    netlink: Netlink

    def foreign_reason(self, ifname: str) -> str | None:
        """Return why a name cannot be had, or None."""
        ...

    async def bring_in(self, spec: Spec, release: float) -> None:
        """Make or adopt a device and make true what is wanted of it."""
        ...

    def save(self) -> list[str]:
        """Write the state file."""
        ...

    def look_again(self) -> None:
        """Have `take_up` called again soon."""
        ...


class Absentees(dict[str, Absent]):
    """The shapers without a device, by name.

    Args:
        keeper: which makes devices.
    """

    def __init__(self, keeper: DeviceMaker) -> None:
        super().__init__()
        self._keeper = keeper

    def miss(self, absent: Absent, *, is_told: bool = True) -> None:
        """Take one in."""
        self[absent.spec.ifname] = absent
        if is_told:
            tell(Event(Kind.ABSENT, absent.spec.ifname), "%s", absent.sentence)

    def strike(self, ifname: str) -> None:
        """Forget one, and remove its device wherever that is."""
        absent = self.pop(ifname, None)
        if absent is not None:
            absent.let_go(is_removed=True)

    def leave(self, *, is_removed: bool) -> None:
        """Let go of all, or remove their devices."""
        for absent in self.values():
            absent.let_go(is_removed=is_removed)
        self.clear()

    async def take_up(self) -> None:
        """Make or adopt again what can be now."""
        now = asyncio.get_running_loop().time()
        for absent in tuple(self.values()):
            if now < absent.not_before:
                self._keeper.look_again()
                continue
            try:
                await self._take_up(absent)
            except ShaperError as error:
                self._refused(absent, str(error))

    async def bring_in(self, spec: Spec, release: float) -> None:
        """Have one made at the start, or take it in: what is refused of it keeps it from no other.

        Raises Busy when it is the shaper of another daemon.

        Args:
            spec: what it should be.
            release: until when one with our mark may still be held by a forwarder before.
        """
        for until in (0.0, release):
            try:
                await self._make_or_miss(spec, until)
                return
            except KernelRefused as error:
                self._refuse(spec, str(error))
                return
            except Busy as error:
                link = self._keeper.links.name(spec.ifname)
                if not ownership.is_anothers(self._keeper.netlink, link):
                    self._refuse(spec, str(error))
                    return
                if until == release:
                    raise

    async def _make_or_miss(self, spec: Spec, release: float) -> None:
        if (reason := self._keeper.foreign_reason(spec.ifname)) is None:
            await self._keeper.bring_in(spec, release)
        else:
            self.miss(Absent(spec, State.CONFLICT, reason))

    def _refuse(self, spec: Spec, reason: str) -> None:
        absent = Absent(spec, State.CONFLICT, reason, last_refusal=reason, is_refused=True)
        self.miss(absent)
        self._refused(absent, reason)

    def _refused(self, absent: Absent, reason: str) -> None:
        if reason != absent.last_refusal:
            _log.warning("%s: %s; trying again", absent.spec.ifname, reason)
        absent.last_refusal = reason
        if absent.is_refused:
            absent.reason = reason
            absent.not_before = asyncio.get_running_loop().time() + _REFUSED_SECONDS
        self._keeper.look_again()

    async def _take_up(self, absent: Absent) -> None:
        before, release = absent.spec, 0.0
        spec = before
        if absent.is_deleted():
            tell_removed(spec.ifname)
            self.strike(spec.ifname)
            self._keeper.save()
            return
        if absent.tap is not None:
            name = absent.name_here(self._keeper.links)
            if name is None:
                return
            absent.let_go(is_removed=False)
            spec = replace(spec, ifname=name)
            release = asyncio.get_running_loop().time() + _RELEASE_SECONDS
        reason = self._keeper.foreign_reason(spec.ifname)
        if reason is not None:
            absent.state, absent.reason, absent.is_refused = State.CONFLICT, reason, False
            return
        await self._keeper.bring_in(spec, release)
        self.pop(before.ifname, None)
        tell(Event(Kind.RETURNED, spec.ifname), "%s is here again", spec.ifname)
        if spec != before:
            self._keeper.save()


def tell_removed(ifname: str) -> None:
    """Tell that a shaper's device was removed, and not by a command."""
    tell(Event(Kind.REMOVED, ifname), "%s was removed by somebody else", ifname)
