"""What is wanted is held against all that would be, whatever masters and groups are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shaper.errors import Busy, InvalidValue
from shaper.kernel import cgroup
from shaper.model import Capture, State
from shaper.supervisor.device import Device
from tests.unit.instantly import instantly, settle
from tests.unit.machine_rig import ETH1, SPEC, Machine

EGRESS = replace(SPEC, capture=Capture.EGRESS)
INGRESS = replace(EGRESS, ifname="shaper1", capture=Capture.INGRESS)


@instantly
async def test_a_second_name_of_a_master_is_the_same_master(machine: Machine) -> None:
    """An altname, and what it was renamed to."""
    machine.kernel.devices[2] = replace(ETH1, altnames=("enp1s0",))
    async with machine.running(replace(SPEC, master=None)) as commands:
        await commands.attach("shaper0", "eth1", capture="egress")
        with pytest.raises(Busy, match="shaper0 takes the egress of enp1s0 already"):
            await commands.attach("shaper1", "enp1s0", capture="egress")
        machine.change_link(2, ifname="wan")
        await settle()
        with pytest.raises(Busy, match="shaper0 takes the egress of wan already"):
            await commands.apply([replace(EGRESS, ifname="shaper1", master="wan")])


@instantly
async def test_a_group_is_one_by_unit_and_by_path(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There or not."""
    monkeypatch.setattr("shaper.supervisor.admission.mount_point", lambda: tmp_path)
    monkeypatch.setattr("shaper.supervisor.admission.check_group", lambda text: text)
    spec = replace(SPEC, capture=Capture.CGROUP, cgroup="backup.service")
    async with machine.running(spec) as commands:
        for _ in range(2):
            with pytest.raises(Busy, match=r"shaper0 takes the system.slice/backup.service"):
                await commands.attach(
                    "shaper1", "eth1", capture="cgroup", cgroup="system.slice/backup.service"
                )
            (tmp_path / "system.slice/backup.service").mkdir(parents=True, exist_ok=True)
    assert cgroup.place("/backup.service", lambda: tmp_path) == str(
        tmp_path / "system.slice/backup.service"
    )


@instantly
async def test_a_bare_name_may_be_meant_for_a_unit(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for below the root; a unit that is meant has a suffix."""
    monkeypatch.setattr("shaper.supervisor.admission.check_group", lambda text: text)
    async with machine.running() as commands:
        for number, (name, is_meant) in enumerate({"backup": 1, "a/b": 0, "x.mount": 0}.items()):
            await commands.attach(f"shaper{number}", "eth1", capture="cgroup", cgroup=name)
            await commands.detach(f"shaper{number}")
            await commands.set_speed(f"shaper{number}", 8000)
            machine.change_link(devices(machine)[number].ifindex, is_up=True)
            await settle()
            warnings = await commands.attach(
                f"shaper{number}", "eth1", capture="cgroup", cgroup=name
            )
            assert any(f"no control group {name} yet" in each for each in warnings)
            assert any("did you mean backup.service?" in each for each in warnings) == is_meant


@instantly
async def test_a_renamed_shaper_is_a_shaper(machine: Machine) -> None:
    """By any name, it receives nothing."""
    async with machine.running(EGRESS) as commands:
        (ifindex,) = (
            each.ifindex for each in machine.kernel.devices.values() if each.ifname == "shaper0"
        )
        machine.change_link(ifindex, altnames=("slow",))
        await settle()
        with pytest.raises(InvalidValue, match="slow is a shaper"):
            await commands.attach("shaper1", "slow", capture="ingress")


@instantly
async def test_two_shapers_exchange_what_they_take(machine: Machine) -> None:
    """In one change; what none of them takes any more is free."""
    async with machine.running(EGRESS, INGRESS) as commands:
        swapped = [
            replace(EGRESS, capture=Capture.INGRESS),
            replace(INGRESS, capture=Capture.EGRESS),
        ]
        await commands.apply(swapped)
        assert machine.saved() == swapped
        await commands.apply([replace(EGRESS, ifname="shaper2")], without=["shaper1"])
        with pytest.raises(Busy, match="shaper0 takes the ingress"):
            await commands.apply([replace(INGRESS, ifname="shaper3")])


@instantly
async def test_a_chain_is_turned_round(machine: Machine) -> None:
    """The inner shaper becomes the outer one in one change; a ring is refused all the same."""
    inner, outer = replace(SPEC, master="shaper1"), replace(SPEC, ifname="shaper1")
    turned = [replace(outer, master="shaper0"), replace(inner, master="eth1")]
    async with machine.running(outer, inner) as commands:
        await settle()
        await commands.apply(turned)
        await settle()
        masters = {device.spec.ifname: device.master_index for device in devices(machine)}
        assert masters["shaper0"] == ETH1.ifindex
        assert State.MASTER_UNUSABLE not in [machine.state("shaper0"), machine.state("shaper1")]
        with pytest.raises(InvalidValue, match="loop"):
            await commands.apply([replace(inner, master="shaper1")])
        with pytest.raises(InvalidValue, match="loop"):
            await commands.apply([turned[0], inner])


def devices(machine: Machine) -> list[Device]:
    """Return the shapers there are."""
    assert machine.supervisor is not None
    return list(machine.supervisor.devices.values())
