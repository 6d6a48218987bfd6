"""Entries of a shaper last, agree with the master's, and are held to them."""

from __future__ import annotations

import errno
from dataclasses import replace
from socket import AF_INET

import pytest

from shaper.errors import KernelRefused
from shaper.network import PROTOCOL
from shaper.testing.memory_messages import link_message
from tests.unit.instantly import instantly
from tests.unit.machine_rig import ETH1
from tests.unit.neighbours_rig import (
    EXT_LEARNED,
    INCOMPLETE,
    MAC,
    MASTER,
    NOARP,
    OTHER_MAC,
    PEER,
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


@instantly
async def test_an_entry_does_not_count_in_the_limits_of_the_table(rig: NeighboursRig) -> None:
    """What is written is marked as learned by others, and with our protocol."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    await rig.learn(REACHABLE, MAC)
    entry = rig.kernel.entries[SHAPER, AF_INET, PEER]
    assert entry["flags"] == EXT_LEARNED
    assert entry.get_attr("NDA_PROTOCOL") == PROTOCOL


@instantly
async def test_an_entry_that_the_master_forgot_by_age_is_left_to_the_kernel(
    rig: NeighboursRig,
) -> None:
    """It stays, is asked for when it is used again, and counts in the limits of the table."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    await rig.learn(STALE, MAC)
    rig.kernel.neighbour_event("RTM_DELNEIGH", MASTER, PEER)
    await rig.handle()
    assert rig.has(SHAPER) == (STALE, MAC)
    assert rig.kernel.entries[SHAPER, AF_INET, PEER]["flags"] == 0
    assert rig.has(MASTER) is None


@pytest.mark.parametrize("state", [REACHABLE, PERMANENT, NOARP])
@instantly
async def test_an_entry_that_was_flushed_is_resolved_anew(rig: NeighboursRig, state: int) -> None:
    """A good entry of the master goes when its address or its ARP changes, or somebody says so."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    await rig.learn(state, MAC)
    rig.kernel.neighbour_event("RTM_DELNEIGH", MASTER, PEER)
    await rig.handle()
    assert rig.has(MASTER) == (INCOMPLETE, None)
    await rig.learn(REACHABLE, OTHER_MAC)
    assert rig.has(SHAPER) == (REACHABLE, OTHER_MAC)


@instantly
async def test_a_port_is_resolved_where_its_answers_arrive(rig: NeighboursRig) -> None:
    """The bridge of a bond of the master has the entries, as soon as the master is a port."""
    rig.neighbours.delegate(SHAPER, MASTER)
    for ifindex, upper, kind in ((MASTER, 7, "bond"), (7, 8, "bridge"), (8, 9, "vrf")):
        rig.kernel.devices[ifindex] = replace(
            ETH1, ifindex=ifindex, ifname=f"d{ifindex}", upper=upper, port_kind=kind
        )
        rig.links.update(link_message(rig.kernel.devices[ifindex]))
    await rig.ask()
    assert rig.has(MASTER) is None
    await rig.learn(REACHABLE, MAC, 8)
    assert rig.has(SHAPER) == (REACHABLE, MAC)


@instantly
async def test_a_check_finds_what_is_so(rig: NeighboursRig) -> None:
    """Entries that agree with the master's, or wait for an answer, are left alone."""
    rig.neighbours.delegate(SHAPER, MASTER)
    await rig.ask()
    assert rig.neighbours.check() == 0
    await rig.learn(REACHABLE, MAC)
    rig.kernel.requests.clear()
    assert rig.neighbours.check() == 0
    assert len(rig.kernel.requests) == 1, "one dump is all it costs"


@instantly
async def test_a_check_puts_right_what_differs(rig: NeighboursRig) -> None:
    """An address of which the change, the answer or the question was lost is made good for."""
    rig.neighbours.delegate(SHAPER, MASTER)
    for destination in (PEER, "10.0.0.3"):
        await rig.ask(destination=destination)
    await rig.learn(REACHABLE, MAC)
    rig.kernel.set_entry(SHAPER, "10.0.0.3", INCOMPLETE)
    rig.kernel.set_entry(SHAPER, "10.0.0.4", INCOMPLETE)
    rig.kernel.set_entry(MASTER, PEER, STALE, OTHER_MAC)
    rig.kernel.set_entry(MASTER, "10.0.0.3", REACHABLE, MAC)
    assert rig.neighbours.check() == 3
    assert rig.has(SHAPER) == (REACHABLE, OTHER_MAC)
    assert rig.has(SHAPER, "10.0.0.3") == (REACHABLE, MAC)
    assert rig.has(MASTER, "10.0.0.4") == (INCOMPLETE, None)


@pytest.mark.parametrize(("unused", "flags"), [(10, EXT_LEARNED), (60 * 100, 0)])
@instantly
async def test_a_check_leaves_old_entries_to_the_kernel(
    rig: NeighboursRig, unused: int, flags: int
) -> None:
    """An entry that neither the master has nor traffic uses may be forgotten by the kernel."""
    rig.neighbours.delegate(SHAPER, MASTER)
    rig.kernel.set_entry(
        SHAPER,
        PEER,
        STALE,
        MAC,
        flags=EXT_LEARNED,
        protocol=PROTOCOL,
        unused_centiseconds=unused,
    )
    assert rig.neighbours.check() == 0
    assert rig.has(SHAPER) == (STALE, MAC)
    assert rig.kernel.entries[SHAPER, AF_INET, PEER]["flags"] == flags


@instantly
async def test_a_check_leaves_entries_of_an_administrator_alone(rig: NeighboursRig) -> None:
    """What does not bear our protocol is not ours."""
    rig.neighbours.delegate(SHAPER, MASTER)
    rig.kernel.set_entry(MASTER, PEER, REACHABLE, MAC)
    rig.kernel.set_entry(SHAPER, PEER, STALE, OTHER_MAC)
    assert rig.neighbours.check() == 0
    assert rig.has(SHAPER) == (STALE, OTHER_MAC)


@instantly
async def test_a_refusal_that_repeats_is_told_once(
    rig: NeighboursRig, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel asks every second until it is answered; the log does not fill with it."""
    rig.neighbours.delegate(SHAPER, MASTER)
    for _ in range(5):
        rig.kernel.refusals["replace_neighbour"] = [KernelRefused("table is full", errno.ENOBUFS)]
        await rig.ask()
    assert caplog.text.count("table is full") == 1
