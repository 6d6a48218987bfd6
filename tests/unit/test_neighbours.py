"""What a shaper asks for is resolved by its master, and what the master learns is the shaper's."""

from __future__ import annotations

import errno
from dataclasses import replace
from socket import AF_INET, AF_INET6

import pytest

from shaper.errors import KernelRefused
from shaper.testing.memory_messages import MemoryMessage
from tests.unit.instantly import instantly
from tests.unit.machine_rig import ETH1
from tests.unit.neighbours_rig import (
    FAILED,
    INCOMPLETE,
    MAC,
    MASTER,
    OTHER_MAC,
    OTHER_MASTER,
    OTHER_SHAPER,
    PEER,
    PEER6,
    PERMANENT,
    REACHABLE,
    SHAPER,
    STALE,
    NeighboursRig,
)


@pytest.fixture
def rig() -> NeighboursRig:
    """Return neighbours that nothing is delegated of yet."""
    return NeighboursRig()


@pytest.mark.parametrize("destination", [PEER, PEER6])
@instantly
async def test_asked_used_learned_written(rig: NeighboursRig, destination: str) -> None:
    """An address the shaper wants is used on its master, and what that learns is written."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask(destination=destination)
    assert rig.has(MASTER, destination) == (INCOMPLETE, None)
    assert rig.has(SHAPER, destination) is None
    await rig.learn(REACHABLE, MAC, destination=destination)
    assert rig.has(SHAPER, destination) == (REACHABLE, MAC)


@pytest.mark.parametrize("state", [REACHABLE, STALE, PERMANENT])
@instantly
async def test_what_the_master_knows_already_is_written_at_once(
    rig: NeighboursRig, state: int
) -> None:
    """A valid entry of the master need not change by being used, so no event is waited for."""
    rig.kernel.set_entry(MASTER, PEER, state, MAC)
    await rig.handle()
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    assert rig.has(SHAPER) == (REACHABLE, MAC)


@pytest.mark.parametrize(
    ("destination", "masters", "solicited"),
    [
        (PEER6, {MASTER}, [(MASTER, ETH1.address, "fd00::1", PEER6)]),
        (PEER6, {OTHER_MASTER}, []),
        (PEER, {MASTER}, []),
    ],
)
@instantly
async def test_a_master_that_cannot_ask_is_asked_for(
    rig: NeighboursRig,
    destination: str,
    masters: set[int],
    solicited: list[tuple[int, bytes, str, str]],
) -> None:
    """An IPv6 address is solicited in place of a master without a link-local one, and no other."""
    rig.kernel.without_link_local = masters
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask(destination=destination)
    assert rig.solicited == solicited


@instantly
async def test_a_change_is_followed(rig: NeighboursRig) -> None:
    """When the peer gets another address, the shaper's entry follows without being asked for."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    await rig.learn(REACHABLE, MAC)
    await rig.learn(REACHABLE, OTHER_MAC)
    assert rig.has(SHAPER) == (REACHABLE, OTHER_MAC)


@instantly
async def test_a_failure_is_followed_and_asked_for_anew(rig: NeighboursRig) -> None:
    """A failure of the master is the shaper's; the next asking starts from the beginning."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    await rig.learn(FAILED, None)
    assert rig.has(SHAPER) == (FAILED, None)
    await rig.learn(REACHABLE, MAC)
    assert rig.has(SHAPER) == (FAILED, None), "nobody wants it any more"
    await rig.ask()
    assert rig.has(SHAPER) == (REACHABLE, MAC)


@instantly
async def test_what_nobody_asked_for_is_left_alone(rig: NeighboursRig) -> None:
    """Entries of the master are written for those that wanted them, on that master, alone."""
    rig.neighbours.delegate(SHAPER, MASTER)
    rig.neighbours.delegate(OTHER_SHAPER, OTHER_MASTER)
    await rig.ask(OTHER_SHAPER)
    await rig.learn(REACHABLE, MAC, MASTER)
    assert rig.has(SHAPER) is None
    assert rig.has(OTHER_SHAPER) is None


@instantly
async def test_both_shapers_of_a_master_are_served(rig: NeighboursRig) -> None:
    """What two shapers want of one master is written for both."""
    for shaper in (SHAPER, OTHER_SHAPER):
        rig.neighbours.delegate(shaper, MASTER)
        await rig.ask(shaper)
    await rig.learn(REACHABLE, MAC)
    assert rig.has(SHAPER) == rig.has(OTHER_SHAPER) == (REACHABLE, MAC)


@instantly
async def test_an_entry_the_kernel_dropped_is_forgotten(rig: NeighboursRig) -> None:
    """A removed entry of the shaper is not written again by the next change on the master."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    await rig.learn(REACHABLE, MAC)
    rig.kernel.neighbour_event("RTM_DELNEIGH", SHAPER, PEER)
    await rig.handle()
    await rig.learn(REACHABLE, OTHER_MAC)
    assert rig.has(SHAPER) is None


@instantly
async def test_an_entry_the_master_dropped_is_still_wanted(rig: NeighboursRig) -> None:
    """Only the shaper's own entry counts: the master's may come and go."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    await rig.learn(REACHABLE, MAC)
    rig.kernel.neighbour_event("RTM_DELNEIGH", MASTER, PEER)
    await rig.handle()
    await rig.learn(REACHABLE, OTHER_MAC)
    assert rig.has(SHAPER) == (REACHABLE, OTHER_MAC)


@pytest.mark.parametrize("state", [INCOMPLETE, REACHABLE, STALE])
@instantly
async def test_a_new_master_resolves_anew(rig: NeighboursRig, state: int) -> None:
    """What the shaper has of another master, or asked in vain, is asked of the new one."""
    rig.kernel.set_entry(SHAPER, PEER, state, MAC if state != INCOMPLETE else None)
    rig.neighbours.delegate(SHAPER, OTHER_MASTER)
    rig.neighbours.resolve_all(SHAPER)
    await rig.handle()
    assert rig.has(OTHER_MASTER) == (INCOMPLETE, None)
    await rig.learn(REACHABLE, OTHER_MAC, OTHER_MASTER)
    assert rig.has(SHAPER) == (REACHABLE, OTHER_MAC)


@pytest.mark.parametrize("state", [FAILED, PERMANENT])
@instantly
async def test_what_is_settled_is_not_asked_for(rig: NeighboursRig, state: int) -> None:
    """An administrator's permanent entry stays, and a failed one is the kernel's to ask for."""
    rig.kernel.set_entry(SHAPER, PEER, state, MAC)
    rig.neighbours.delegate(SHAPER, MASTER)
    rig.neighbours.resolve_all(SHAPER)
    await rig.handle()
    assert rig.has(MASTER) is None
    assert rig.has(SHAPER) == (state, MAC)


@instantly
async def test_the_old_master_is_not_listened_to(rig: NeighboursRig) -> None:
    """After a move what the former master learns is none of the shaper's."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    rig.neighbours.delegate(SHAPER, OTHER_MASTER)
    await rig.learn(REACHABLE, MAC, MASTER)
    assert rig.has(SHAPER) is None


@instantly
async def test_telling_the_same_master_again_forgets_nothing(rig: NeighboursRig) -> None:
    """A delegation that is repeated keeps what was asked for under it."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.learn(REACHABLE, MAC)
    assert rig.has(SHAPER) == (REACHABLE, MAC)


@instantly
async def test_without_a_delegation_nothing_is_done(rig: NeighboursRig) -> None:
    """A device that is no shaper, or one released, is not answered."""
    rig.neighbours.delegate(SHAPER, MASTER)
    rig.neighbours.release(SHAPER)
    await rig.ask()
    rig.neighbours.resolve_all(SHAPER)
    rig.neighbours.release(SHAPER)
    assert rig.kernel.requests == []


@instantly
async def test_a_refresh_makes_up_for_both_sides(rig: NeighboursRig) -> None:
    """After lost events an answer of the master is written, and a lost question is asked."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    rig.kernel.set_entry(MASTER, PEER, REACHABLE, MAC)
    rig.kernel.set_entry(SHAPER, "10.0.0.3", INCOMPLETE)
    rig.neighbours.refresh()
    assert rig.has(SHAPER) == (REACHABLE, MAC)
    assert rig.has(MASTER, "10.0.0.3") == (INCOMPLETE, None)


@instantly
async def test_a_refusal_is_logged_and_survived(
    rig: NeighboursRig, caplog: pytest.LogCaptureFixture
) -> None:
    """A neighbour that cannot be asked for is told in the log; the next one is served."""
    rig.neighbours.delegate(SHAPER, MASTER)
    rig.kernel.refusals["replace_neighbour"] = [KernelRefused("table is full", errno.ENOBUFS)]
    await rig.ask()
    assert "table is full" in caplog.text
    await rig.ask()
    assert rig.has(MASTER) == (INCOMPLETE, None)


@instantly
async def test_a_shaper_that_cannot_be_written_holds_up_no_other(rig: NeighboursRig) -> None:
    """The device of one shaper may be gone before its delegation is."""
    for shaper in (SHAPER, OTHER_SHAPER):
        rig.neighbours.delegate(shaper, MASTER)
        await rig.ask(shaper)
    del rig.kernel.devices[SHAPER]
    await rig.learn(REACHABLE, MAC)
    assert rig.has(OTHER_SHAPER) == (REACHABLE, MAC)


@instantly
async def test_other_families_are_left_alone(rig: NeighboursRig) -> None:
    """A bridge's forwarding entries come as neighbour events too."""
    rig.neighbours.delegate(SHAPER, MASTER)
    fields = {"ifindex": SHAPER, "family": 7, "state": REACHABLE}
    rig.kernel.tell(MemoryMessage("RTM_GETNEIGH", {"NDA_DST": PEER}, **fields))
    await rig.handle()
    assert rig.kernel.requests == []


@instantly
async def test_user_space_alone_solicits(rig: NeighboursRig) -> None:
    """A prepared device asks nobody by itself, in either family."""
    rig.neighbours.prepare(SHAPER)
    for family in (AF_INET, AF_INET6):
        probes = rig.kernel.probes[SHAPER, family]
        assert probes["ucast_probes"] == probes["mcast_probes"] == 0
        assert probes["app_probes"] > 0


@instantly
async def test_a_device_without_ipv6_is_prepared_all_the_same(rig: NeighboursRig) -> None:
    """Where the kernel or a small MTU leaves IPv6 out there is nothing of it to set."""
    rig.kernel.devices[SHAPER] = replace(ETH1, ifindex=SHAPER, mtu=1000)
    rig.neighbours.prepare(SHAPER)
    assert (SHAPER, AF_INET) in rig.kernel.probes


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EINVAL])
@instantly
async def test_a_device_that_would_solicit_is_refused(rig: NeighboursRig, number: int) -> None:
    """IPv4 is always there, so a refusal of it is no sign of a missing family."""
    rig.kernel.refusals["set_neighbour_table"] = [KernelRefused("no", number)]
    with pytest.raises(KernelRefused):
        rig.neighbours.prepare(SHAPER)
