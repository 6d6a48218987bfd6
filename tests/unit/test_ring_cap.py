"""Which TAPs have a program that shares out their ring."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from shaper.errors import KernelRefused
from shaper.kernel.ring_caps import NO_CAPS, RingCaps
from shaper.model import Queue, Spec
from tests.unit.device_rig import DeviceRig, rate
from tests.unit.instantly import instantly
from tests.unit.machine_rig import SPEC

REFUSAL = KernelRefused(
    "cannot keep a flood from filling a shaper's ring: no memory", errno.ENOMEM
)


def queued(queue: Queue) -> Spec:
    """Return a spec of this queue, at 10 Mbit/s."""
    spec = rate(10_000_000)
    return replace(spec, options=replace(spec.options, queue=queue))


@instantly
async def test_a_fair_queue_has_one_and_others_do_not() -> None:
    """Nor has a shaper without a speed; what an earlier daemon left is taken off."""
    rig = DeviceRig()
    rig.caps.on["shaper0"] = 7, 7
    await rig.make(replace(SPEC, options=replace(SPEC.options, rate_bits=0)))
    assert rig.caps.on == {}
    for queue in (Queue.FQ_CODEL, Queue.FIFO, Queue.FQ_CODEL, Queue.CLASSIC):
        await rig.realize(queued(queue))
        assert rig.caps.on == ({"shaper0": (0, 0)} if queue is Queue.FQ_CODEL else {})
    rig.sockets.close()


@instantly
async def test_a_refusal_is_told_once_and_changes_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The shaper works, with a ring that floods may fill."""
    rig = DeviceRig()
    rig.caps.refusals = [REFUSAL]
    device = await rig.make(queued(Queue.FQ_CODEL))
    await rig.realize(rate(20_000_000))
    assert rig.caps.on == {}
    assert device.plan is not None
    assert [each.message for each in caplog.records].count(f"shaper0: {REFUSAL}") == 1
    rig.sockets.close()


@instantly
async def test_a_device_that_is_let_go_has_none() -> None:
    """Its row may be another's by then."""
    rig = DeviceRig()
    device = await rig.make(queued(Queue.FQ_CODEL))
    assert rig.caps.on == {"shaper0": (0, 0)}
    await device.let_go()
    assert rig.caps.on == {}
    rig.sockets.close()


def test_without_capability_there_are_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a sentence says what is missing."""

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("shaper.kernel.ring_caps.bpf.create_map", refuse)
    caps = RingCaps(2, 10)
    assert caps.rows == []
    assert caps.refusal.startswith("cannot keep a flood from filling a shaper's ring: ")
    assert caps.refusal.endswith("(all else works)")
    assert (NO_CAPS.rows, NO_CAPS.refusal) == ([], "")
