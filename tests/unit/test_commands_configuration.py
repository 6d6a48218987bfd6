"""A whole configuration is made true, or taken back with everything as it was."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from shaper.desired.declared import parse_network
from shaper.errors import (
    Busy,
    InvalidValue,
    KernelRefused,
)
from shaper.model import Options, Queue, Spec, State
from tests.unit.instantly import instantly, settle
from tests.unit.machine_rig import ETH1, SPEC, Machine
from tests.unit.test_commands import DETACHED, LOOPBACK, REFUSAL


@instantly
async def test_a_configuration_is_made_true(machine: Machine) -> None:
    """Shapers are made, changed and moved as it says; what it does not name stays."""
    machine.kernel.devices[20] = replace(ETH1, ifindex=20, ifname="eth2")
    async with machine.running(SPEC, replace(SPEC, ifname="shaper1")) as commands:
        moved = replace(SPEC, master="eth2", options=Options(rate_bits=8000, queue=Queue.FIFO))
        new = Spec("slow", "eth3")
        await commands.apply([moved, new])
        assert machine.saved() == [moved, replace(SPEC, ifname="shaper1"), new]
        assert machine.supervisor.devices["shaper0"].master_index == 20
        assert machine.state("slow") == State.NO_SPEED


class RefusingKeeper:
    """A keeper that is told what it is asked, and refuses one shaper."""

    def __init__(self, refused: str) -> None:
        self.asked: list[object] = []
        self._refused = refused

    def hold(self) -> None:
        """Be asked."""
        self.asked.append("hold")

    def settle(self, ifnames: Collection[str]) -> None:
        """Refuse it."""
        self.asked.append([*ifnames])
        if self._refused in ifnames:
            raise REFUSAL

    def put_back(self) -> None:
        """Be asked."""
        self.asked.append("put back")


@instantly
async def test_what_the_kernel_refuses_of_a_declaration_takes_all_back(machine: Machine) -> None:
    """Of other shapers as well, and a new one is gone; what declares nothing asks nothing."""
    routed = parse_network("shaper0", is_up=None, addresses=[], routes=["10.1.0.0/24"], rules=[])
    wanted = [replace(SPEC, network=routed), Spec("shaper1", "eth1", network=routed)]
    async with machine.running(SPEC) as commands:
        machine.supervisor.keeper = keeper = RefusingKeeper("shaper1")
        with pytest.raises(KernelRefused):
            await commands.apply([*wanted, Spec("shaper2", "eth1")])
        assert keeper.asked == ["hold", ["shaper0", "shaper1"], "put back"]
        assert machine.supervisor.specs() == {"shaper0": SPEC}
        assert machine.saved() == [SPEC]
        keeper.asked.clear()
        await commands.apply([replace(SPEC, options=Options(rate_bits=8000)), wanted[0]])
        await commands.apply([wanted[0]])
        await commands.set_speed("shaper0", 64_000)
        assert keeper.asked == ["hold", ["shaper0"]]


@pytest.mark.parametrize("verb", ["configure", "bind"])
@instantly
async def test_a_move_that_is_refused_is_taken_back(machine: Machine, verb: str) -> None:
    """A configuration that its forwarder refuses leaves the shaper on the master it had."""
    machine.kernel.devices[20] = replace(ETH1, ifindex=20, ifname="eth2", mtu=1400)
    async with machine.running(SPEC) as commands:
        await settle()
        machine.forwarders[0].refusals[verb] = [REFUSAL]
        with pytest.raises(KernelRefused):
            await commands.apply([replace(SPEC, master="eth2")])
        await settle()
        assert machine.spec() == SPEC
        assert machine.saved() == [SPEC]
        assert machine.supervisor.devices["shaper0"].master_index == 2
        assert machine.kernel.asked("packet_socket")[-1]["ifname"] == "eth1"


@pytest.mark.parametrize(
    "bad",
    [
        replace(SPEC, ifname="shaper1", master="shaper1"),
        replace(SPEC, ifname="shaper1", options=Options(rate_bits=8, burst_bytes=100)),
        replace(SPEC, ifname="shaper1", master="lo"),
    ],
)
@instantly
async def test_a_bad_configuration_changes_nothing(machine: Machine, bad: Spec) -> None:
    """Not even what comes before the part that cannot be."""
    machine.kernel.devices[3] = LOOPBACK
    async with machine.running(SPEC, replace(DETACHED, ifname="shaper1")) as commands:
        good = replace(SPEC, options=Options(rate_bits=8000))
        with pytest.raises((InvalidValue, Busy)):
            await commands.apply([good, bad])
        assert machine.saved() == [SPEC, replace(DETACHED, ifname="shaper1")]
        assert machine.spec() == SPEC


@pytest.mark.parametrize("verb", ["open", "bind"])
@instantly
async def test_a_configuration_that_is_refused_is_taken_back_whole(
    machine: Machine, verb: str
) -> None:
    """What was changed before the refusal is as it was, what was made is gone, nothing saved."""
    other = replace(SPEC, ifname="shaper1")
    async with machine.running(SPEC, other) as commands:
        await settle()
        faster = Options(rate_bits=8000, queue=Queue.FIFO)
        wanted = [
            replace(SPEC, options=faster),
            Spec("made"),
            Spec("refused", "eth1", faster),
            replace(other, options=faster),
        ]
        machine.forwarders[0].refusals[verb] = [REFUSAL]
        with pytest.raises(KernelRefused):
            await commands.apply(wanted)
        await settle()
        assert machine.saved() == [SPEC, other]
        assert list(machine.supervisor.devices) == ["shaper0", "shaper1"]
        names = {link.ifname for link in machine.kernel.devices.values()}
        assert names == {"eth1", "shaper0", "shaper1"}
        assert machine.kernel.aliases[machine.kernel.index_of("shaper0")].endswith("at 64Kbit")
        await commands.apply(wanted)
        assert machine.saved() == [wanted[0], wanted[3], wanted[1], wanted[2]]


@instantly
async def test_a_configuration_is_warned_about_once_a_master(machine: Machine) -> None:
    """Two shapers on a master that filters strictly are one warning."""
    machine.edge.ipv4_values["rp_filter"] = 1
    async with machine.running(SPEC) as commands:
        specs = [SPEC, replace(SPEC, ifname="shaper1"), Spec("shaper2")]
        (warning,) = await commands.apply(specs)
        assert "replies that arrive on eth1" in warning
