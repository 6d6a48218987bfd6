"""Which device the master is, and whether it can be used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shaper.errors import InvalidValue
from shaper.model import Framing, State
from tests.unit.instantly import instantly, settle, until
from tests.unit.machine_rig import ETH1, SPEC, Machine

LOOPBACK = replace(ETH1, ifindex=3, ifname="lo", arphrd=772, mtu=65536)
DETACHED = replace(SPEC, master=None)


def up(machine: Machine) -> None:
    """Take the shaper up, as an administrator would."""
    machine.change_link(machine.kernel.index_of("shaper0"), is_up=True)


@instantly
async def test_a_device_in_transit_is_let_go(machine: Machine) -> None:
    """One that bore the master's name for an instant is neither followed nor saved."""
    async with machine.running(SPEC):
        up(machine)
        machine.kernel.take_away(2)
        await until(lambda: machine.state() == State.MASTER_MISSING)
        machine.kernel.put(replace(ETH1, ifindex=20))
        await until(lambda: machine.state() == State.ACTIVE)
        machine.change_link(20, ifname="enp3s0")
        await until(lambda: machine.state() == State.MASTER_MISSING)
        assert machine.saved() == [SPEC]
        machine.kernel.put(replace(ETH1, ifindex=21))
        await until(lambda: machine.state() == State.ACTIVE)
        assert machine.supervisor.devices["shaper0"].master_index == 21


@instantly
async def test_an_mtu_set_by_hand_outlives_the_master(machine: Machine) -> None:
    """It is touched when the master's changes, and not because the master is made anew."""
    async with machine.running(SPEC):
        own = machine.kernel.index_of("shaper0")
        machine.change_link(own, mtu=1400)
        await settle()
        machine.kernel.take_away(2)
        await until(lambda: machine.state() == State.MASTER_MISSING)
        machine.kernel.put(replace(ETH1, ifindex=20))
        await until(lambda: machine.state() == State.ADMIN_DOWN)
        assert machine.kernel.devices[own].mtu == 1400
        machine.change_link(20, mtu=9000)
        await until(lambda: machine.kernel.devices[own].mtu == 9000)


@instantly
async def test_a_missing_master_is_remembered(machine: Machine) -> None:
    """What the forwarder is told of a master without a header stays while it is away."""
    machine.kernel.devices[2] = replace(ETH1, arphrd=0xFFFE, address=b"", is_noarp=True)
    async with machine.running(SPEC):
        settings = machine.forwarders[0].last("configure")
        machine.forwarders[0].told.clear()
        machine.kernel.take_away(2)
        await until(lambda: machine.state() == State.MASTER_MISSING)
        assert settings
        assert "configure" not in machine.forwarders[0].verbs()
        plan = machine.supervisor.devices["shaper0"].plan
        assert plan is not None
        assert plan.framing is Framing.BARE


@pytest.mark.parametrize(
    ("arphrd", "words"), [(772, "loopback"), (824, "neither Ethernet"), (280, "type 280")]
)
@instantly
async def test_a_master_that_carries_no_packets_is_refused(
    machine: Machine, arphrd: int, words: str
) -> None:
    """Loopback, a netlink monitor, a CAN bus: refused by name before anything is bound."""
    machine.kernel.devices[3] = replace(LOOPBACK, arphrd=arphrd)
    async with machine.running(DETACHED) as commands:
        with pytest.raises(InvalidValue, match=f"^lo .*{words}"):
            await commands.attach("shaper0", "lo")
        assert machine.spec() == DETACHED


@instantly
async def test_a_saved_master_that_carries_no_packets_is_not_used(machine: Machine) -> None:
    """An earlier daemon took it: there is a state for that, and no carrier."""
    machine.kernel.devices[3] = LOOPBACK
    async with machine.running(replace(SPEC, master="lo")):
        assert machine.state() == State.MASTER_UNUSABLE
        assert machine.spec().master == "lo"
        assert not machine.kernel.asked("packet_socket")


@instantly
async def test_a_master_may_be_named_by_an_altname(machine: Machine) -> None:
    """What was asked for is kept, what it is now is shown, and a rename changes neither."""
    name = "a-name-longer-than-fifteen-bytes"
    machine.kernel.devices[2] = replace(ETH1, altnames=("other", name))
    async with machine.running(DETACHED) as commands:
        await commands.attach("shaper0", name)
        assert machine.state() == State.ADMIN_DOWN
        assert machine.kernel.asked("packet_socket")[-1]["ifname"] == "eth1"
        assert machine.saved() == [replace(SPEC, master=name)]
        machine.change_link(2, ifname="wan")
        await settle()
        assert machine.spec() == replace(SPEC, master=name)
    async with machine.again().running(*machine.saved()):
        assert machine.supervisor.devices["shaper0"].master_index == 2
