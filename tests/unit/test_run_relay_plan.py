"""The network of the relay, which ends TCP between the link and pasta."""

from __future__ import annotations

import pytest

from shapecfg.run import link_plan, relay_plan
from shapecfg.run.configuration import shaper_toml
from shapecfg.run.link_plan import Direction, RunMachine, Wishes
from shaper.line_options import Delay, LineOptions, RandomLoss

RELAYED = RunMachine(device="eth0", has_relay=True)
RATE = Direction(8_000_000)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LineOptions(), False),
        (LineOptions(delay=Delay(5_000_000, jitter_ns=1_000_000)), False),
        (LineOptions(loss=RandomLoss(1)), True),
        (LineOptions(duplicate=1), True),
        (LineOptions(corrupt=1), True),
        (LineOptions(reorder=1), True),
    ],
)
def test_what_breaks_the_tcp_of_pasta_is_known(line: LineOptions, expected: bool) -> None:
    """It is what a segment may meet in either direction; a delay, whatever its jitter, is not."""
    assert Wishes(("true",), up=Direction(line=line)).loses == expected
    assert Wishes(("true",), down=Direction(line=line)).loses == expected


def test_the_link_is_as_that_of_root() -> None:
    """The kernel's TCP needs no fifo and no small windows."""
    wishes = Wishes(("true",), RATE, RATE)
    assert "fifo" not in shaper_toml(RELAYED, wishes)
    assert link_plan.inner_sysctls(RELAYED, wishes) == {}
    assert "fifo" in shaper_toml(RunMachine(device="eth0"), wishes)


def test_only_the_families_of_the_machine_pass() -> None:
    """Rules, addresses and routes are of IPv4, IPv6 or both."""
    only6 = RunMachine(device="eth0", has_ipv4=False, has_ipv6=True, has_relay=True)
    assert not any("2001:2" in each for each in relay_plan.furnish_relay(RELAYED))
    assert "ip6" not in relay_plan.relay_rules(RELAYED)
    assert not any("198.18" in each for each in relay_plan.furnish_relay(only6))
    assert "table ip " not in relay_plan.relay_rules(only6)


def test_tcp_is_led_to_the_relay_and_all_else_on() -> None:
    """What comes from the command has the relay's address for pasta."""
    own = link_plan.addresses(0)
    rules = relay_plan.relay_rules(RELAYED)
    assert f'iifname "shaped" meta l4proto tcp dnat to {own.resolver}:1;' in rules
    assert f"ip saddr {own.command} snat to {own.resolver};" in rules
