"""Control groups are followed, and looking for them has a share of the time at most."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from shaper.kernel import cgroup
from shaper.model import Capture, Group, Spec
from shaper.supervisor.groups import Groups
from tests.unit.instantly import instantly

SPEC = Spec("shaper0", "eth1", capture=Capture.CGROUP, cgroup="backup.service")
LOOK_SECONDS = 0.02


@pytest.fixture
def looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return when groups were looked for; each time takes a while."""
    done: list[float] = []

    def find(_: str) -> Group | None:
        loop: Any = asyncio.get_running_loop()
        done.append(loop.time())
        loop.stand_still(LOOK_SECONDS)
        return None

    monkeypatch.setattr(cgroup, "mount_point", lambda: tmp_path)
    monkeypatch.setattr(cgroup, "find", find)
    return done


@instantly
async def test_events_of_others_do_not_keep_the_daemon_busy(
    tmp_path: Path, looks: list[float]
) -> None:
    """A user makes and removes groups where the daemon watches, without end: it looks in turn."""
    groups = Groups(lambda _: None)
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
async def test_a_change_is_told_at_once_and_the_second_one_soon(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Looking takes next to nothing where there is little to look through."""
    monkeypatch.setattr(cgroup, "mount_point", lambda: tmp_path)
    (tmp_path / "system.slice").mkdir()
    told: list[int] = []
    groups = Groups(lambda ifindex: told.append(ifindex))
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
async def test_a_group_that_comes_and_goes_changes_a_shaper_seldom(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its owner may make and remove it without end: each change is work, a line and an event."""
    monkeypatch.setattr(cgroup, "mount_point", lambda: tmp_path)
    group = tmp_path / "system.slice" / "backup.service"
    group.parent.mkdir()
    told: list[float] = []
    loop = asyncio.get_running_loop()
    groups = Groups(lambda ifindex: (told.append(loop.time()), groups.find(ifindex, SPEC))[0])
    groups.find(7, SPEC)
    begin = loop.time()
    while loop.time() < begin + 10:
        group.rmdir() if group.exists() else group.mkdir()
        await asyncio.sleep(0.01)
    groups.close()
    assert len([each for each in told if each < begin + 0.2]) >= 8
    assert len(told) <= 8 + 10 * 4 + 1
