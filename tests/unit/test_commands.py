"""What is asked of the shapers is done and saved, or refused with everything as it was."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from shaper.errors import (
    Busy,
    InvalidValue,
    KernelRefused,
    NoSuchMaster,
    NoSuchShaper,
    NotAttached,
)
from shaper.model import Options, Queue, Spec, State
from tests.unit.instantly import instantly, settle, until
from tests.unit.machine_rig import ETH1, SPEC, Machine

REFUSAL = KernelRefused("the kernel is busy", errno.EBUSY)
LOOPBACK = replace(ETH1, ifindex=3, ifname="lo", arphrd=772, mtu=65536)
DETACHED = replace(SPEC, master=None)
FRESH = Spec("shaper0", options=Options(queue=Queue.FIFO))
NOTHING = {"queue": None, "limit_packets": None, "burst_bytes": None, "hz": None}


@instantly
async def test_attach_and_speed_in_either_order(machine: Machine) -> None:
    """The order of the two commands does not matter, and what they say is saved."""
    async with machine.running(FRESH, replace(FRESH, ifname="shaper1")) as commands:
        await commands.attach("shaper0", "eth1")
        assert machine.state() == State.NO_SPEED
        assert await commands.set_speed("shaper0", 64_000) == []
        assert machine.state() == State.ADMIN_DOWN
        await commands.set_speed("shaper1", 64_000)
        assert machine.state("shaper1") == State.DETACHED
        await commands.attach("shaper1", "eth1")
        assert machine.saved() == [SPEC, replace(SPEC, ifname="shaper1")]


@instantly
async def test_attaching_twice_is_refused(machine: Machine) -> None:
    """The first binding stays, to the same master and to another."""
    async with machine.running(SPEC) as commands:
        for master in ("eth1", "eth2"):
            with pytest.raises(Busy, match="shaper0 is already attached to eth1"):
                await commands.attach("shaper0", master)
        assert machine.spec() == SPEC


@instantly
async def test_an_unknown_master_is_refused(machine: Machine) -> None:
    """There is no waiting for a master that was never there: the name may be misspelled."""
    async with machine.running(DETACHED) as commands:
        with pytest.raises(NoSuchMaster, match="eth9"):
            await commands.attach("shaper0", "eth9")
        assert machine.saved() == [DETACHED]


@instantly
async def test_an_unknown_shaper_is_refused(machine: Machine) -> None:
    """Every command names the shaper it does not find, and those there are."""
    async with machine.running(SPEC) as commands:
        for call in (
            commands.attach("shaper7", "eth1"),
            commands.detach("shaper7"),
            commands.set_speed("shaper7", 64_000),
            commands.set_options("shaper7", **NOTHING),
            commands.delete("shaper7"),
        ):
            with pytest.raises(NoSuchShaper, match=r"shaper7.*shaper0"):
                await call
        with pytest.raises(NoSuchShaper, match=r"shaper7.*shaper0"):
            commands.show("shaper7")


@instantly
async def test_one_that_is_attached_by_device_is_made(machine: Machine) -> None:
    """It has to have a name as `add` gives them, and it is not made for what is refused."""
    async with machine.running(SPEC) as commands:
        await commands.attach("shaper1", "eth1", capture="egress")
        assert machine.state("shaper1") == State.NO_SPEED
        with pytest.raises(Busy, match="shaper1 takes the egress"):
            await commands.attach("shaper2", "eth1", capture="egress")
        for refused, capture in (("shaper2", None), ("shaper2", "route"), ("wan0", "egress")):
            with pytest.raises(NoSuchShaper, match=refused):
                await commands.attach(refused, "eth1", capture=capture)
        with pytest.raises(NoSuchMaster, match="eth9"):
            await commands.attach("shaper2", "eth9", capture="ingress")
        assert [spec.ifname for spec in machine.saved()] == ["shaper0", "shaper1"]


@instantly
async def test_a_shaper_is_not_its_own_master(machine: Machine) -> None:
    """Frames would come straight back."""
    async with machine.running(DETACHED) as commands:
        with pytest.raises(InvalidValue, match="cannot be its own master"):
            await commands.attach("shaper0", "shaper0")


@instantly
async def test_a_loop_is_refused(machine: Machine) -> None:
    """Neither through another shaper nor through a bridge may frames lead back."""
    async with machine.running(DETACHED, replace(DETACHED, ifname="shaper1")) as commands:
        await commands.attach("shaper1", "shaper0")
        with pytest.raises(InvalidValue, match="loop"):
            await commands.attach("shaper0", "shaper1")
        machine.kernel.put(replace(ETH1, ifindex=20, ifname="br0"))
        machine.change_link(machine.kernel.index_of("shaper0"), upper=20)
        await settle()
        with pytest.raises(InvalidValue, match="loop"):
            await commands.attach("shaper0", "br0")
        assert machine.spec() == DETACHED


@instantly
async def test_a_burst_under_a_frame_of_the_master_is_refused(machine: Machine) -> None:
    """A bucket that could never hold a full frame is told of before anything is bound."""
    burst = replace(DETACHED, options=replace(DETACHED.options, burst_bytes=2000))
    machine.kernel.devices[2] = replace(ETH1, mtu=9000)
    async with machine.running(burst) as commands:
        with pytest.raises(InvalidValue, match="2000b is less than one full frame of 9014b"):
            await commands.attach("shaper0", "eth1")
        assert machine.spec() == burst


@instantly
async def test_detaching_keeps_the_speed_and_drops_what_waits(machine: Machine) -> None:
    """What waits must not leave through the next master; a second detach is refused."""
    async with machine.running(SPEC) as commands:
        machine.forwarders[0].told.clear()
        await commands.detach("shaper0")
        assert machine.forwarders[0].verbs() == ["unbind", "flush"]
        assert machine.state() == State.DETACHED
        assert machine.saved() == [DETACHED]
        with pytest.raises(NotAttached, match="shapecfg show lists what is"):
            await commands.detach("shaper0")


@instantly
async def test_the_next_master_is_another(machine: Machine) -> None:
    """After a detach the former master is forgotten, by index as by name."""
    machine.kernel.devices[20] = replace(ETH1, ifindex=20, ifname="eth2")
    async with machine.running(SPEC) as commands:
        await commands.detach("shaper0")
        await commands.attach("shaper0", "eth2")
        assert machine.supervisor.devices["shaper0"].master_index == 20
        assert machine.kernel.asked("packet_socket")[-1]["ifname"] == "eth2"


@pytest.mark.parametrize("place", ["set_link", "configure"])
@instantly
async def test_a_refused_change_is_taken_back(machine: Machine, place: str) -> None:
    """What was wanted is as before, nothing is saved, and the old plan is made true again."""
    async with machine.running(SPEC) as commands:
        await settle()
        is_kernel = place == "set_link"
        refusals = machine.kernel.refusals if is_kernel else machine.forwarders[0].refusals
        refusals[place] = [REFUSAL]
        with pytest.raises(KernelRefused, match="busy"):
            await commands.set_speed("shaper0", 1_000_000)
        assert machine.spec() == SPEC
        assert machine.saved() == [SPEC]
        await settle()
        own = machine.kernel.index_of("shaper0")
        assert machine.kernel.aliases[own] == "shaper of eth1 at 64Kbit"
        assert machine.forwarders[0].last("configure")["settings"]["rate_bits"] == 64_000


@instantly
async def test_a_refused_attach_leaves_it_detached(machine: Machine) -> None:
    """The socket of a master that vanished cannot be had: the shaper is as it was."""
    async with machine.running(DETACHED) as commands:
        await settle()
        del machine.kernel.devices[2]
        with pytest.raises(KernelRefused):
            await commands.attach("shaper0", "eth1")
        await settle()
        assert machine.spec() == DETACHED
        assert machine.state() == State.DETACHED
        assert not machine.taps["shaper0"].has_carrier


@instantly
async def test_what_cannot_be_saved_is_done_and_warned_of(
    machine: Machine, tmp_path: Path
) -> None:
    """It holds until a restart, so it is no refusal; the caller is told."""
    async with machine.running(FRESH) as commands:
        (tmp_path / "state.json").unlink()
        (tmp_path / "state.json").mkdir()
        for warnings in (
            await commands.attach("shaper0", "eth1"),
            await commands.set_speed("shaper0", 64_000),
            await commands.set_options("shaper0", **NOTHING | {"limit_packets": 20}),
            await commands.detach("shaper0"),
            (await commands.add("slow"))["warnings"],
            await commands.delete("slow"),
        ):
            assert [each for each in warnings if "will not survive a restart" in each]
        assert machine.spec().options.limit_packets == 20


@pytest.mark.parametrize("rate_bits", [0, -1, 7, 10**30])
@instantly
async def test_a_rate_out_of_bounds_is_refused(machine: Machine, rate_bits: int) -> None:
    """The bounds are held here, whoever asks."""
    async with machine.running(SPEC) as commands:
        with pytest.raises(InvalidValue, match=str(rate_bits)):
            await commands.set_speed("shaper0", rate_bits)
        assert machine.spec() == SPEC


@instantly
async def test_options_change_what_is_named(machine: Machine) -> None:
    """Others stay; 0 is the default; the forwarder is told at once."""
    async with machine.running(SPEC) as commands:
        await commands.set_options("shaper0", **NOTHING | {"limit_packets": 50})
        await commands.set_options("shaper0", **NOTHING | {"burst_bytes": 9000})
        settings = machine.forwarders[0].last("configure")["settings"]
        assert (settings["limit_packets"], settings["burst_bytes"]) == (50, 9000)
        await commands.set_options("shaper0", **NOTHING | {"limit_packets": 0})
        assert machine.spec().options == replace(SPEC.options, burst_bytes=9000)
        with pytest.raises(InvalidValue, match="1513b is less"):
            await commands.set_options("shaper0", **NOTHING | {"burst_bytes": 1513})


@instantly
async def test_the_classic_queue_warns_where_it_is_coarse(machine: Machine) -> None:
    """It counts whole bytes a tick: 9600 bit/s at HZ 1000 would be 8000."""
    async with machine.running(SPEC) as commands:
        await commands.set_speed("shaper0", 9600)
        assert await commands.set_options("shaper0", **NOTHING | {"queue": "classic"})
        assert await commands.set_speed("shaper0", 64_000) == []
        assert await commands.set_speed("shaper0", 9600)


@instantly
async def test_adding_and_deleting(machine: Machine) -> None:
    """Without a name the first free one is taken; what is deleted is gone, and not saved."""
    machine.kernel.devices[9] = replace(ETH1, ifindex=9, ifname="shaper1")
    async with machine.running(SPEC) as commands:
        assert await commands.add(None) == {"ifname": "shaper2", "warnings": []}
        assert (await commands.add("slow"))["ifname"] == "slow"
        with pytest.raises(Busy, match="slow is a shaper already"):
            await commands.add("slow")
        with pytest.raises(Busy, match="shaper1 exists already"):
            await commands.add("shaper1")
        with pytest.raises(InvalidValue):
            await commands.add("a/b")
        await commands.delete("shaper2")
        assert [spec.ifname for spec in machine.saved()] == ["shaper0", "slow"]
        await commands.delete("slow")
        await commands.add("slow")
        assert [spec.ifname for spec in machine.saved()] == ["shaper0", "slow"]
        await commands.delete("slow")
        assert "slow" not in {link.ifname for link in machine.kernel.devices.values()}


@instantly
async def test_an_add_that_fails_leaves_nothing(machine: Machine) -> None:
    """A device that its forwarder refuses is removed again, and can be asked for anew."""
    async with machine.running(SPEC) as commands:
        machine.forwarders[0].refusals["open"] = [REFUSAL]
        with pytest.raises(KernelRefused):
            await commands.add("slow")
        assert "slow" not in {link.ifname for link in machine.kernel.devices.values()}
        assert list(machine.supervisor.devices) == ["shaper0"]
        assert (await commands.add("slow"))["ifname"] == "slow"


@instantly
async def test_show_tells_all_in_their_order(machine: Machine) -> None:
    """One, or all by index; the kernel's drops and a missing route are told of."""
    async with machine.running(replace(SPEC, ifname="shaper9"), SPEC) as commands:
        for name in ("shaper0", "shaper9"):
            machine.change_link(machine.kernel.index_of(name), is_up=True)
        await until(lambda: machine.state() == State.ACTIVE)
        machine.kernel.routed.add(machine.kernel.index_of("shaper9"))
        shown = commands.show(None)
        assert [each["ifname"] for each in shown] == ["shaper9", "shaper0"]
        assert [bool(each["warnings"]) for each in shown] == [False, True]
        assert [each["stats"]["dropped"]["ring"] for each in shown] == [0, 7]
        assert commands.show("shaper0") == shown[1:]


@instantly
async def test_a_shaper_that_has_sent_is_not_looked_up(machine: Machine) -> None:
    """What has sent has a route: the kernel is not asked about its tables for nothing."""
    async with machine.running(SPEC) as commands:
        machine.change_link(machine.kernel.index_of("shaper0"), is_up=True)
        await until(lambda: machine.state() == State.ACTIVE)
        board = machine.forwarders[0].board
        assert board is not None
        board.row(0)[0], board.row(0)[1] = 800, 1
        (shown,) = commands.show(None)
        assert shown["stats"]["sent_packets"] == 1
        assert shown["warnings"] == []
        assert machine.kernel.asked("has_route_through") == []


@instantly
async def test_a_refused_change_shows_what_was_before(machine: Machine) -> None:
    """Between a refusal and the next try a shaper is still shown, and not as it never was."""
    async with machine.running(SPEC) as commands:
        machine.kernel.refusals["set_link"] = [REFUSAL]
        with pytest.raises(KernelRefused):
            await commands.set_speed("shaper0", 1_000_000)
        (shown,) = commands.show(None)
        assert shown["options"]["rate_bits"] == 64_000
        await settle()
        assert commands.show(None)[0]["options"]["limit_packets"] == 10
