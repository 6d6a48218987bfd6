"""`shapecfg doctor`: each way not to be in force is named and mended, and else nothing."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import signal
import struct
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import make_router
from bench.lab.wait import wait_until
from shapecfg.client import Client
from shapecfg.doctor import examine
from shapecfg.doctor.gather import Gathering
from shaper.kernel import processes
from tests.kernel.ailments import BY_ROUTE, BY_STATE
from tests.kernel.ailments_beside import BESIDE
from tests.kernel.conftest import obstacle
from tests.kernel.lookout import ALARM, NOTHING, STATE, WARNING, Lookout
from tests.kernel.patient import (
    AGAIN,
    IFF_NO_PI,
    IFF_TUN,
    MOST_SECONDS,
    NO_RULE_SET,
    NO_SECOND,
    OUTPUT,
    RATE,
    SECOND,
    TUNSETIFF,
    Descriptor,
    Patient,
    Step,
    bind_socket,
    inet,
    join_group,
    leave_group,
    let_go,
)
from tests.kernel.steps import SHAPER, shape, wait_state

AILMENTS = {**BY_STATE, **BY_ROUTE, **BESIDE}


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    """One router and one daemon for all."""
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun (module tun)")
    directory = tmp_path_factory.mktemp("doctor")
    with make_router() as net, Shaperd(net.host, directory=directory) as daemon:
        shape(daemon, net, str(RATE))
        wait_state(daemon, "active")
        with contextlib.closing(Lookout(net.host, daemon.socket)) as lookout:
            yield Patient(net, daemon, lookout)


@pytest.mark.parametrize("name", AILMENTS)
def test_each_way_is_named_and_mended(patient: Patient, name: str) -> None:
    """Doctor says nothing before; then the id, a sentence, and a command that mends it.

    `show` or an alarm tells it without being asked, or the table says why they cannot.
    """
    way = AILMENTS[name]
    assert patient.found() == []
    patient.lookout.begin()
    try:
        for step in way.make:
            patient.do(step)
            patient.lookout.see()
        found = wait_until(lambda: patient.of(way.id), f"{way.id} to be found")
        assert found is not None
        assert any(way.word in each["sentence"] for each in found)
        told_by = way.told if way.told in (STATE, WARNING, ALARM) else NOTHING
        wait_until(lambda: patient.lookout.told_by() == told_by, f"it to be told by: {way.told}")
        if way.is_mended:
            for command in dict.fromkeys(each["remedy"] for each in found):
                patient.run(command)
            wait_until(lambda: not patient.of(way.id), f"{way.id} to be mended")
    finally:
        for step in way.undo:
            patient.do(step, is_certain=False)
    wait_until(lambda: not patient.found(), "all to be well again")


def tun_master(patient: Patient) -> None:
    """Make a master without a link-layer header, which this process serves."""
    with patient.net.host.enter():
        tap = os.open("/dev/net/tun", os.O_RDWR)
        patient.held.append(Descriptor(tap))
        request = struct.pack("16sH22x", b"tun9", IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(tap, TUNSETIFF, request)
    patient.run("ip address add 10.20.0.1/32 dev tun9; ip link set tun9 up")


def declared(patient: Patient) -> None:
    """Have the daemon keep addresses, routes and rules itself."""
    own = '[device.shaper0]\nmaster = "eth1"\nspeed = "10mbit"\n'
    other = '[device.wan0]\nmaster = "eth1"\nspeed = "1mbit"\naddresses = "master"\n'
    network = 'routes = ["10.8.0.0/24", "default table 100"]\nrules = ["fwmark 7 table 100"]\n'
    Client(str(patient.daemon.socket)).restore(own + other + network)


def another(*more: str) -> tuple[str, ...]:
    """Return steps that make a second shaper of the master, and what is to come after."""
    return (*SECOND, "shapecfg speed wan0 1mbit", "ip link set wan0 up", *more)


ROUTED = (
    "ip address add 10.20.0.1/32 dev wan0 || true",
    "ip link set wan0 up",
    "ip route add 10.8.0.0/24 dev wan0",
)
HEALTHY: dict[str, tuple[tuple[Step, ...], tuple[Step, ...]]] = {
    "a router": ((), ()),
    "a second shaper of the same master": (
        another("ip route add 10.8.0.0/24 dev wan0"),
        NO_SECOND,
    ),
    "a default route in a table of its own, for marks": (
        another("ip route add default dev wan0 table 100", "ip rule add fwmark 7 lookup 100"),
        ("ip rule del lookup 100", *NO_SECOND),
    ),
    "a table for what comes from the LAN": (
        another("ip route add default dev wan0 table 100", "ip rule add iif eth2 lookup 100"),
        ("ip rule del lookup 100", *NO_SECOND),
    ),
    "the Internet in halves, with exceptions": (
        (
            "ip route add 0.0.0.0/1 dev shaper0",
            "ip route add 128.0.0.0/1 dev shaper0",
            "ip route add 192.0.2.7 via 10.0.0.100 dev eth1",
        ),
        ("ip route del 0.0.0.0/1", "ip route del 128.0.0.0/1", "ip route del 192.0.2.7"),
    ),
    "a default route before another": (
        (
            "ip route add default via 10.0.0.100 dev eth1 metric 100",
            "ip route add default dev shaper0 metric 10",
        ),
        ("ip route del default dev eth1", "ip route del default dev shaper0"),
    ),
    "everything that is sent": (
        ("shapecfg replace shaper0 eth1 egress",),
        ("shapecfg replace shaper0 eth1 route",),
    ),
    "everything that is received": (another("shapecfg replace wan0 eth1 ingress"), NO_SECOND),
    "both, without a route": (
        another(
            "shapecfg replace wan0 eth1 ingress",
            "shapecfg replace shaper0 eth1 egress",
            "ip route flush dev shaper0",
        ),
        (
            "shapecfg replace shaper0 eth1 route",
            *NO_SECOND,
            *AGAIN,
            "ip address replace 10.0.0.1/28 dev shaper0",
        ),
    ),
    "what a control group sends": (
        (
            join_group,
            "shapecfg add wan0",
            "shapecfg speed wan0 1mbit",
            "shapecfg attach wan0 eth1 cgroup shaper-doctor",
        ),
        (*NO_SECOND, leave_group),
    ),
    "IPv6 alone": (
        another("ip -6 route add fd00:8::/64 dev wan0"),
        NO_SECOND,
    ),
    "a master without a link-layer header": (
        (
            tun_master,
            "shapecfg add wan0",
            "shapecfg speed wan0 1mbit",
            "shapecfg attach wan0 tun9",
            *ROUTED,
        ),
        (*NO_SECOND, let_go),
    ),
    "a bridge as master": (
        (
            "ip link add br9 type bridge",
            "ip link set br9 up",
            "ip link add v0 type veth peer name v1",
            "ip link set v0 master br9 up",
            "ip link set v1 up",
            "ip address add 10.20.0.1/24 dev br9",
            "shapecfg add wan0",
            "shapecfg speed wan0 1mbit",
            "shapecfg attach wan0 br9",
            *ROUTED,
        ),
        (*NO_SECOND, "ip link del v0", "ip link del br9"),
    ),
    "declared routes and rules": ((declared,), ("shapecfg del wan0",)),
    "a firewall that knows the shaper": (
        inet(
            OUTPUT % "drop",
            "add rule inet f out ct state established accept",
            "add rule inet f out oifname { lo, eth1, shaper0 } accept",
            "add chain inet f post { type nat hook postrouting priority 100; }",
            "add rule inet f post oifname { eth1, shaper0 } masquerade",
        ),
        NO_RULE_SET,
    ),
    "a faster qdisc": (
        ("tc qdisc add dev eth1 root tbf rate 100mbit burst 100k limit 100k",),
        ("tc qdisc del dev eth1 root",),
    ),
    "a slow class that nothing gets to": (
        (
            "tc qdisc add dev eth1 root handle 1: htb",
            "tc class add dev eth1 parent 1: classid 1:1 htb rate 1mbit",
        ),
        ("tc qdisc del dev eth1 root",),
    ),
    "a client of DHCP": ((lambda patient: bind_socket(patient, 68),), (let_go,)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_said_where_all_is_well(patient: Patient, name: str) -> None:
    """Set-ups that work: as soon as they are made, and all the time."""
    make, undo = HEALTHY[name]
    try:
        for step in make:
            patient.do(step)
        names = [each["ifname"] for each in Client(str(patient.daemon.socket)).show()]
        for ifname in names:
            wait_state(patient.daemon, "active", ifname)
        wait_until(lambda: not patient.found(), "nothing to be found")
        assert [patient.found(*words) for words in (names, (), (SHAPER,))] == [[], [], []]
    finally:
        for step in undo:
            patient.do(step, is_certain=False)
    wait_until(lambda: not patient.found(), "all to be well again")


def test_it_is_a_command(patient: Patient) -> None:
    """Nothing is printed and the status is 0; else 2, 1 for bad usage, 3 without a daemon."""
    began = time.monotonic()
    done = patient.daemon.shapecfg("doctor", SHAPER)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - began < MOST_SECONDS
    patient.run("tc qdisc add dev eth1 root tbf rate 1mbit burst 10k limit 10k")
    done = patient.daemon.shapecfg("doctor")
    patient.run("tc qdisc del dev eth1 root")
    assert done.returncode == 2
    assert "[qdisc-slower]" in done.stdout
    assert "\n    tc qdisc del dev eth1 root\n" in done.stdout
    for wrong in (["nosuch0"], ["to"], ["to", "10.1"], ["to", "10.1.0.2", "now"]):
        done = patient.daemon.shapecfg("doctor", *wrong)
        assert (done.returncode, done.stdout) == (1, ""), wrong
    assert patient.daemon.shapecfg("--socket", "/nowhere", "doctor").returncode == 3


def test_a_way_is_followed(patient: Patient) -> None:
    """A line for rule, table, shaper, neighbour and master; and what passes by is told."""
    done = patient.daemon.shapecfg("doctor", "to", "10.1.0.2")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "rule",
        "table",
        "shaper",
        "neighbour",
        "master",
    ]
    assert done.returncode == 0
    assert patient.ids("to", "10.0.0.100") == ["passes-by"]
    assert patient.ids("to", "198.51.100.1") == ["refused"]
    assert patient.ids("to", "10.0.0.1") == []


def test_an_ordinary_user_is_told_what_was_not_seen(patient: Patient) -> None:
    """All but the firewall's rules is looked at; that these were not is said, and no fault."""
    gather = partial(Gathering, list_rules=lambda: None)
    told = io.StringIO()
    with patient.net.host.enter(), contextlib.redirect_stderr(told):
        client = Client(str(patient.daemon.socket))
        assert examine(client, (), is_json=False, is_pretty=False, gather=gather) == 0
    assert told.getvalue().startswith("shapecfg: not seen: rules of the firewall (")


def test_a_version_of_another_time_is_told(patient: Patient) -> None:
    """After an upgrade the daemon is still the old one."""
    found = patient.found(gather=partial(Gathering, version="9.9"))
    assert [each["id"] for each in found] == ["version-mismatch"]


def test_a_forwarder_that_hung_is_told(patient: Patient) -> None:
    """While it hangs the shaper is stalled; and once another has taken over, that is told."""
    started = time.clock_gettime(time.CLOCK_BOOTTIME)
    process = processes.process(patient.daemon.pid)
    assert process is not None
    wait_until(
        lambda: process.age_seconds + time.clock_gettime(time.CLOCK_BOOTTIME) - started > 6,
        "the daemon to be old enough",
        7,
    )
    (forwarder,) = patient.daemon.forwarder_pids()
    os.kill(forwarder, signal.SIGSTOP)
    wait_until(lambda: "stalled" in patient.ids(), "the shaper to be stalled", 5)
    wait_until(lambda: patient.ids() == ["forwarder-replaced"], "another to take over", 5)
