"""The service as an administrator has it: installed by make, run by a real systemd."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.wait import wait_until
from tests.system.installed_machine import InstalledMachine, uninstall
from tests.system.leaving import declare_everything, network

RATE = "2mbit"
RATE_BITS = 2_000_000
# A counter read from outside, on a machine that may be busy: exactness is for captures to judge.
EXCESS = 0.02
SHORTFALL = 0.1
ATTEMPTS = 4
MAX_EXPOSURE = 2.0
QUICK_WATCHDOG = "2s"  # less than the daemon itself waits before it replaces a stuck forwarder
CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF = 12, 13, 39  # include/uapi/linux/capability.h


@pytest.fixture
def shaping(machine: InstalledMachine) -> InstalledMachine:
    """Bring shaper0 up, attached, routed and passing, whatever happened before."""
    machine.systemctl("reset-failed")
    machine.shape(RATE)
    return machine


def assert_shapes(machine: InstalledMachine) -> None:
    """Hold what the peer receives to the configured rate.

    Never more than that; much less only as long as this machine is too busy to send.
    """
    received = 0.0
    for _ in range(ATTEMPTS):
        received = machine.received_bits(RATE_BITS)
        assert received <= RATE_BITS * (1 + EXCESS)
        if received >= RATE_BITS * (1 - SHORTFALL):
            return
    pytest.fail(f"the peer received {received:.0f} of {RATE_BITS} bit/s, {ATTEMPTS} times over")


def filters(machine: InstalledMachine, pid: str) -> int:
    """Return how many seccomp filters a process in the container obeys."""
    status = machine.container.run("cat", f"/proc/{pid}/status")
    match = re.search(r"^Seccomp_filters:\s*(\d+)$", status, re.M)
    assert match is not None
    return int(match[1])


def capabilities(machine: InstalledMachine, pid: str, kind: str = "CapEff") -> int:
    """Return the capabilities a process inside has, or could have, as a mask."""
    status = machine.container.run("cat", f"/proc/{pid}/status")
    match = re.search(rf"^{kind}:\s*([0-9a-f]+)$", status, re.MULTILINE)
    assert match is not None
    return int(match[1], 16)


@contextlib.contextmanager
def changed(machine: InstalledMachine, setting: str) -> Iterator[None]:
    """Change the unit in one line, for what is started inside."""
    directory = "/run/systemd/system/shaper.service.d"
    lines = f"[Service]\n{setting}\n"
    machine.container.shell(f"mkdir -p {directory}\nprintf '{lines}' >{directory}/test.conf\n")
    machine.systemctl("daemon-reload")
    try:
        yield
    finally:
        machine.container.run("rm", "-r", directory)
        machine.systemctl("daemon-reload")
        machine.systemctl("restart", "shaper")


def test_installed_files_are_what_systemd_accepts(machine: InstalledMachine) -> None:
    """The unit passes verification without a word, and user and group exist."""
    verify = machine.container.try_run("systemd-analyze", "verify", "shaper.service")
    assert (verify.returncode, verify.stderr) == (0, "")
    assert machine.container.run("id", "-gn", "shaper") == "shaper\n"


def test_at_boot_no_interface_is_set_up_before_it_runs(machine: InstalledMachine) -> None:
    """It goes before the network, and before what a network may be needed for (a cloud's boot)."""
    before, after = machine.property("Before").split(), machine.property("After").split()
    assert "network-pre.target" in before
    assert not {"basic.target", "sysinit.target", "network-pre.target"} & set(after)
    # What each service has by default, it has to ask for.
    assert {"local-fs.target", "systemd-tmpfiles-setup.service"} <= set(after)
    assert "shutdown.target" in machine.property("Conflicts").split()


def test_exposure_is_low(machine: InstalledMachine) -> None:
    """`systemd-analyze security` finds little that the service could do beside its work."""
    report = machine.container.run("systemd-analyze", "security", "--no-pager", "shaper.service")
    match = re.search(r"exposure level for shaper\.service: ([0-9.]+)", report)
    assert match is not None
    assert float(match[1]) <= MAX_EXPOSURE


def test_traffic_is_shaped(shaping: InstalledMachine) -> None:
    """What is sent over the route through shaper0 arrives at the configured rate."""
    assert_shapes(shaping)


def test_the_journal_has_events_with_fields(shaping: InstalledMachine) -> None:
    """Who attached what is asked for by field, and belongs to the unit."""
    event = ("SHAPER_EVENT=attached", "SHAPER_DEVICE=shaper0", "SHAPER_UID=0")
    told = shaping.container.run("journalctl", "-q", "-u", "shaper.service", *event)
    assert "Attach ifname='shaper0'" in told


def test_only_the_daemon_has_privileges_and_only_three(shaping: InstalledMachine) -> None:
    """The daemon has three capabilities, the forwarder nothing, neither is root."""
    daemon, forwarder = shaping.main_pid(), shaping.forwarder_pid()
    wanted = sum(1 << each for each in (CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF))
    # systemd-nspawn before version 253 leaves no CAP_BPF to what runs inside.
    assert capabilities(shaping, daemon) == wanted & capabilities(shaping, "1", "CapBnd")
    assert capabilities(shaping, forwarder) == 0
    for pid in (daemon, forwarder):
        assert shaping.container.run("ps", "-o", "user=,group=", pid).split() == ["shaper"] * 2


def test_each_process_makes_only_the_system_calls_it_needs(shaping: InstalledMachine) -> None:
    """The unit's filters let the forwarder install its own, and no process meets one of them."""
    daemon, forwarder = shaping.main_pid(), shaping.forwarder_pid()
    assert filters(shaping, daemon) > 0
    assert filters(shaping, forwarder) == filters(shaping, daemon) + 1
    log = shaping.container.run("journalctl", "--no-pager", "--unit", "shaper.service")
    assert "not filtered" not in log
    assert "SIGSYS" not in log
    assert "Operation not permitted" not in log
    # proc(5): the files of a process that may not be dumped, nor traced, are root's.
    owner = shaping.container.run("stat", "-c", "%u", f"/proc/{forwarder}/environ")
    assert owner == "0\n"


def test_each_forwarder_has_a_ring(shaping: InstalledMachine) -> None:
    """The unit allows one to those that serve and to the one that stands by, all of one user.

    A container whose own manager may not raise limits has memory for the first alone.
    """

    def have_rings() -> list[bool]:
        pids = shaping.container.try_run("pgrep", "-f", "shaper.forwarder").stdout.split()
        held = [shaping.container.try_run("ls", "-l", f"/proc/{pid}/fd").stdout for pid in pids]
        return ["anon_inode:[io_uring]" in each for each in held]

    limits = shaping.container.run("grep", "locked", f"/proc/{shaping.main_pid()}/limits")
    wanted = [True, int(limits.split()[-2]) == 256 << 20]
    wait_until(lambda: have_rings() == wanted, "a ring in each")


def test_no_system_call_that_is_needed_is_refused(shaping: InstalledMachine) -> None:
    """Where the unit's filter kills in place of refusing, the daemon lives as it always does."""
    with changed(shaping, "SystemCallErrorNumber=kill"):
        shaping.systemctl("restart", "shaper")
        shaping.shape(RATE)
        daemon = shaping.main_pid()
        shaping.container.run("kill", "-KILL", shaping.forwarder_pid())
        to_fifo = ["shapecfg", "set", "shaper0", "queue", "fifo"]
        wait_until(
            lambda: shaping.container.try_run(*to_fifo).returncode == 0, "another forwarder"
        )
        shaping.container.run("shapecfg", "set", "shaper0", "queue", "fq_codel")
        shaping.container.run("shapecfg", "add", "shaper7")
        shaping.container.run("shapecfg", "del", "shaper7")
        shaping.systemctl("reload", "shaper")
        wait_until(shaping.is_passing, "shaper0 to become active again")
        assert_shapes(shaping)
        assert shaping.main_pid() == daemon
        shaping.systemctl("stop", "shaper")
        assert shaping.property("Result") == "success"
        shaping.systemctl("start", "shaper")


def test_everyone_may_read_and_not_everyone_may_change(shaping: InstalledMachine) -> None:
    """An ordinary user reaches the socket and sees the shapers; a change is refused."""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    assert "shaper0" in shaping.container.run(*nobody, "shapecfg", "show")
    refused = shaping.container.try_run(*nobody, "shapecfg", "speed", "shaper0", "1mbit")
    assert refused.returncode == 2
    assert shaping.show()["options"]["rate_bits"] == RATE_BITS


def test_members_of_the_group_may_change(shaping: InstalledMachine) -> None:
    """Membership of the group shaper is enough to set a speed."""
    member = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=shaper"]
    shaping.container.run(*member, "shapecfg", "speed", "shaper0", "1mbit")
    assert shaping.show()["options"]["rate_bits"] == 1_000_000


def test_killed_daemon_comes_back_by_itself(shaping: InstalledMachine) -> None:
    """After kill -9 systemd starts it again, and it shapes without anyone's help."""
    routes, restarts = shaping.routes(), int(shaping.property("NRestarts"))
    shaping.systemctl("kill", "--kill-who=main", "--signal=KILL", "shaper")
    assert shaping.routes().split()[:1] == routes.split()[:1]
    wait_until(lambda: int(shaping.property("NRestarts")) > restarts, "a restart", 10)
    wait_until(shaping.is_passing, "shaper0 to become active again", 10)
    assert shaping.routes() == routes
    assert_shapes(shaping)


def test_killed_forwarder_is_replaced(shaping: InstalledMachine) -> None:
    """After kill -9 of the forwarder the same daemon goes on with another one."""
    daemon, routes, killed = shaping.main_pid(), shaping.routes(), shaping.forwarder_pid()
    shaping.container.run("kill", "-KILL", killed)
    wait_until(lambda: shaping.forwarder_pid() != killed, "another forwarder")
    wait_until(shaping.is_passing, "shaper0 to become active again")
    assert (shaping.main_pid(), shaping.routes()) == (daemon, routes)
    assert_shapes(shaping)


def test_what_is_declared_stays_over_a_restart_and_goes_with_a_stop(
    shaping: InstalledMachine,
) -> None:
    """No rule and no route is gone for a moment; after a stop there is none."""
    plain = '[device.shaper0]\\nmaster = "eth1"\\nspeed = "2mbit"\\n'
    declared = 'routes = ["10.5.0.0/16 table 7"]\\nrules = ["to 10.5.0.0/16 table 7"]\\n'
    shaping.container.shell(f"printf '{plain}{declared}' >/etc/shaper/shaper.toml\n")
    listing = "(ip route show table all; ip rule show) | grep 10.5.0.0 || true"
    try:
        shaping.systemctl("restart", "shaper")
        before = wait_until(
            lambda: found if (found := shaping.container.shell(f"{listing} || true")) else "",
            "them",
        )
        assert before.count("10.5.0.0/16") >= 2
        monitor = subprocess.Popen(
            shaping.container.argv("timeout", "4", "ip", "monitor", "route", "rule"),
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        shaping.systemctl("restart", "shaper")
        told, _ = monitor.communicate()
        assert [line for line in told.splitlines() if "Deleted" in line] == []
        assert shaping.container.shell(listing) == before
        shaping.systemctl("stop", "shaper")
        wait_until(lambda: not shaping.container.shell(listing), "nothing to be left")
    finally:
        shaping.container.shell(f"printf '{plain}' >/etc/shaper/shaper.toml\n")
        shaping.systemctl("restart", "shaper")
        shaping.container.shell("rm /etc/shaper/shaper.toml\n")


def test_reload_with_a_bad_configuration_changes_nothing(shaping: InstalledMachine) -> None:
    """One that cannot be read fails the reload, and the daemon goes on as it was."""
    daemon = shaping.main_pid()
    shaping.container.shell("echo 'nonsense = [' >/etc/shaper/shaper.toml")
    refused = shaping.container.try_run("systemctl", "reload", "shaper")
    shaping.container.shell("rm /etc/shaper/shaper.toml")
    assert refused.returncode != 0
    assert (shaping.main_pid(), shaping.property("ActiveState")) == (daemon, "active")
    assert_shapes(shaping)


def test_reload_with_a_good_configuration_applies_it(shaping: InstalledMachine) -> None:
    """The speed of the file comes to hold, and the status line tells of the shaper."""
    text = '[device.shaper0]\\nmaster = "eth1"\\nspeed = "3mbit"\\n'
    shaping.container.shell(f"printf '{text}' >/etc/shaper/shaper.toml")
    shaping.systemctl("reload", "shaper")
    wait_until(lambda: shaping.show()["options"]["rate_bits"] == 3_000_000, "the new speed")
    shaping.container.shell("rm /etc/shaper/shaper.toml")
    wait_until(lambda: shaping.property("StatusText") == "1 shaper, 1 active", "the status")


def test_watchdog_is_fed_only_while_the_forwarder_answers(shaping: InstalledMachine) -> None:
    """A forwarder that hangs makes systemd, told to be quick about it, start all anew."""
    with changed(shaping, f"WatchdogSec={QUICK_WATCHDOG}"):
        shaping.systemctl("restart", "shaper")
        shaping.shape(RATE)
        restarts, hung = int(shaping.property("NRestarts")), shaping.forwarder_pid()
        shaping.container.run("kill", "-STOP", hung)
        wait_until(lambda: int(shaping.property("NRestarts")) > restarts, "the watchdog", 10)
        wait_until(shaping.is_passing, "shaper0 to become active again", 10)
        assert shaping.forwarder_pid() != hung


def test_stop_removes_the_device_and_keeps_the_state(shaping: InstalledMachine) -> None:
    """A clean stop leaves no device, no process and no socket, and forgets nothing."""
    shaping.systemctl("stop", "shaper")
    assert shaping.property("Result") == "success"
    assert shaping.container.try_run("ip", "link", "show", "shaper0").returncode != 0
    assert shaping.container.try_run("ls", "/run/shaper/org.shaper").returncode != 0
    shaping.systemctl("start", "shaper")
    assert shaping.show()["link"] == "eth1"


def test_uninstall_removes_everything_but_state_and_configuration(
    shaping: InstalledMachine,
) -> None:
    """Of what was installed, only /var/lib/shaper and /etc/shaper are left.

    The network is the machine's own, as before the service ran.
    """
    before = installed_files(shaping.container.upper)
    shaping.systemctl("stop", "shaper")
    own = network(shaping)
    declare_everything(shaping)
    shaping.systemctl("enable", "shaper")
    uninstall(shaping.container)
    assert network(shaping) == own
    after = installed_files(shaping.container.upper)
    assert any(name.startswith("usr/local/lib/shaper/") for name in before)
    kept = ("var/lib/shaper/", "etc/shaper/")
    assert [name for name in after if not name.startswith(kept)] == []
    assert any(name.startswith("var/lib/shaper/") for name in after)


def installed_files(upper: Path) -> list[str]:
    """Return the files below the places an installation may touch that name the project."""
    places = ("usr/local", "usr/lib", "usr/bin", "etc/systemd", "etc/shaper", "var/lib")
    found = (path for place in places for path in (upper / place).rglob("*"))
    names = (str(path.relative_to(upper)) for path in found if not path.is_dir())
    return sorted(name for name in names if re.search(r"shape(r|cfg)", name))
