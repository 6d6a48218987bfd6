"""How fine the clock is: as set for a shaper, for the daemon, or as its rate needs."""

from __future__ import annotations

from tests.unit.instantly import instantly
from tests.unit.machine_rig import SPEC, Machine
from tests.unit.test_commands import NOTHING


@instantly
async def test_the_default_of_hz_is_the_daemons(machine: Machine) -> None:
    """Or the rate's where the daemon has none; `show` says what is in force."""
    async with machine.running(SPEC) as commands:
        for hz, of_daemon, expected in ((250, 0, 250), (0, 0, 2500), (0, 100, 100)):
            commands.hz = of_daemon
            await commands.set_options("shaper0", **NOTHING | {"hz": hz})
            await commands.set_speed("shaper0", 10**9)
            (shown,) = commands.show("shaper0")
            assert shown["options"]["hz"] == expected
            assert (
                machine.forwarders[0].last("configure")["settings"]["jiffy_ns"]
                == 10**9 // expected
            )
