"""What a link is made of, from wishes and a machine to the text that programs are given."""

from __future__ import annotations

import tomllib

import pytest

from shapecfg.run import link_plan, way_out
from shapecfg.run.configuration import shaper_toml
from shapecfg.run.link_plan import Direction, RunMachine, Wishes
from shapecfg.run.words import read_trace
from shaper.desired import config
from shaper.errors import InvalidValue
from shaper.line_options import Delay, LineOptions, RandomLoss
from shaper.trace import Playback

ROOT = RunMachine(is_privileged=True, device="eth0", number=700)
USER = RunMachine(device="eth0")
WISHES = Wishes(("true",), Direction(8_000_000), Direction(1_000_000))


@pytest.mark.parametrize(
    ("number", "gateway", "command"),
    [
        (0, "198.18.0.1", "198.18.0.2"),
        (63, "198.18.0.253", "198.18.0.254"),
        (64, "198.18.1.1", "198.18.1.2"),
        (16384, "198.19.0.1", "198.19.0.2"),
        (link_plan.MOST_LINKS - 1, "198.19.255.253", "198.19.255.254"),
    ],
)
def test_addresses_are_of_the_range_for_tests(number: int, gateway: str, command: str) -> None:
    """Each link has four addresses of 198.18.0.0/15 to itself, the last one included."""
    own = link_plan.addresses(number)
    assert (own.gateway, own.command) == (gateway, command)


@pytest.mark.parametrize("machine", [ROOT, USER])
def test_the_daemon_takes_its_configuration(machine: RunMachine) -> None:
    """What the private daemon is given is a valid shaper.toml with both shapers at their rates."""
    parsed = config.parse_config(shaper_toml(machine, WISHES))
    rates = {spec.ifname: (spec.master, spec.options.rate_bits) for spec in parsed.devices}
    assert rates == {"up": ("out", 1_000_000), "down": ("in", 8_000_000)}
    assert parsed.warnings == ()


def test_a_direction_without_a_rate_is_as_fast_as_can_be() -> None:
    """It has a rate all the same, as a shaper without one forwards nothing."""
    parsed = config.parse_config(shaper_toml(ROOT, Wishes(("true",))))
    assert {spec.options.rate_bits for spec in parsed.devices} == {
        link_plan.speed_bits(None, is_linked=False)
    }


@pytest.mark.parametrize(
    ("rate_bits", "frames"), [(64_000, 250), (8_000_000, 1321), (10**10, 10_000)]
)
def test_nothing_is_lost_before_pasta(rate_bits: int, frames: int) -> None:
    """Through pasta a fifo holds two seconds of the rate, within bounds."""
    text = shaper_toml(USER, Wishes(("true",), Direction(rate_bits), Direction(rate_bits)))
    down = tomllib.loads(text)["device"]["down"]
    assert (down["queue"], down["limit"]) == ("fifo", frames)
    assert "queue" not in shaper_toml(ROOT, WISHES)


def test_windows_fit_the_queue() -> None:
    """Through pasta TCP has 250 ms of the rate and the delay under way, 64 KiB at least."""
    values = link_plan.inner_sysctls(USER, WISHES)
    assert values["net/ipv4/tcp_rmem"] == "4096 131072 500000"
    assert values["net/ipv4/tcp_wmem"] == "4096 16384 131072"
    assert link_plan.inner_sysctls(ROOT, WISHES) == {}
    assert link_plan.inner_sysctls(USER, Wishes(("true",))) == {}


def test_only_what_the_machine_has_is_furnished() -> None:
    """A family that the machine does not reach is not there for the command."""
    only4 = link_plan.furnish(USER) + link_plan.route(USER)
    assert not any("::" in line for line in only4)
    only6 = RunMachine(device="eth0", has_ipv4=False, has_ipv6=True)
    assert not any("198.18" in line for line in link_plan.furnish(only6) + link_plan.route(only6))


def test_pasta_maps_the_loopback_on_request_alone() -> None:
    """Without it the gateway is nothing; no port of the machine is forwarded in either case."""
    closed = way_out.pasta(USER, "/net", has_host_loopback=False)
    opened = way_out.pasta(USER, "/net", has_host_loopback=True)
    assert [*opened, "--no-map-gw"] == closed
    assert closed[closed.index("--tcp-ports") + 1] == "none"


def test_rules_go_with_the_process_that_made_them() -> None:
    """Each table is owned, on a line of its own, and named after the device of the link."""
    lines = way_out.nft(
        RunMachine(is_privileged=True, has_ipv6=True, number=7), has_host_loopback=True
    ).splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["table", "ip", "shapecfg_run7"],
        ["table", "ip6", "shapecfg_run7"],
    ]
    assert all("flags owner" in line for line in lines)
    assert "dnat to 127.0.0.1" in lines[0]


@pytest.mark.parametrize(
    ("machine", "address"), [(ROOT, link_plan.addresses(700).resolver), (USER, "198.18.0.1")]
)
def test_the_resolver_is_one_that_is_reached(machine: RunMachine, address: str) -> None:
    """Its own nameservers give way to the one that forwards, and all else stays."""
    text = "# made\nnameserver 127.0.0.53\nnameserver ::1\nsearch example.org\n"
    changed = way_out.resolver_text(text, machine)
    assert changed == f"nameserver {address}\n# made\nsearch example.org\n"


def test_nameservers_are_read() -> None:
    """Comments and other words are none."""
    text = "#nameserver 1.1.1.1\nnameserver 192.0.2.1 # x\nnameserver\noptions rotate\n"
    assert way_out.nameservers(text) == ["192.0.2.1"]
    assert way_out.is_loopback("127.0.0.53")
    assert way_out.is_loopback("::1%lo")
    assert not way_out.is_loopback("192.0.2.1")


def test_delay_and_loss_are_those_of_the_shapers() -> None:
    """In the words of shaper.toml; a direction without a rate then has one that bounds memory."""
    down = LineOptions(Delay(20_500_000), RandomLoss(5_000_000), seed=7)
    wishes = Wishes(("true",), Direction(8_000_000, 41, down), Direction(None, 41))
    devices = config.parse_config(shaper_toml(ROOT, wishes)).devices
    parsed = {spec.ifname: spec.options for spec in devices}
    assert parsed[link_plan.DOWN].line == down
    assert parsed[link_plan.UP].line.is_default
    linked = Direction(None, 41, down)
    assert (linked.speed_bits, Direction().speed_bits) == (10**9, 10**10)


def test_a_trace_is_the_rate_of_its_direction() -> None:
    """Its lines stand in the configuration, whichever format they had."""
    trace = read_trace("lte.trace", "1\n1\n5\n9\n")
    direction = Direction(trace.mean_bits, trace=trace)
    devices = config.parse_config(shaper_toml(USER, Wishes(("true",), direction))).devices
    playbacks = {spec.ifname: spec.options.playback for spec in devices}
    assert playbacks == {link_plan.UP: None, link_plan.DOWN: Playback(trace)}
    with pytest.raises(InvalidValue, match=r"lte\.csv: line 2: 'fast'"):
        read_trace("lte.csv", "0,1mbit\n1,fast\n")
