"""The service restarted, killed, reloaded, upgraded and booted in a container, under load.

What arrives is listened to at its socket, as the kernel stamps it. In no window of 0.1 s may it be
more than the rate gives and the bucket holds, and the pause of a restart and a kill is noted. Each
way a shaper can be led traffic has a campaign. The machine has its address from a DHCP client, and
always a default route past the shaper: what is not led through it arrives unshaped, and is seen.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.lab.namespaces import Namespace, stop
from bench.lab.wait import wait_until
from tests.ordeal.campaign import Trial, campaign
from tests.ordeal.watched import (
    OWN,
    RECEIVE,
    SEND,
    arrivals,
    heard,
    judge,
    receiver,
    sender,
)
from tests.system.installed_machine import (
    CHECKOUT,
    PYTHON,
    REMOTE,
    WHEELS,
    InstalledMachine,
    fetch_wheels,
    installed_machine,
    make,
    set_up_peer,
)

STALL_NS = 200_000_000
ROUND_S, LEASE_S, BOOT_S = 2.4, 8.0, 10.0
FIRST_LEASE = 20
TO_OWN = f"route add {OWN} dev eth0"  # goes with the cable

SHAPED = '[device.shaper0]\nmaster = "eth1"\nspeed = "10mbit"\nup = true\n'
DECLARED = SHAPED + 'routes = ["10.1.0.0/24"]\n'
LEASED = SHAPED + 'addresses = "master"\nroutes = ["default"]\n'
ROUTE = "ip route replace 10.1.0.0/24 dev shaper0 src 10.9.9.9\n"
LEAD = {
    "route": f"shapecfg attach shaper0 eth1\nip link set shaper0 up\n{ROUTE}",
    "egress": "shapecfg attach shaper0 eth1 egress\n",
    "ingress": "shapecfg attach shaper0 eth1 ingress\n",
    "cgroup": "shapecfg attach shaper0 eth1 cgroup system.slice\n",
    "declared": f"printf '{DECLARED}' >/etc/shaper/shaper.toml\nsystemctl reload shaper\n",
    "uplink": f"printf '{LEASED}' >/etc/shaper/shaper.toml\nsystemctl reload shaper\n",
}
# What an administrator routed by hand follows no lease, and no boot.
BY_HAND = {"route"}

LEASE_SCRIPT = """#!/bin/sh
case $1 in
deconfig) ip -4 address flush dev eth1 ;;
bound | renew)
    ip address replace "$ip/$mask" dev eth1
    ip route replace default via "$router" dev eth1
    ;;
esac
"""
FIXED_SCRIPT = f"""#!/bin/sh
ip address replace {OWN}/32 dev lo
until ip link set eth1 up; do :; done
ip address replace 10.0.0.1/24 dev eth1
ip route replace default via 10.0.0.100 dev eth1 metric 9
"""
# It has an address and a route at once, as ifupdown gives a fixed one, and the lease's soon.
LEASE_UNIT = """
[Unit]
After=network-pre.target
Before=network.target
[Service]
ExecStartPre=/usr/local/sbin/fixed
ExecStart=/usr/bin/busybox udhcpc -f -i eth1 -s /usr/local/sbin/leased -t 1000 -T 1 -A 1
[Install]
WantedBy=multi-user.target
"""
LOAD_UNIT = f"""
[Service]
ExecStart={PYTHON} /srv/send.py {REMOTE} {BOOT_S - 2}
StandardError=null
"""
EAR_UNIT = f"""
[Service]
ExecStart={PYTHON} /srv/receive.py {BOOT_S - 2}
StandardOutput=truncate:/srv/heard
"""
UDHCPD = """
start 10.0.0.{number}
end 10.0.0.{number}
interface eth0
lease_file {directory}/leases
pidfile {directory}/pid
option subnet 255.255.255.0
option router 10.0.0.100
"""


class LeaseServer:
    """A DHCP server at the peer, which has one address to give."""

    def __init__(self, peer: Namespace, directory: Path) -> None:
        self._peer = peer
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.number = FIRST_LEASE

    def offer(self, number: int) -> None:
        """Give this address from now on, and know of no other."""
        self.close()
        self.number = number
        (self._directory / "leases").write_bytes(b"")
        configuration = self._directory / "udhcpd.conf"
        configuration.write_text(UDHCPD.format(number=number, directory=self._directory))
        argv = ["busybox", "udhcpd", "-f", str(configuration)]
        self._process = self._peer.popen(argv, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        """Stop serving."""
        if self._process is not None:
            stop(self._process)
            self._process = None


@dataclass(frozen=True)
class Site:
    """The machine, and who gives it its address."""

    machine: InstalledMachine
    leases: LeaseServer

    def has_lease(self) -> bool:
        """Whether the machine has the address that is offered now."""
        seen = self.machine.container.try_run("ip", "-4", "address", "show", "dev", "eth1")
        return f"10.0.0.{self.leases.number}/" in seen.stdout

    def flap(self, machine: InstalledMachine) -> None:
        """Take the master down and up; its own routes go with it, and come back."""
        machine.container.shell(
            "ip link set eth1 down\nip link set eth1 up\n"
            "ip route replace default via 10.0.0.100 dev eth1\n"
        )

    def change_lease(self, machine: InstalledMachine) -> None:
        """Have the client ask again, which is given another address."""
        self.leases.offer(self.leases.number + 1)
        machine.systemctl("kill", "--signal=USR2", "lease")  # release
        machine.systemctl("kill", "--signal=USR1", "lease")  # and renew
        wait_until(self.has_lease, "another lease", LEASE_S)


def command(*argv: str) -> Callable[[InstalledMachine], None]:
    """Return the fault that a command inside makes."""
    return lambda machine: void(machine.container.run(*argv))


def void(_: object) -> None:
    """Return nothing."""


RESTART = command("systemctl", "restart", "shaper")
KILL = command("systemctl", "kill", "--kill-who=main", "--signal=KILL", "shaper")
RELOAD = command("systemctl", "reload", "shaper")
UPGRADE = command(*make("install", CHECKOUT, WHEELS, "RESTART=yes"))


@contextlib.contextmanager
def site_led_by(way: str) -> Iterator[Site]:
    """Boot a machine whose shaper0 is led its traffic in one way, and is active."""
    with tempfile.TemporaryDirectory() as directory:
        wheels, place = Path(directory) / "wheels", Path(directory) / "machine"
        wheels.mkdir()
        place.mkdir()
        fetch_wheels(wheels)
        with installed_machine(place, wheels, "multi-user.target") as machine:
            leases = LeaseServer(machine.peer, Path(directory))
            with contextlib.closing(leases):
                site = Site(machine, leases)
                settle(site, way)
                yield site


def settle(site: Site, way: str) -> None:
    """Give the machine its programs, its lease and its shaper."""
    container = site.machine.container
    put(container.root, "usr/local/sbin/leased", LEASE_SCRIPT, 0o755)
    put(container.root, "usr/local/sbin/fixed", FIXED_SCRIPT, 0o755)
    put(container.root, "srv/send.py", SEND)
    put(container.root, "srv/receive.py", RECEIVE)
    put(container.root, "etc/systemd/system/lease.service", LEASE_UNIT)
    put(container.root, "etc/systemd/system/load.service", LOAD_UNIT)
    put(container.root, "etc/systemd/system/ear.service", EAR_UNIT)
    put(container.root, "etc/tmpfiles.d/tun.conf", "z /dev/net/tun 0666\n")
    site.machine.peer.ip(TO_OWN)
    site.leases.offer(FIRST_LEASE)
    container.shell(
        "ip address flush dev eth1\nmkdir -p /etc/shaper\nsystemctl daemon-reload\n"
        "systemctl enable --now shaper lease\n"
    )
    wait_until(site.has_lease, "a lease", LEASE_S)
    container.shell(LEAD[way])
    container.run("shapecfg", "speed", "shaper0", "10mbit")
    wait_until(site.machine.is_passing, "shaper0 to be active", 10)


def put(root: Path, path: str, text: str, mode: int = 0o644) -> None:
    """Write a file of the machine."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")
    (root / path).chmod(mode)


def boot_arrivals(site: Site, way: str) -> list[float]:
    """Boot anew, with a load that begins as early as it can, and return when it arrived."""
    machine, unit = site.machine, "ear" if way == "ingress" else "load"
    machine.container.run("systemctl", "add-wants", "multi-user.target", f"{unit}.service")
    machine.container.reboot()
    machine.container.connect(machine.peer)
    set_up_peer(machine.peer)
    machine.peer.ip(TO_OWN)
    site.leases.offer(site.leases.number)
    if way == "ingress":
        with sender(machine, way, BOOT_S) as load:
            load.wait()
        told = (machine.container.root / "srv/heard").read_text(encoding="utf-8")
        times = json.loads(told.splitlines()[1])
    else:
        with receiver(machine, way, BOOT_S) as listening:
            times = heard(listening)
    wait_until(machine.is_passing, "shaper0 to be active", 10)
    return [float(each) for each in times]


def campaign_of(way: str) -> Callable[[Trial], None]:
    """Return the campaign of one way to be led traffic."""

    def run(trial: Trial) -> None:
        with site_led_by(way) as site:
            short = {"restart": RESTART, "kill": KILL, "reload": RELOAD, "flap": site.flap}
            for number in trial:
                what, fault = list(short.items())[number % len(short)]
                times = arrivals(site.machine, way, fault, ROUND_S)
                judge(trial, what, times, None if what == "flap" else STALL_NS)
                wait_until(site.machine.is_passing, "shaper0 to be active", 10)
                site.machine.systemctl("reset-failed")

    run.__doc__ = f"Restart, kill, reload and flap in turn, by {way}."
    return run


def long_campaign_of(way: str) -> Callable[[Trial], None]:
    """Return the campaign of what takes longer."""

    def run(trial: Trial) -> None:
        with site_led_by(way) as site:
            for _ in trial:
                judge(trial, "upgrade", arrivals(site.machine, way, UPGRADE, ROUND_S), STALL_NS)
                if way in BY_HAND:
                    continue
                change = site.change_lease
                judge(trial, "lease", arrivals(site.machine, way, change, LEASE_S), None)
                judge(trial, "boot", boot_arrivals(site, way), None)

    run.__doc__ = f"An upgrade, another lease and a boot, by {way}."
    return run


for _way in LEAD:
    campaign(f"service by {_way}", count=80)(campaign_of(_way))
    campaign(f"service for long by {_way}", count=3)(long_campaign_of(_way))
