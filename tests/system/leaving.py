"""All that a shaper.toml can declare, and all of a network that it must not leave behind."""

from __future__ import annotations

import re

from bench.lab.wait import wait_until
from tests.system.installed_machine import InstalledMachine

CONFIGURATION = """
[device.shaper0]
master = "eth1"
speed = "10mbit"
addresses = "master"
routes = ["10.1.0.0/24", "default table 100"]
rules = ["fwmark 7 table 100"]

[device.shaper1]
master = "eth1"
speed = "10mbit"
capture = "egress"

[device.shaper2]
master = "eth1"
speed = "10mbit"
capture = "ingress"
"""
LOOKS = (
    "ip -o address show",
    "ip route show table all",
    "ip -6 route show table all",
    "ip rule",
    "ip -6 rule",
    "ip -br link",
    "tc qdisc show dev eth1",
    "tc filter show dev eth1 egress",
    "tc filter show dev eth1 ingress",
)


def network(machine: InstalledMachine) -> dict[str, str]:
    """Return all that there is of addresses, routes, rules, devices and filters."""
    seen = {look: machine.container.run(*look.split()) for look in LOOKS}
    return {
        look: re.sub(r"\b(valid_lft|preferred_lft|expires) \S+", "", text)
        for look, text in seen.items()
    }


def declare_everything(machine: InstalledMachine) -> None:
    """Start the service, which is stopped, with all that it can declare."""
    machine.container.shell(
        f"mkdir -p /etc/shaper\ncat >/etc/shaper/shaper.toml <<'END'\n{CONFIGURATION}END\n"
    )
    machine.systemctl("start", "shaper")
    wait_until(lambda: "10.1.0.0/24 dev shaper0" in machine.routes_of_all(), "what is declared")
