"""What is taken to one shaper follows the plan, on a kernel in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from shaper.desired.plan import make_plan
from shaper.errors import NotPermitted
from shaper.kernel.captor import WantedCapture
from shaper.model import Capture, Group, Options
from tests.unit.device_rig import DeviceRig
from tests.unit.instantly import instantly
from tests.unit.machine_rig import ETH1, SPEC

EGRESS = replace(SPEC, capture=Capture.EGRESS)
CGROUP = replace(SPEC, capture=Capture.CGROUP, cgroup="a")


@pytest.fixture
def rig() -> Iterator[DeviceRig]:
    """Return a kernel on which no device is made yet."""
    rig = DeviceRig()
    yield rig
    rig.sockets.close()


@instantly
async def test_what_is_taken_comes_up_by_itself(rig: DeviceRig) -> None:
    """Programs are on the master, frames are bound as captured, and no neighbour is asked for."""
    await rig.make(SPEC)
    rig.kernel.put(replace(rig.own, is_up=False))
    await rig.realize(EGRESS)
    assert rig.own.is_up
    assert rig.own.is_noarp
    assert rig.captor.taken == [WantedCapture(Capture.EGRESS, rig.index, ETH1.ifindex, True)]
    assert rig.captor.trusted == {rig.index}


@instantly
async def test_whoever_takes_it_down_lets_go_of_the_master(rig: DeviceRig) -> None:
    """Until it is up again, which it does not become by itself."""
    await rig.make(EGRESS)
    await rig.realize()
    rig.kernel.put(replace(rig.own, is_up=False))
    await rig.realize()
    assert rig.captor.taken == []
    assert not rig.own.is_up
    rig.kernel.put(replace(rig.own, is_up=True))
    await rig.realize()
    assert len(rig.captor.taken) == 1


@instantly
async def test_nothing_is_taken_without_a_speed_or_a_master(rig: DeviceRig) -> None:
    """A master that is made anew has programs of its own."""
    await rig.make(replace(EGRESS, options=Options()))
    assert rig.captor.taken == []
    await rig.realize(EGRESS)
    assert len(rig.captor.taken) == 1
    await rig.realize(EGRESS, None)
    assert rig.captor.taken == []
    await rig.realize(EGRESS, replace(ETH1, ifindex=99))
    assert [each.master for each in rig.captor.taken] == [99]


@instantly
async def test_what_does_not_change_is_left_in_place(rig: DeviceRig) -> None:
    """A new speed touches no program; another way replaces it."""
    await rig.make(EGRESS)
    await rig.realize()
    await rig.realize(replace(EGRESS, options=Options(rate_bits=1_000_000)))
    assert len(rig.captor.every) == 1
    await rig.realize(replace(EGRESS, capture=Capture.INGRESS))
    assert [each.capture for each in rig.captor.taken] == [Capture.INGRESS]
    await rig.realize(SPEC)
    assert rig.captor.taken == []


@instantly
async def test_a_program_moves_with_the_depth_of_its_group(rig: DeviceRig) -> None:
    """A group that comes has it placed, once; gone, or made anew at that depth, it stays."""
    device = await rig.make(CGROUP)
    groups = (None, Group("/g/a", 5), Group("/g/a", 6), None, Group("/g/a", 7), Group("/g/b/a", 8))
    places = []
    for group in groups:
        plan = make_plan(CGROUP, rig.own, ETH1, group)
        await device.realize(plan, rig.own, ETH1)
        assert len(rig.captor.taken) == 1
        assert rig.captor.every[-1].group == (group.path if group is not None else None)
        places.append(len(rig.captor.every))
    assert places == [1, 2, 2, 2, 2, 3]


@instantly
async def test_a_kernel_that_does_not_allow_it_is_told(rig: DeviceRig) -> None:
    """Nothing is taken, and the refusal is the command's answer."""
    device = await rig.make(SPEC)
    rig.captor.refusals = [NotPermitted("CAP_BPF is needed")]
    with pytest.raises(NotPermitted, match="CAP_BPF"):
        await rig.realize(EGRESS)
    assert not device.captured.is_in_force
    await rig.realize(EGRESS)
    assert device.captured.is_in_force


@instantly
async def test_a_shaper_that_goes_leaves_nothing(rig: DeviceRig) -> None:
    """Neither programs nor a socket that is known."""
    device = await rig.make(EGRESS)
    await rig.realize()
    await device.remove()
    assert rig.captor.taken == []
    assert rig.captor.trusted == set()
