"""The pool: slots are shared out, and a forwarder that died is replaced at its place."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from shaper.channel.board import MAX_SHAPERS
from shaper.channel.messages import Notice, ReadFailed
from shaper.errors import KernelRefused
from shaper.supervisor.pool import Pool
from shaper.testing.memory_ring_caps import MemoryRingCaps
from tests.unit.instantly import instantly, settle, until
from tests.unit.machine_rig import MemoryForwarder

REFUSAL = KernelRefused("cannot start a forwarder: Resource temporarily unavailable", errno.EAGAIN)


class SlowForwarder(MemoryForwarder):
    """One that takes its time to start."""

    async def start(self) -> None:
        """Be there a while later."""
        await asyncio.sleep(0.2)


class PoolRig:
    """A pool of two forwarders in memory.

    Attributes:
        started: every forwarder so far, in the order of their starts.
        replaced: what was told of replacements.
        rings: what each was given of rings.
        failures: what the next starts fail with.
        stillborn: how many of the next are gone when they have started.
        notices: what was told of shapers.
        kind: of those that are made from now on.
    """

    def __init__(self) -> None:
        self.pool = Pool(2, make=self.make)
        self.started: list[MemoryForwarder] = []
        self.replaced: list[tuple[int, MemoryForwarder]] = []
        self.failures: list[Exception] = []
        self.stillborn = 0
        self.rings: list[dict[int, int]] = []
        self.notices: list[Notice] = []
        self.failures_of_replacing: list[Exception] = []
        self.kind = MemoryForwarder

    def make(
        self, *arguments: Any, is_standby: bool, rings: dict[int, int], bells: dict[int, int]
    ) -> Any:
        """Make a forwarder in memory, or fail."""
        self.rings.append(rings)
        if self.failures:
            raise self.failures.pop(0)
        self.started.append(self.kind(*arguments, is_standby=is_standby))
        self.started[-1].is_silent = self.stillborn > 0
        self.stillborn -= 1
        return self.started[-1]

    def standbys(self) -> list[MemoryForwarder]:
        """Return those that stand by, or did when they ended."""
        return [each for each in self.started if each.is_standby]

    async def start(self) -> Pool:
        """Start both."""
        await self.pool.start(self._on_replaced, self.notices.append)
        return self.pool

    async def _on_replaced(self, position: int, forwarder: MemoryForwarder) -> None:
        self.replaced.append((position, forwarder))
        if self.failures_of_replacing:
            raise self.failures_of_replacing.pop(0)


@pytest.fixture
def rig() -> PoolRig:
    """Return a pool that has not started."""
    return PoolRig()


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
async def test_shapers_take_turns_of_the_forwarders(rig: PoolRig) -> None:
    """Neighbouring slots belong to different forwarders, and a slot always to the same."""
    pool = await rig.start()
    assert [pool.forwarder_of(slot) for slot in range(4)] == rig.started * 2


@instantly
async def test_forwarders_go_on_after_a_rest(rig: PoolRig) -> None:
    """But one that is silent might not see its channel close, and is ended."""
    pool = await rig.start()
    rig.started[1].is_silent = True
    await pool.rest()
    assert [each.stopped for each in rig.started] == [False, True]


@instantly
async def test_the_dead_is_replaced_and_the_other_left(rig: PoolRig) -> None:
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
    rig: PoolRig, lived_seconds: float, is_at_once: bool
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
    rig: PoolRig, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it fails with, a defect included, it is tried again; the log tells of it once."""
    await rig.start()
    rig.failures = [REFUSAL, OSError(errno.EMFILE, "Too many open files"), REFUSAL]
    rig.started[0].die()
    await until(lambda: rig.replaced)
    assert caplog.text.count("cannot replace a forwarder") == 1
    rig.failures = [ValueError("a defect")]
    rig.started[1].die()
    await until(lambda: len(rig.replaced) == 2)


@instantly
async def test_a_hand_over_that_fails_starts_no_third(rig: PoolRig) -> None:
    """The successor is kept, although what was to be told of it raised."""
    await rig.start()
    rig.failures_of_replacing = [ValueError("a defect")]
    await asyncio.sleep(2)
    rig.started[0].die()
    await asyncio.sleep(30)
    assert len(rig.replaced) == 1
    assert len(rig.started) - len(rig.standbys()) == 3


@instantly
async def test_events_of_other_shapers_make_no_sense(rig: PoolRig) -> None:
    """A forwarder tells of its own shapers, and of no others."""
    await rig.start()
    assert rig.started[1].on_notice is not None
    assert rig.started[1].on_notice(ReadFailed(3, errno.EIO))
    for slot in (2, -1, MAX_SHAPERS + 1, 1 << 70):
        assert not rig.started[1].on_notice(ReadFailed(slot, errno.EIO))
    assert rig.notices == [ReadFailed(3, errno.EIO)]


@instantly
async def test_a_silent_forwarder_stalls_its_shapers(rig: PoolRig) -> None:
    """Those of the other one are not stalled."""
    pool = await rig.start()
    rig.started[1].is_silent = True
    assert [pool.is_stalled(slot) for slot in range(4)] == [False, True, False, True]


@instantly
async def test_a_stopped_pool_starts_nobody(rig: PoolRig) -> None:
    """All are ended, and one that had just died is not followed by another."""
    pool = await rig.start()
    rig.started[0].die()
    await pool.stop()
    await settle()
    assert rig.started[1].stopped
    assert len(rig.started) == 2
    rig.started[1].die()
    await settle()
    assert len(rig.started) == 2


@instantly
async def test_all_are_pinged(rig: PoolRig) -> None:
    """The pool is as alive as the last of them."""
    pool = await rig.start()
    await pool.ping()
    assert [forwarder.verbs() for forwarder in rig.started] == [["ping"], ["ping"]]
    rig.started[1].refusals["ping"] = [REFUSAL]
    with pytest.raises(KernelRefused):
        await pool.ping()


@instantly
async def test_one_stands_by_and_takes_over_at_once(rig: PoolRig) -> None:
    """It has the place of the dead one, its notices are those of its shapers, another follows."""
    pool = await rig.start()
    await asyncio.sleep(5)
    (ready,) = rig.standbys()
    assert ready.on_notice is not None
    assert not ready.on_notice(ReadFailed(1, errno.EIO))
    rig.started[1].die()
    await settle()
    assert rig.replaced == [(1, ready)]
    assert pool.forwarder_of(1) is ready
    assert ready.on_notice(ReadFailed(1, errno.EIO))
    assert not ready.on_notice(ReadFailed(0, errno.EIO))
    await asyncio.sleep(5)
    (another,) = rig.standbys()
    assert another is not ready
    ready.die()
    await settle()
    assert rig.replaced[1:] == [(1, another)]


@instantly
async def test_each_has_the_rows_of_its_own_rings(rig: PoolRig) -> None:
    """One that stands by has all of them, until it knows whose place it takes."""
    rig.pool.ring_caps = MemoryRingCaps()
    rig.pool.ring_caps.rows = [70, 71]
    await rig.start()
    await asyncio.sleep(5)
    assert rig.rings == [{0: 70}, {1: 71}, {0: 70, 1: 71}]
    (ready,) = rig.standbys()
    rig.started[1].die()
    await settle()
    assert ready.last("serve") == {"place": 1}


@instantly
async def test_no_two_forwarders_share_a_pulse(rig: PoolRig) -> None:
    """However many have died, standing by or serving."""
    await rig.start()
    for number in range(12):
        await asyncio.sleep(5)
        alive = [each for each in rig.started if not each.stopped]
        assert len({each.pulse for each in alive}) == len(alive) == 3
        dead = rig.standbys()[0] if number % 2 else next(e for e in alive if not e.is_standby)
        dead.die()
        dead.stopped = True


@instantly
async def test_what_stands_by_is_one_of_ours_and_ends_with_the_pool(rig: PoolRig) -> None:
    """It has no rights at the control socket; over a restart it is not kept."""
    for end in (Pool.stop, Pool.rest):
        pool = await rig.start()
        await asyncio.sleep(5)
        (ready,) = rig.standbys()
        ready.pid = 4711
        assert pool.is_forwarder(4711)
        await end(pool)
        assert ready.stopped
        assert not pool.is_forwarder(4711)
        await asyncio.sleep(5)
        assert rig.standbys() == [ready]
        rig.pool, rig.started = Pool(2, make=rig.make), []


@instantly
async def test_a_silent_one_that_stands_by_is_passed_over(rig: PoolRig) -> None:
    """A start takes longer, and is sure."""
    pool = await rig.start()
    await asyncio.sleep(5)
    (hung,) = rig.standbys()
    hung.is_silent = True
    rig.started[0].die()
    await settle()
    assert pool.forwarder_of(0) not in (hung, rig.started[0])
    hung.die()
    await asyncio.sleep(5)
    assert len(rig.standbys()) == 2


@instantly
async def test_one_that_cannot_be_started_to_stand_by_is_missed_by_nothing(
    rig: PoolRig, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again, more and more rarely, and the shapers are served meanwhile."""
    await rig.start()
    rig.failures = [OSError(errno.EMFILE, "Too many open files"), ValueError("a defect")]
    await asyncio.sleep(30)
    assert not rig.failures
    assert len(rig.standbys()) == 1
    assert caplog.text.count("no forwarder stands by") == 2


@instantly
async def test_the_last_word_of_a_forwarder_may_be_that_it_has_started(rig: PoolRig) -> None:
    """One that is gone by then is followed by another."""
    pool = await rig.start()
    rig.stillborn = 3
    rig.started[0].die()
    await until(lambda: rig.replaced)
    assert not pool.is_stalled(0)
    assert rig.stillborn < 0


@instantly
async def test_one_that_is_being_started_is_waited_for(rig: PoolRig) -> None:
    """To start another beside it would take longer."""
    pool = await rig.start()
    rig.kind = SlowForwarder
    await asyncio.sleep(1.1)
    (ready,) = rig.standbys()
    rig.started[0].die()
    await until(lambda: rig.replaced)
    assert pool.forwarder_of(0) is ready
    assert len(rig.started) == 3
