"""What others take off a device is put back, told once, and looked for in turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shaper.model import Capture
from shaper.supervisor import retaking
from shaper.supervisor.retaking import Retaking
from shaper.testing.memory_captor import MemoryCaptor
from tests.unit.instantly import instantly, until
from tests.unit.machine_rig import SPEC, Machine


@instantly
async def test_a_program_that_was_removed_is_put_back(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, with the device; one that is in place is left alone."""
    async with machine.running(replace(SPEC, capture=Capture.EGRESS)):
        captor = machine.supervisor.captor
        assert isinstance(captor, MemoryCaptor)
        await until(lambda: len(captor.taken) == 1)
        machine.supervisor.retaking.look()
        assert len(captor.every) == 1
        captor.every[0].was_removed = True
        machine.supervisor.retaking.look()
        await until(lambda: len(captor.taken) == 1)
        assert len(captor.every) == 2
        assert "shaper0: what took traffic of eth1 was removed by somebody else" in caplog.text


@instantly
async def test_looks_take_turns(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is time for one only, each is looked at all the same."""
    monkeypatch.setattr(retaking, "_LOOK_NS", -1)
    specs = [replace(SPEC, ifname=f"shaper{number}") for number in range(3)]
    async with machine.running(*specs):
        looked: list[int] = []

        class MemoryIntake:
            is_in_force = True

            def __init__(self, ifindex: int) -> None:
                self.ifindex = ifindex

            @property
            def is_in_place(self) -> bool:
                looked.append(self.ifindex)
                return True

        devices = machine.supervisor.devices
        with monkeypatch.context() as others:
            for device in devices.values():
                others.setattr(device, "intake", MemoryIntake(device.ifindex))
            turns = Retaking(lambda: devices, lambda _: None)
            for _ in range(6):
                turns.look()
        indices = sorted(device.ifindex for device in devices.values())
        assert looked == indices * 2
