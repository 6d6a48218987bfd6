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

from shaper.errors import ShaperError
from shaper.events import Event, Kind, tell
from shaper.kernel.links import Links
from shaper.kernel.tap import Tap
from shaper.model import Spec, State

# Chosen.
_RELEASE_SECONDS = 0.2  # what our own descriptors of a device that came back take to close

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
    """

    spec: Spec
    state: State
    reason: str
    tap: Tap | None = None
    last_refusal: str = ""

    @property
    def sentence(self) -> str:
        """What is told of it."""
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

    async def foreign_reason(self, ifname: str) -> str | None:
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
        for absent in tuple(self.values()):
            try:
                await self._take_up(absent)
            except ShaperError as error:
                if str(error) != absent.last_refusal:
                    _log.warning("%s: %s; trying again", absent.spec.ifname, error)
                absent.last_refusal = str(error)
                self._keeper.look_again()

    async def _take_up(self, absent: Absent) -> None:
        before = spec = absent.spec
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
        reason = await self._keeper.foreign_reason(spec.ifname)
        if reason is not None:
            absent.state, absent.reason = State.CONFLICT, reason
            return
        release = asyncio.get_running_loop().time() + _RELEASE_SECONDS
        await self._keeper.bring_in(spec, release)
        self.pop(before.ifname, None)
        tell(Event(Kind.RETURNED, spec.ifname), "%s is here again", spec.ifname)
        if spec != before:
            self._keeper.save()


def tell_removed(ifname: str) -> None:
    """Tell that a shaper's device was removed, and not by a command."""
    tell(Event(Kind.REMOVED, ifname), "%s was removed by somebody else", ifname)
