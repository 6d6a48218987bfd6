"""The rows of rings on their way to a forwarder."""

from __future__ import annotations

import asyncio

from shaper.channel.messages import Begin, Bells, Rings
from tests.unit.instantly import instantly, until
from tests.unit.test_process import ProcessRig, rig

__all__ = ["rig"]


@instantly
async def test_the_rows_of_rings_come_before_the_board(rig: ProcessRig) -> None:
    """With the board it confines itself, and can map nothing any more."""
    descriptor = rig.board.descriptor
    async with rig.running(rings={0: descriptor, 2: descriptor}) as (_, process):
        assert process.orders() == [Rings(0), Rings(2), Begin(1)]
        assert all(each.descriptor is not None for each in process.heard[:3])


@instantly
async def test_rings_that_cannot_be_mapped_are_done_without(rig: ProcessRig) -> None:
    """No flow is capped then, and frames are forwarded all the same."""
    forwarder = rig.make(rings={0: rig.board.descriptor})
    process = rig.processes[-1]
    process.is_obedient = False
    starting = asyncio.create_task(forwarder.start())
    await until(lambda: len(process.heard) == 1)
    process.answer(process.heard[-1].serial, "cannot allocate memory")
    await until(lambda: len(process.heard) == 2)
    process.answer(process.heard[-1].serial)
    await starting
    assert process.orders() == [Rings(0), Begin(1)]
    process.is_obedient = True
    await forwarder.stop()


@instantly
async def test_bells_come_behind_the_rows(rig: ProcessRig) -> None:
    """Before the board, too."""
    descriptor = rig.board.descriptor
    async with rig.running(rings={1: descriptor}, bells={1: descriptor}) as (_, process):
        assert process.orders() == [Rings(1), Bells(1), Begin(1)]
