"""How the supervisor starts: with what was saved, after a crash, with names still held."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from shaper.desired.plan import ALIAS_PREFIX
from shaper.errors import Busy, KernelRefused
from shaper.model import State
from shaper.testing.memory_messages import new_tap, tap_attribute
from tests.unit.instantly import instantly, until
from tests.unit.machine_rig import SPEC, Machine
from tests.unit.test_reconciler import OTHER, up


@instantly
async def test_what_was_saved_is_made_true(machine: Machine) -> None:
    """A shaper starts with its master and speed, waits to be taken up, and is saved."""
    async with machine.running(SPEC):
        assert machine.state() == State.ADMIN_DOWN
        up(machine)
        await until(lambda: machine.state() == State.ACTIVE)
        assert machine.taps["shaper0"].has_carrier
        assert machine.saved() == [SPEC]


@instantly
async def test_a_crash_leaves_the_devices(machine: Machine) -> None:
    """What is abandoned is there to be adopted by a successor; a clean stop removes it."""
    async with machine.running(SPEC):
        index = machine.kernel.index_of("shaper0")
    assert index in machine.kernel.devices
    assert machine.forwarders[0].stopped
    async with machine.again().running(SPEC):
        assert machine.kernel.index_of("shaper0") == index
        await machine.supervisor.stop()
    assert index not in machine.kernel.devices
    assert machine.saved() == [SPEC]


def held_until(seconds: dict[str, float]) -> Callable[[str], Busy | None]:
    """Return for `MemoryKernel.holders` that a process holds TAPs until then, by name."""
    loop = asyncio.get_running_loop()

    def refusal(name: str) -> Busy | None:
        is_held = loop.time() < seconds.get(name, 0)
        return Busy(f"{name} is held by another process") if is_held else None

    return refusal


@instantly
async def test_a_dying_forwarder_is_waited_for(machine: Machine) -> None:
    """A TAP that the last forwarder has not closed yet is adopted once it has."""
    async with machine.running(SPEC):
        index = machine.kernel.index_of("shaper0")
    machine.edge.holders = held_until({"shaper0": 12.6})
    supervisor = machine.again().supervisor
    await supervisor.start([SPEC], inherited=["shaper0"])
    assert 12.6 <= asyncio.get_running_loop().time() < 13
    assert machine.kernel.index_of("shaper0") == index
    await supervisor.stop()


@instantly
async def test_the_wait_for_all_of_them_is_bounded(machine: Machine) -> None:
    """Seconds spent on one are not there for the next, and the start then fails."""
    machine.edge.holders = held_until({"shaper0": 20, "shaper1": 40})
    with pytest.raises(Busy, match="shaper1 is held"):
        await machine.supervisor.start([SPEC, OTHER], inherited=["shaper0", "shaper1"])
    assert asyncio.get_running_loop().time() < 31
    await machine.supervisor.abandon()


@instantly
async def test_whom_another_daemon_holds_is_not_waited_for(machine: Machine) -> None:
    """A device that no state of ours names is not one that we left behind."""
    machine.edge.holders = held_until({"shaper1": 1})
    with pytest.raises(Busy, match="shaper1 is held"):
        await machine.supervisor.start([SPEC, OTHER], inherited=["shaper0"])
    assert asyncio.get_running_loop().time() == 0
    await machine.supervisor.abandon()


@instantly
async def test_a_start_that_fails_leaves_nothing_new(machine: Machine) -> None:
    """A device nobody can have routes over goes again; an adopted one stays, and so the state."""
    async with machine.running(SPEC):
        pass
    saved = machine.saved()
    supervisor = machine.again().supervisor
    machine.edge.holders = held_until({"shaper2": 1})
    with pytest.raises(Busy, match="shaper2"):
        await supervisor.start([SPEC, OTHER, replace(SPEC, ifname="shaper2")])
    await supervisor.abandon()
    assert {link.ifname for link in machine.kernel.devices.values()} == {"eth1", "shaper0"}
    assert machine.saved() == saved


@pytest.mark.parametrize("group", [None, 1000])
@instantly
async def test_what_a_stranger_holds_keeps_no_other_from_running(
    machine: Machine, group: int | None
) -> None:
    """A TAP with an owner and our alias, but without our mark, is waited for."""
    machine.kernel.put(new_tap(9, "shaper0"))
    machine.kernel.aliases[9] = f"{ALIAS_PREFIX} held"
    machine.kernel.tap_marks[9] = tap_attribute(group)
    machine.edge.holders = held_until({"shaper0": 5})
    async with machine.running(SPEC, OTHER):
        assert machine.state("shaper1") == State.ADMIN_DOWN
        absent = machine.supervisor.absent["shaper0"]
        assert (absent.state, absent.sentence) == (
            State.CONFLICT,
            "shaper0 is held by another process; trying again",
        )
        assert set(machine.supervisor.specs()) == {"shaper0", "shaper1"}
        await until(lambda: "shaper0" in machine.supervisor.devices)
        assert 5 <= asyncio.get_running_loop().time() < 7


@pytest.mark.parametrize("when", ["made", "set up"])
@instantly
async def test_a_refusal_of_one_keeps_no_other_from_running(machine: Machine, when: str) -> None:
    """Whatever the kernel refuses of it; it is tried again, and not all the time."""
    refusal = KernelRefused("shaper0 exists already and is no shaper", errno.EINVAL)
    tries = 0

    def refuse(name: str) -> KernelRefused | None:
        nonlocal tries
        tries += name == "shaper0"
        return refusal if name == "shaper0" and tries < 3 else None

    if when == "made":
        machine.edge.holders = refuse
    else:
        machine.kernel.refusals["set_link"] = [refusal]
    async with machine.running(SPEC, OTHER):
        assert len(machine.supervisor.devices) == 1
        await until(lambda: not machine.supervisor.absent)
        assert 0.9 <= asyncio.get_running_loop().time() < 4
