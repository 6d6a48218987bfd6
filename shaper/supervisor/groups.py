"""The control groups that shapers are for: found by name, and followed when they are made anew.

A unit that is started again has a new group. The directory it is in tells of that at once
(inotify); once a second they are looked for all the same, as a directory that is not there yet
cannot tell. Users may own directories that are looked through, so looking has a share of the time:
after a look there is none for 50 times as long as it took. What is found changes shapers, which
costs more: four times a second, or eight in a row.
A new group in the place of the old one is put in force at once: nothing is looked through for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from shaper.errors import KernelRefused
from shaper.kernel import cgroup
from shaper.model import Capture, Group, Spec

# Chosen.
_LOOK_SECONDS = 1.0
_LOOKS_SHARE = 50
_MOST_CHANGES = 8  # in a row: a unit that is started anew is two
_CHANGE_SECONDS = 0.25
_NO_INODE = 0  # no directory has this number


class Groups:
    """The groups of all shapers.

    Args:
        on_change: is told the index of a shaper when its group is another one, or gone.
        mounted: returns where the groups are.
        find: looks for a group there.
        put: puts a new group of a shaper in force, and does nothing else.
    """

    def __init__(
        self,
        on_change: Callable[[int], None],
        mounted: Callable[[], Path] = cgroup.mount_point,
        find: Callable[[str, Callable[[], Path]], Group | None] = cgroup.find,
        put: Callable[[int, Group], None] = lambda _, __: None,
    ) -> None:
        self._put = put
        self._in_force: dict[int, Group] = {}  # by shaper: the last there was, at its place
        self._mounted = mounted
        self._find = find
        self._on_change = on_change
        self._followed: dict[int, tuple[str, Group | None]] = {}  # by shaper
        self._watch: cgroup.Watch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._listening: asyncio.TimerHandle | None = None
        self._rests_until = 0.0
        self._paid_at = 0.0  # when looks that found something are paid for, each a quarter second

    def find(self, ifindex: int, spec: Spec) -> Group | None:
        """Return the group that a shaper is for, and follow it from now on; None if there is none.

        One that is for no group is followed no more.
        """
        if spec.capture is not Capture.CGROUP or spec.cgroup is None:
            self.forget(ifindex)
            return None
        if self._followed.get(ifindex, (None,))[0] != spec.cgroup:
            self._in_force.pop(ifindex, None)
        self._follow(spec.cgroup)
        group = self._find(spec.cgroup, self._mounted)
        self._followed[ifindex] = spec.cgroup, group
        if group is not None:
            self._in_force[ifindex] = group
        else:
            self._await(ifindex, spec.cgroup)
        return group

    def forget(self, ifindex: int) -> None:
        """Follow the group of a shaper no more."""
        self._followed.pop(ifindex, None)
        self._in_force.pop(ifindex, None)
        if not self._followed:
            self.close()

    def close(self) -> None:
        """Follow nothing any more."""
        self._followed.clear()
        self._in_force.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch)
            self._watch.close()
        if self._listening is not None:
            self._listening.cancel()
        self._listening = None
        self._timer = self._watch = None

    def _follow(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        if self._watch is None:
            self._watch = cgroup.Watch(self._mounted)
            loop.add_reader(self._watch, self._look_soon)
        if self._timer is None:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look)
        self._watch.add(name)

    def _await(self, ifindex: int, name: str) -> None:
        """Know where the group of a shaper is likely to come, unless there was one."""
        if ifindex in self._in_force:
            return
        with contextlib.suppress(KernelRefused):
            self._in_force[ifindex] = Group(cgroup.usual_place(name, self._mounted), _NO_INODE)

    def _look_soon(self) -> None:
        """Put what has come in force, and look for the rest as soon as it is time."""
        if self._watch is None:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        loop.remove_reader(self._watch)
        self._watch.clear()
        self._catch_up()
        now = loop.time()
        self._listening = loop.call_at(now + _LOOKS_SHARE * (now - began), self._listen)
        self._look_at(self._rests_until)

    def _listen(self) -> None:
        self._listening = None
        if self._watch is not None:
            asyncio.get_running_loop().add_reader(self._watch, self._look_soon)

    def _catch_up(self) -> None:
        """Put every group in force that is another one at the place of the last."""
        for ifindex, before in self._in_force.items():
            group = cgroup.at(before.path)
            if group not in (None, before):
                self._in_force[ifindex] = group
                self._put(ifindex, group)

    def _look(self) -> None:
        """Tell of every group that is not what it was."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self._watch is not None:
            self._watch.clear()
            self._catch_up()
            if self._listening is None:
                self._listen()
        has_changed = False
        for ifindex, (name, before) in list(self._followed.items()):
            if self._find(name, self._mounted) != before:
                has_changed = True
                self._on_change(ifindex)
            if self._watch is not None:
                self._watch.add(name)
        now = loop.time()
        self._paid_at = max(self._paid_at, began) + _CHANGE_SECONDS * has_changed
        debt_until = self._paid_at - _MOST_CHANGES * _CHANGE_SECONDS
        self._rests_until = max(now + _LOOKS_SHARE * (now - began), debt_until)
        if self._followed:
            self._look_at(max(began + _LOOK_SECONDS, self._rests_until))

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._look)
