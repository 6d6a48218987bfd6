"""The supervisor keeps every shaper as it should be, whatever happens around it."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from pathlib import Path

import pytest

from shaper.channel.board import FIELDS
from shaper.channel.messages import ReadFailed
from shaper.errors import KernelRefused
from shaper.model import Options, Queue, Spec, State
from shaper.supervisor.change import change_shapers
from tests.unit.instantly import instantly, settle, until
from tests.unit.machine_rig import ETH1, SPEC, Machine

REFUSAL = KernelRefused("the kernel is busy", errno.EBUSY)
OTHER = replace(SPEC, ifname="shaper1")


def up(machine: Machine, *names: str) -> None:
    """Take devices up, as an administrator would."""
    for name in names or ("shaper0",):
        machine.change_link(machine.kernel.index_of(name), is_up=True)


@instantly
async def test_the_master_goes_down_and_comes_back(machine: Machine) -> None:
    """There is carrier only while the master can take frames."""
    async with machine.running(SPEC):
        up(machine)
        machine.change_link(2, is_running=False)
        await until(lambda: machine.state() == State.MASTER_DOWN)
        assert not machine.taps["shaper0"].has_carrier
        assert machine.forwarders[0].verbs()[-1] == "unbind"
        machine.change_link(2, is_running=True)
        await until(lambda: machine.state() == State.ACTIVE)
        assert machine.taps["shaper0"].has_carrier
        assert machine.forwarders[0].verbs()[-1] == "bind"


@instantly
async def test_the_master_goes_and_is_back_by_name(machine: Machine) -> None:
    """A re-created master has another index, and is known by its name."""
    async with machine.running(SPEC):
        up(machine)
        machine.kernel.take_away(2)
        await until(lambda: machine.state() == State.MASTER_MISSING)
        assert machine.spec() == SPEC
        machine.kernel.put(replace(ETH1, ifindex=8, mtu=1400))
        await until(lambda: machine.state() == State.ACTIVE)
        assert machine.supervisor.devices["shaper0"].master_index == 8
        assert machine.kernel.devices[machine.kernel.index_of("shaper0")].mtu == 1400


@instantly
async def test_a_master_that_is_not_there_yet_is_waited_for(machine: Machine) -> None:
    """A shaper may start before its master."""
    machine.kernel.devices.clear()
    async with machine.running(SPEC):
        assert machine.state() == State.MASTER_MISSING
        machine.kernel.put(replace(ETH1, ifindex=8))
        await until(lambda: machine.state() == State.ADMIN_DOWN)


@instantly
async def test_a_renamed_master_is_followed(machine: Machine) -> None:
    """The shaper stays with the device; what it is called now is saved beside what was asked."""
    async with machine.running(SPEC):
        up(machine)
        await asyncio.sleep(3)
        machine.change_link(2, ifname="wan")
        await until(lambda: machine.spec().master_now == "wan")
        await settle()
        assert machine.state() == State.ACTIVE
        assert machine.saved() == [replace(SPEC, master_now="wan")]
        machine.kernel.put(replace(ETH1, ifindex=8))
        await settle()
        assert machine.supervisor.devices["shaper0"].master_index == 2


@instantly
async def test_a_command_may_overtake_the_new_name(machine: Machine) -> None:
    """A master that was renamed just now is the same device: no carrier is lost over it."""
    async with machine.running(SPEC):
        up(machine)
        await until(lambda: machine.state() == State.ACTIVE)
        await asyncio.sleep(3)
        async with machine.supervisor.lock:
            machine.change_link(2, ifname="wan")
            await settle()
            options = replace(SPEC.options, rate_bits=8000)
            await change_shapers(machine.supervisor, replace(SPEC, options=options))
            assert machine.state() == State.ACTIVE
        await until(
            lambda: machine.saved() == [Spec("shaper0", "eth1", options, master_now="wan")]
        )


@instantly
async def test_a_renamed_shaper_is_followed(machine: Machine) -> None:
    """It goes by its new name from then on, and is saved under it."""
    async with machine.running(SPEC):
        machine.change_link(machine.kernel.index_of("shaper0"), ifname="slow")
        await until(lambda: "slow" in machine.supervisor.devices)
        assert list(machine.supervisor.devices) == ["slow"]
        assert machine.saved() == [replace(SPEC, ifname="slow")]


@instantly
async def test_two_shapers_swap_their_names(machine: Machine) -> None:
    """Seen as one change or as three, both are still there and each has its own settings."""
    fast = replace(OTHER, options=Options(rate_bits=10_000_000, queue=Queue.FIFO))
    async with machine.running(SPEC, fast):
        one, other = (machine.kernel.index_of(name) for name in ("shaper0", "shaper1"))
        for ifindex, ifname in ((one, "aside"), (other, "shaper0"), (one, "shaper1")):
            machine.change_link(ifindex, ifname=ifname)
        await until(lambda: machine.supervisor.devices["shaper0"].ifindex == other)
        assert machine.spec("shaper0").options.rate_bits == 10_000_000
        assert machine.spec("shaper1").options.rate_bits == 64_000
        assert len(machine.saved()) == 2


@instantly
async def test_a_length_set_by_hand_is_saved(machine: Machine) -> None:
    """The queue limit that `ip link set` gives survives a restart as any other does."""
    async with machine.running(SPEC):
        await settle()
        for frames in (500, 200):
            machine.change_link(machine.kernel.index_of("shaper0"), txqueuelen=frames)
            await until(lambda frames=frames: machine.spec().options.limit_packets == frames)
        assert machine.saved()[0].options.limit_packets == 200


@instantly
async def test_a_shaper_that_somebody_removed_is_struck_off(machine: Machine) -> None:
    """`ip link del shaper0`: it is no shaper any more, and the state says so."""
    async with machine.running(SPEC, OTHER):
        machine.kernel.take_away(machine.kernel.index_of("shaper0"))
        await until(lambda: list(machine.supervisor.devices) == ["shaper1"])
        assert machine.saved() == [OTHER]
        assert machine.taps["shaper0"].is_closed
        assert machine.forwarders[0].verbs()[-1] == "close"


@instantly
async def test_a_name_may_be_taken_over_in_one_burst(machine: Machine) -> None:
    """One shaper is removed and another given its name before anybody looks."""
    async with machine.running(SPEC, OTHER):
        other = machine.kernel.index_of("shaper1")
        machine.kernel.take_away(machine.kernel.index_of("shaper0"))
        machine.change_link(other, ifname="shaper0")
        await until(lambda: list(machine.supervisor.devices) == ["shaper0"])
        assert machine.supervisor.devices["shaper0"].ifindex == other
        assert machine.saved() == [SPEC]
        assert machine.taps["shaper0"].is_closed
        assert machine.forwarders[0].last("close") == {"slot": 0}


@instantly
async def test_a_refused_plan_is_tried_again(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """What the kernel refuses in an event is tried until it is done, and logged once."""
    async with machine.running(SPEC):
        await settle()
        machine.kernel.refusals["set_link"] = [REFUSAL] * 3
        machine.change_link(2, mtu=1400)
        own = machine.kernel.index_of("shaper0")
        await until(lambda: machine.kernel.devices[own].mtu == 1400)
    assert caplog.text.count("the kernel is busy") == 1


@instantly
async def test_one_refusal_holds_up_no_other_shaper(machine: Machine) -> None:
    """What one device is refused is no reason not to serve the next."""
    async with machine.running(SPEC, OTHER):
        await settle()
        machine.kernel.refusals["set_link"] = [REFUSAL]
        machine.change_link(2, mtu=1400)
        await until(lambda: 1400 in _mtus(machine))
        assert _mtus(machine) == [1500, 1400]
        await until(lambda: _mtus(machine) == [1400, 1400])


def _mtus(machine: Machine) -> list[int]:
    kernel = machine.kernel
    return [kernel.devices[kernel.index_of(name)].mtu for name in ("shaper0", "shaper1")]


@instantly
async def test_a_ring_that_arises_later_is_not_sent_into(machine: Machine) -> None:
    """A master that becomes a port above the shaper is treated as none."""
    async with machine.running(SPEC):
        up(machine)
        await until(lambda: machine.state() == State.ACTIVE)
        machine.change_link(2, lower=machine.kernel.index_of("shaper0"))
        await until(lambda: machine.state() == State.MASTER_UNUSABLE)
        assert not machine.taps["shaper0"].has_carrier


@instantly
async def test_a_forwarder_that_died_is_replaced(machine: Machine) -> None:
    """Its successor is told everything, and nothing changes for the devices."""
    async with machine.running(SPEC, OTHER):
        up(machine, "shaper0", "shaper1")
        await until(lambda: machine.state("shaper1") == State.ACTIVE)
        machine.forwarders[0].die()
        await until(lambda: len(machine.forwarders) == 2)
        await settle()
        assert machine.forwarders[1].verbs() == ["open", "configure", "bind"] * 2
        assert {fields["slot"] for _, fields in machine.forwarders[1].told} == {0, 1}
        assert machine.taps["shaper0"].has_carrier


@instantly
async def test_frames_that_wait_are_the_first_to_be_handed_over(machine: Machine) -> None:
    """Next are shapers that frames have left by, and last those that nothing uses."""
    names = [f"shaper{number}" for number in range(4)]
    async with machine.running(*(replace(SPEC, ifname=name) for name in names)):
        devices = machine.supervisor.devices
        for name in ("shaper2", "shaper3"):
            board = machine.forwarders[0].board
            assert board is not None
            board.row(devices[name].slot)[FIELDS.index("sent_packets")] = 1
        machine.taps["shaper1"].has_frames = machine.taps["shaper3"].has_frames = True
        machine.forwarders[0].die()
        await until(lambda: len(machine.forwarders) == 2)
        await settle()
        opened = [fields["slot"] for verb, fields in machine.forwarders[1].told if verb == "open"]
        order = ["shaper3", "shaper1", "shaper2", "shaper0"]
        assert opened == [devices[name].slot for name in order]


@instantly
async def test_a_flood_of_notices_is_heeded_once_a_second(machine: Machine) -> None:
    """A forwarder that was taken over can send any number; each had a shaper looked at."""
    async with machine.running(SPEC):
        await settle()
        slot = machine.supervisor.devices["shaper0"].slot
        on_notice = machine.forwarders[0].on_notice
        assert on_notice is not None
        looks: list[None] = []
        machine.supervisor.on_reconciled = lambda: looks.append(None)
        for _ in range(100):
            assert on_notice(ReadFailed(slot, errno.EIO))
            await asyncio.sleep(0.025)
        assert len(looks) == 3


@pytest.mark.parametrize("verb", ["open", "configure", "bind"])
@instantly
async def test_a_hand_over_that_was_refused_is_finished(machine: Machine, verb: str) -> None:
    """A successor that refuses a part is told it again, and no third one is started."""
    async with machine.running(SPEC):
        up(machine)
        await until(lambda: machine.state() == State.ACTIVE)
        machine.next_refusals[verb] = [KernelRefused("no room", errno.EIO)]
        machine.forwarders[0].die()
        await until(lambda: len(machine.forwarders) == 2)
        await settle()
        assert set(machine.forwarders[1].verbs()) == {"open", "configure", "bind"}
        assert len(machine.forwarders) == 2


@instantly
async def test_a_state_that_cannot_be_saved_is_no_reason_not_to_shape(
    machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is told in the log; traffic is shaped all the same."""
    (tmp_path / "state.json").mkdir()
    async with machine.running(SPEC):
        up(machine)
        await until(lambda: machine.state() == State.ACTIVE)
    assert "will not survive a restart" in caplog.text


@instantly
async def test_slots_are_given_back(machine: Machine) -> None:
    """Neither a removed shaper nor one that could not be made keeps its row on the board."""
    async with machine.running(SPEC):
        for _ in range(3):
            device = await machine.supervisor.create(OTHER)
            assert device.slot == 1
            await device.remove()
            machine.supervisor.forget(device)
        machine.kernel.refusals["set_neighbour_table"] = [REFUSAL]
        with pytest.raises(KernelRefused):
            await machine.supervisor.create(OTHER)
        assert "shaper1" not in machine.supervisor.devices
        assert (await machine.supervisor.create(OTHER)).slot == 1


@instantly
async def test_what_is_gone_is_not_discarded_again(machine: Machine) -> None:
    """Undoing what somebody else has undone must not close a descriptor twice."""
    async with machine.running(SPEC):
        device = await machine.supervisor.create(OTHER)
        machine.kernel.take_away(device.ifindex)
        await until(lambda: "shaper1" not in machine.supervisor.devices)
        machine.forwarders[0].told.clear()
        await machine.supervisor.discard(device)
        assert machine.forwarders[0].told == []
