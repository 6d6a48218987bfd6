"""One change of what is wanted, of any number of shapers: all of it or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from shaper.model import Spec, State
from shaper.supervisor.absent import Absent
from shaper.supervisor.reconciler import Supervisor


async def change_shapers(
    supervisor: Supervisor, *specs: Spec, without: Iterable[str] = (), may_wait: bool = False
) -> list[str]:
    """Make shapers be as these say, new ones too, and save it; return warnings.

    Raises ShaperError when one of them cannot be so, or what is declared beside it. Those that
    were made are then removed, and the others are wanted as before, which is made true as after an
    event.

    Args:
        supervisor: its lock is held.
        specs: what shapers should be.
        without: shapers to remove, once all else is done.
        may_wait: a new one waits for its name while a foreign device bears it.
    """
    async with AsyncExitStack() as undoing:
        undoing.callback(supervisor.save)  # `reconcile` saves as well, where a device is gone
        declaring = _declaring_anew(specs, supervisor.specs())
        if declaring:
            undoing.callback(supervisor.keeper.put_back)
            supervisor.keeper.hold()
        for spec in specs:  # before one of them is made true, as masters may be exchanged
            _want(supervisor, spec, undoing)
        for spec in specs:
            await _change_one(supervisor, spec, undoing, may_wait=may_wait)
        if declaring:
            supervisor.keeper.settle(declaring)
        undoing.pop_all()
    for ifname in without:
        await _strike(supervisor, ifname)
    return supervisor.save()


def _declaring_anew(specs: Iterable[Spec], known: Mapping[str, Spec]) -> list[str]:
    """Return which of these declare something else than before."""
    return [
        spec.ifname
        for spec in specs
        if spec.network != known.get(spec.ifname, Spec(spec.ifname)).network
    ]


def _want(supervisor: Supervisor, spec: Spec, undoing: AsyncExitStack) -> None:
    device = supervisor.devices.get(spec.ifname)
    if device is not None and spec.ifname not in supervisor.absent:
        undoing.callback(supervisor.put_back, device, device.spec)
        supervisor.want(device, spec)


async def _change_one(
    supervisor: Supervisor, spec: Spec, undoing: AsyncExitStack, *, may_wait: bool
) -> None:
    device, absent = supervisor.devices.get(spec.ifname), supervisor.absent.get(spec.ifname)
    if absent is not None:
        undoing.callback(supervisor.absent.miss, absent, is_told=False)
        supervisor.absent.miss(replace(absent, spec=spec), is_told=False)
        return
    if (
        device is None
        and may_wait
        and (reason := supervisor.foreign_reason(spec.ifname)) is not None
    ):
        undoing.callback(supervisor.absent.pop, spec.ifname, None)
        supervisor.absent.miss(Absent(spec, State.CONFLICT, reason))
        return
    if device is None:
        device = await supervisor.create(spec)
        undoing.push_async_callback(supervisor.discard, device)
    await supervisor.reconcile(device)


async def _strike(supervisor: Supervisor, ifname: str) -> None:
    """Remove a shaper for good; its device too, if it has one."""
    supervisor.absent.strike(ifname)
    device = supervisor.devices.get(ifname)
    if device is not None:
        if supervisor.is_kept:  # another holds the TAP as well, so closing it removes nothing
            supervisor.netlink.remove_links([device.ifindex])
        await device.remove()
        supervisor.forget(device)
