"""Control groups are followed, and looking for them has a share of the time at most."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from shaper.model import Capture, Group, Spec
from shaper.supervisor.groups import Groups
from tests.unit.instantly import instantly

SPEC = Spec("shaper0", "eth1", capture=Capture.CGROUP, cgroup="backup.service")
LOOK_SECONDS = 0.02


class SlowLooks(list[float]):
    """When groups were looked for; each look takes a while and finds none."""

    def find(self, _: str, __: object) -> Group | None:
        """Look for a group."""
        loop: Any = asyncio.get_running_loop()
        self.append(loop.time())
        loop.stand_still(LOOK_SECONDS)
        return None


@instantly
async def test_events_of_others_do_not_keep_the_daemon_busy(tmp_path: Path) -> None:
    """A user makes and removes groups where the daemon watches, without end: it looks in turn."""
    looks = SlowLooks()
    groups = Groups(lambda _: None, lambda: tmp_path, looks.find)
    groups.find(7, SPEC)
    looks.clear()
    end = asyncio.get_running_loop().time() + 10
    while asyncio.get_running_loop().time() < end:
        (tmp_path / "x").mkdir()
        (tmp_path / "x").rmdir()
        await asyncio.sleep(0.01)
    groups.close()
    assert 5 <= len(looks) <= 10 / (LOOK_SECONDS * 50)


@instantly
async def test_a_change_is_told_at_once_and_the_second_one_soon(tmp_path: Path) -> None:
    """Looking takes next to nothing where there is little to look through."""
    (tmp_path / "system.slice").mkdir()
    told: list[int] = []
    groups = Groups(lambda ifindex: told.append(ifindex), lambda: tmp_path)
    groups.find(7, SPEC)
    (tmp_path / "system.slice" / "backup.service").mkdir()
    await asyncio.sleep(0.01)
    assert told
    groups.find(7, SPEC)
    told.clear()
    (tmp_path / "system.slice" / "backup.service").rmdir()
    await asyncio.sleep(0.01)
    assert told
    groups.forget(7)
    await asyncio.sleep(5)


@instantly
async def test_a_group_that_comes_and_goes_changes_a_shaper_seldom(tmp_path: Path) -> None:
    """Its owner may make and remove it without end: each change is work, a line and an event."""
    group = tmp_path / "system.slice" / "backup.service"
    group.parent.mkdir()
    told: list[float] = []
    loop = asyncio.get_running_loop()

    def changed(ifindex: int) -> None:
        told.append(loop.time())
        groups.find(ifindex, SPEC)

    groups = Groups(changed, lambda: tmp_path)
    groups.find(7, SPEC)
    begin = loop.time()
    while loop.time() < begin + 10:
        group.rmdir() if group.exists() else group.mkdir()
        await asyncio.sleep(0.01)
    groups.close()
    assert len([each for each in told if each < begin + 0.2]) >= 8
    assert len(told) <= 8 + 10 * 4 + 1


@instantly
async def test_every_new_group_is_put_in_force(tmp_path: Path) -> None:
    """A unit that crashes and is started again ten times a second changes a shaper seldom."""
    group = tmp_path / "system.slice" / "backup.service"
    group.parent.mkdir()
    placed: list[int] = []
    groups = Groups(
        lambda ifindex: groups.find(ifindex, SPEC) and None,
        lambda: tmp_path,
        put=lambda _, group: placed.append(group.inode),
    )
    groups.find(7, SPEC)
    kept = []
    for number in range(40):
        group.mkdir()
        await asyncio.sleep(0.02)
        assert placed[-1] == group.stat().st_ino
        group.rename(tmp_path / f"old{number}")  # so that its number is not given anew
        kept.append(placed[-1])
        await asyncio.sleep(0.08)
    groups.close()
    assert len(set(kept)) == len(kept)


@instantly
async def test_the_group_of_before_is_not_put_in_force(tmp_path: Path) -> None:
    """A shaper that is for another unit now has nothing to do with the first."""
    placed: list[str] = []
    (tmp_path / "system.slice").mkdir()
    groups = Groups(
        lambda _: None, lambda: tmp_path, put=lambda _, group: placed.append(group.path)
    )
    groups.find(7, SPEC)
    groups.find(7, replace(SPEC, cgroup="other.service"))
    for name in ("backup.service", "other.service"):
        (tmp_path / "system.slice" / name).mkdir()
    await asyncio.sleep(2)
    groups.close()
    assert placed == [str(tmp_path / "system.slice" / "other.service")]
