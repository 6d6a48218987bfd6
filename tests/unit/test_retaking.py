"""What others take off a device is put back, told once, and looked for in turn."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from shaper.model import Capture
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


def test_looks_take_turns() -> None:
    """Where there is time for one only, each is looked at all the same."""
    looked: list[int] = []

    class MemoryCapture:
        is_in_force = True

        def __init__(self, ifindex: int) -> None:
            self._ifindex = ifindex

        @property
        def is_in_place(self) -> bool:
            looked.append(self._ifindex)
            return True

    devices: dict[str, Any] = {
        str(each): SimpleNamespace(ifindex=each, captured=MemoryCapture(each))
        for each in (3, 5, 4)
    }
    turns = Retaking(lambda: devices, lambda _: None, look_ns=-1)
    for _ in range(6):
        turns.look()
    assert looked == [3, 4, 5] * 2
