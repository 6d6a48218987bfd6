"""What the service leaves behind when it ends: the machine's own network, exactly as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.lab.wait import wait_until
from tests.system.installed_machine import InstalledMachine
from tests.system.leaving import declare_everything, network

# A few failures are enough here to be given up.
DROP_IN = "/run/systemd/system/shaper.service.d/leaving.conf"
IMPATIENCE = "[Unit]\nStartLimitBurst=3\n"


@pytest.fixture
def before(machine: InstalledMachine) -> Iterator[dict[str, str]]:
    """Return the network without the service, then have it run with all that it can declare."""
    machine.systemctl("stop", "shaper")
    machine.systemctl("reset-failed")
    # What filters the kernel has ever had, it shows the hook of.
    seen = network(machine)
    machine.container.shell(
        f"mkdir -p $(dirname {DROP_IN})\n"
        f"printf '{IMPATIENCE}' >{DROP_IN}\n"
        "systemctl daemon-reload\n"
    )
    declare_everything(machine)
    yield seen
    machine.container.shell(f"rm -f /etc/shaper/shaper.toml {DROP_IN}; systemctl daemon-reload")
    machine.systemctl("reset-failed")
    machine.systemctl("start", "shaper")
    for ifname in ("shaper0", "shaper1", "shaper2"):
        machine.container.try_run("shapecfg", "del", ifname)
    machine.systemctl("restart", "shaper")  # which makes shaper0 anew, with nothing declared


def test_after_a_stop_the_network_is_the_machines_own(
    machine: InstalledMachine, before: dict[str, str]
) -> None:
    """No device, address, route, rule or program of ours is left; others are all there."""
    machine.systemctl("stop", "shaper")
    assert network(machine) == before


def test_a_service_that_is_given_up_locks_nobody_out(
    machine: InstalledMachine, before: dict[str, str]
) -> None:
    """Killed until the manager starts it no more, it leaves the network as after a stop."""

    def is_given_up() -> bool:
        machine.container.try_run(
            "systemctl", "kill", "--kill-who=main", "--signal=KILL", "shaper"
        )
        return machine.property("ActiveState") == "failed"

    wait_until(is_given_up, "the manager to give up", 20)
    wait_until(lambda: network(machine) == before, "the network to be as before", 10)
