"""A shaper without a device keeps its setting, and comes back as soon as it can."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

import pytest

from shaper.errors import Busy, InvalidValue, KernelRefused, NoSuchShaper
from shaper.kernel.tap import MARK
from shaper.model import Options, State
from shaper.testing.memory_messages import tap_attribute
from tests.unit.instantly import instantly, settle, until
from tests.unit.machine_rig import ETH1, SPEC, Machine

OTHER = replace(SPEC, ifname="shaper1")
DETACHED = replace(SPEC, master=None)
REFUSAL = KernelRefused("the kernel is busy", errno.EBUSY)


@pytest.mark.parametrize("alias", ["", "uplink", "shaper of eth1"])
@pytest.mark.parametrize("is_renamed", [True, False])
@instantly
async def test_a_foreign_device_is_waited_for(
    machine: Machine, alias: str, *, is_renamed: bool
) -> None:
    """Whatever its alias says; the others run, and the name is taken once it is free."""
    machine.kernel.devices[9] = replace(ETH1, ifindex=9, ifname="shaper0")
    machine.kernel.aliases[9] = alias
    async with machine.running(SPEC, OTHER):
        assert machine.state("shaper1") == State.ADMIN_DOWN
        assert machine.supervisor.absent["shaper0"].state == State.CONFLICT
        assert set(machine.taps) == {"shaper1"}
        assert {spec.ifname for spec in machine.saved()} == {"shaper0", "shaper1"}
        if is_renamed:
            machine.change_link(9, ifname="wan")
        else:
            machine.kernel.take_away(9)
        await until(lambda: "shaper0" in machine.supervisor.devices)
        await until(lambda: machine.state() == State.ADMIN_DOWN)
        assert not machine.supervisor.absent


@instantly
async def test_an_altname_of_a_device_is_taken_too(machine: Machine) -> None:
    """No device can get a name that another has as its altname."""
    machine.kernel.devices[2] = replace(ETH1, altnames=("shaper0",))
    async with machine.running(SPEC):
        assert "another name of eth1" in machine.supervisor.absent["shaper0"].reason


@pytest.mark.parametrize("group", [MARK, None])
@instantly
async def test_a_device_is_ours_whatever_its_alias(machine: Machine, group: int | None) -> None:
    """By its mark, or by its owner and a name of the state file where there is no mark."""
    async with machine.running(SPEC):
        pass
    index = machine.kernel.index_of("shaper0")
    machine.kernel.aliases[index] = "uplink of the office"
    machine.kernel.tap_marks[index] = tap_attribute(group)
    await machine.again().supervisor.start([SPEC], inherited=["shaper0"])
    assert machine.supervisor.devices["shaper0"].was_adopted
    assert machine.kernel.index_of("shaper0") == index
    await machine.supervisor.stop()


@instantly
async def test_a_tap_without_an_owner_is_foreign(machine: Machine) -> None:
    """Somebody else made it, even if the state file has its name."""
    machine.kernel.devices[9] = replace(ETH1, ifindex=9, ifname="shaper0")
    machine.kernel.tap_marks[9] = tap_attribute(group=None, owner=None)
    await machine.supervisor.start([SPEC], inherited=["shaper0"])
    assert machine.supervisor.absent["shaper0"].state == State.CONFLICT
    await machine.supervisor.stop()
    assert 9 in machine.kernel.devices


@pytest.mark.parametrize("ifname", ["shaper0", "renamed"])
@instantly
async def test_a_move_to_another_namespace_strikes_nothing(machine: Machine, ifname: str) -> None:
    """The setting stays, and the device is taken up again when it is back, by any name."""
    async with machine.running(SPEC):
        index = machine.kernel.index_of("shaper0")
        machine.kernel.move_away(index)
        await until(lambda: "shaper0" in machine.supervisor.absent)
        assert machine.supervisor.absent["shaper0"].state == State.AWAY
        assert machine.saved() == [SPEC]
        machine.kernel.move_back(index, ifname=ifname)
        await until(lambda: ifname in machine.supervisor.devices)
        assert machine.supervisor.devices[ifname].ifindex == index
        assert machine.saved() == [replace(SPEC, ifname=ifname)]


@instantly
async def test_a_device_deleted_elsewhere_is_struck(machine: Machine) -> None:
    """Removing it is a wish wherever it is; a ping finds out."""
    async with machine.running(SPEC):
        index = machine.kernel.index_of("shaper0")
        machine.kernel.move_away(index)
        await until(lambda: "shaper0" in machine.supervisor.absent)
        del machine.kernel.elsewhere[index]
        await machine.supervisor.ping()
        assert machine.saved() == []


@instantly
async def test_a_stop_takes_what_is_away_too(machine: Machine) -> None:
    """No stop leaves a device behind, in any namespace."""
    async with machine.running(SPEC):
        machine.kernel.move_away(machine.kernel.index_of("shaper0"))
        await until(lambda: "shaper0" in machine.supervisor.absent)
        await machine.supervisor.stop()
        assert not machine.kernel.elsewhere
    assert machine.saved() == [SPEC]


@instantly
async def test_a_stop_refuses_what_comes_later_and_finishes_what_has_begun(
    machine: Machine,
) -> None:
    """Calls that wait are refused with a sentence; the state file is as people left it."""
    async with machine.running(SPEC, replace(SPEC, ifname="shaper1")) as commands:
        gate = machine.forwarders[-1].gates["configure"] = asyncio.Event()
        loop = asyncio.get_running_loop()
        begun = loop.create_task(commands.set_speed("shaper0", 8000))
        await settle()
        late = [loop.create_task(commands.add(None)) for _ in range(20)]
        await settle()
        stop = loop.create_task(machine.supervisor.stop())
        await settle()
        gate.set()
        await stop
        assert await begun == []
        refusals = await asyncio.gather(*late, return_exceptions=True)
        assert {type(each) for each in refusals} == {Busy}
        assert "stopping" in str(refusals[0])
        with pytest.raises(Busy, match="stopping"):
            await commands.delete("shaper0")
    assert {link.ifname for link in machine.kernel.devices.values()} == {"eth1"}
    assert {spec.ifname: spec.options.rate_bits for spec in machine.saved()} == {
        "shaper0": 8000,
        "shaper1": 64_000,
    }


@instantly
async def test_commands_reach_a_shaper_that_waits_for_its_name(machine: Machine) -> None:
    """Its setting can be changed, shown and removed like any other; nothing foreign is touched."""
    machine.kernel.devices[9] = replace(ETH1, ifindex=9, ifname="shaper0")
    async with machine.running(DETACHED) as commands:
        await commands.attach("shaper0", "eth1")
        await commands.set_speed("shaper0", 8000)
        (shown,) = commands.show("shaper0")
        assert (shown["state"], shown["link"], shown["ifindex"]) == ("conflict", "eth1", 0)
        assert "shaper0 exists already and is no shaper" in shown["warnings"][0]
        assert [each["ifname"] for each in commands.show(None)] == ["shaper0"]
        (saved,) = machine.saved()
        assert (saved.master, saved.options.rate_bits) == ("eth1", 8000)
        with pytest.raises(Busy, match="shaper already"):
            await commands.add("shaper0")
        assert (await commands.add(None))["ifname"] == "shaper1"
        await commands.delete("shaper0")
        assert [spec.ifname for spec in machine.saved()] == ["shaper1"]
    assert 9 in machine.kernel.devices


@instantly
async def test_applying_removes_last_and_all_or_none(machine: Machine) -> None:
    """What is to go is there until all else is done."""
    other = replace(SPEC, ifname="shaper1")
    async with machine.running(SPEC, other) as commands:
        bad = replace(SPEC, ifname="shaper2", master="shaper2", options=Options(8, 100))
        with pytest.raises((InvalidValue, NoSuchShaper)):
            await commands.apply([bad], without=["shaper7"])
        machine.forwarders[0].refusals["open"] = [REFUSAL]
        with pytest.raises(KernelRefused):
            await commands.apply([replace(SPEC, ifname="shaper2")], without=["shaper1"])
        assert set(machine.supervisor.devices) == {"shaper0", "shaper1"}
        await commands.apply([replace(SPEC, ifname="shaper2")], without=["shaper1"], hz=100)
        assert set(machine.supervisor.devices) == {"shaper0", "shaper2"}
        assert {spec.options.hz for spec in machine.supervisor.specs().values()} == {100}
