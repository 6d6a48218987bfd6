"""The pool: slots are shared out, and a forwarder that died is replaced at its place."""

from __future__ import annotations

import asyncio
import errno
from types import SimpleNamespace

import pytest

from shaper.errors import KernelRefused
from shaper.supervisor.pool import MAX_SHAPERS, Pool
from tests.unit.instantly import instantly, settle, until
from tests.unit.machine import MemoryForwarder

REFUSAL = KernelRefused("cannot start a forwarder: Resource temporarily unavailable", errno.EAGAIN)


class Rig:
    """A pool of two forwarders in memory.

    Attributes:
        started: every forwarder so far, in the order of their starts.
        replaced: what was told of replacements.
        failures: what the next starts fail with.
    """

    def __init__(self) -> None:
        self.pool = Pool(2)
        self.started: list[MemoryForwarder] = []
        self.replaced: list[tuple[int, MemoryForwarder]] = []
        self.failures: list[KernelRefused] = []

    def make(self, board: object, on_death: object) -> MemoryForwarder:
        """Stand in for the class Forwarder."""
        if self.failures:
            raise self.failures.pop(0)
        self.started.append(MemoryForwarder(board, on_death))
        return self.started[-1]

    async def start(self) -> Pool:
        """Start both."""
        await self.pool.start(self._on_replaced)
        return self.pool

    async def _on_replaced(self, position: int, forwarder: MemoryForwarder) -> None:
        self.replaced.append((position, forwarder))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Return a pool that has not started, whose clock is that of the event loop."""
    rig = Rig()
    monkeypatch.setattr("shaper.supervisor.pool.Forwarder", rig.make)
    clock = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
    monkeypatch.setattr("shaper.supervisor.pool.time", clock)
    return rig


def test_slots_are_cleared_and_come_back() -> None:
    """A slot has nothing of its last owner, and the last one given back is the next one taken."""
    pool = Pool(1)
    assert [pool.take_slot() for _ in range(3)] == [0, 1, 2]
    pool.board.row(1)[0] = 1500
    pool.free_slot(1)
    assert pool.take_slot() == 1
    assert set(pool.board.row(1)) == {0}


def test_there_are_so_many_slots_and_no_more() -> None:
    """The shaper that there is no row for is refused, and told the number."""
    pool = Pool(1)
    assert len({pool.take_slot() for _ in range(MAX_SHAPERS)}) == MAX_SHAPERS
    with pytest.raises(KernelRefused, match=f"{MAX_SHAPERS} shapers already") as refused:
        pool.take_slot()
    assert refused.value.errno == errno.ENOSPC


@instantly
async def test_shapers_take_turns_of_the_forwarders(rig: Rig) -> None:
    """Neighbouring slots belong to different forwarders, and a slot always to the same."""
    pool = await rig.start()
    assert [pool.forwarder_of(slot) for slot in range(4)] == rig.started * 2


@instantly
async def test_the_dead_is_replaced_and_the_other_left(rig: Rig) -> None:
    """The successor has the place of the dead one, and it is told which place that is."""
    pool = await rig.start()
    first, second = rig.started
    await settle()
    second.die()
    await until(lambda: rig.replaced)
    assert rig.replaced == [(1, rig.started[2])]
    assert [pool.forwarder_of(slot) for slot in range(2)] == [first, rig.started[2]]


@pytest.mark.parametrize(("lived_seconds", "is_at_once"), [(0.9, False), (1.1, True)])
@instantly
async def test_a_short_life_is_not_followed_at_once(
    rig: Rig, lived_seconds: float, is_at_once: bool
) -> None:
    """Where every start fails, starting must not eat the machine."""
    await rig.start()
    await asyncio.sleep(lived_seconds)
    rig.started[0].die()
    await asyncio.sleep(0.1)
    assert bool(rig.replaced) == is_at_once
    await until(lambda: rig.replaced)


@instantly
async def test_a_start_that_fails_is_tried_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine that has no room for a process now may have it later."""
    await rig.start()
    rig.failures = [REFUSAL, REFUSAL]
    rig.started[0].die()
    await until(lambda: rig.replaced)
    assert caplog.text.count("cannot replace a forwarder") == 2


@instantly
async def test_a_stopped_pool_starts_nobody(rig: Rig) -> None:
    """All are ended, and one that had just died is not followed by another."""
    pool = await rig.start()
    rig.started[0].die()
    pool.stop()
    await settle()
    assert rig.started[1].stopped
    assert len(rig.started) == 2
    rig.started[1].die()
    await settle()
    assert len(rig.started) == 2


@instantly
async def test_all_are_pinged(rig: Rig) -> None:
    """The pool is as alive as the last of them."""
    pool = await rig.start()
    await pool.ping()
    assert [forwarder.verbs() for forwarder in rig.started] == [["ping"], ["ping"]]
    rig.started[1].refusals["ping"] = [REFUSAL]
    with pytest.raises(KernelRefused):
        await pool.ping()
