"""What is wanted is kept through conflicts, moves, renames and stops; only a wish strikes it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import MASTER, Pair
from bench.lab.wait import wait_until
from shapecfg.client import Client
from shaper.desired.plan import ALIAS_PREFIX
from shaper.desired.store import encode
from shaper.model import Spec
from tests.kernel.steps import SHAPER, exists, ip_json, link, shape, wait_state


def saved(daemon: Shaperd) -> dict[str, str | None]:
    """Return the master of every shaper in the state file."""
    text = (daemon.state / "state.json").read_text(encoding="utf-8")
    return {each["ifname"]: each["master"] for each in json.loads(text)["shapers"]}


@pytest.mark.parametrize("kind", ["link add shaper0 type bridge", "tuntap add shaper0 mode tap"])
def test_a_foreign_device_of_the_name_is_waited_for(pair: Pair, tmp_path: Path, kind: str) -> None:
    """It is left as it is, the others run, and the name is taken over once it is renamed."""
    pair.host.ip(kind, "link set shaper0 alias 'shaper of eth1'")
    before = ip_json(pair.host, "link", "show", "dev", SHAPER)
    with Shaperd(pair.host, "--shapers", "2", directory=tmp_path) as daemon:
        wait_state(daemon, "conflict")
        assert daemon.show("shaper1")["state"] == "detached"
        daemon.configure("attach", SHAPER, MASTER)
        daemon.configure("speed", SHAPER, "1mbit")
        assert ip_json(pair.host, "link", "show", "dev", SHAPER) == before
        pair.host.ip("link set shaper0 name foreign0")
        pair.host.ip("link set shaper1 up")
        wait_state(daemon, "admin-down")
        assert saved(daemon) == {SHAPER: MASTER, "shaper1": None}
    assert exists(pair.host, "foreign0")
    assert not exists(pair.host)


def hold(namespace: Namespace, ifname: str) -> BinaryIO:
    """Return a new TAP of our format, with an owner; it is held until this is closed."""
    with namespace.enter():
        tun = os.fdopen(os.open("/dev/net/tun", os.O_RDWR), "r+b", buffering=0)
        fcntl.ioctl(tun, 0x400454CA, struct.pack("=16sH22x", ifname.encode(), 0x5002))
        fcntl.ioctl(tun, 0x400454CC, 0)
        return tun


def test_devices_that_cannot_be_had_keep_no_other_from_running(pair: Pair, tmp_path: Path) -> None:
    """One is held, one has several queues, one bears a name that the kernel gives to none."""
    pair.host.ip("tuntap add shaper1 mode tap user 0 vnet_hdr multi_queue")
    names = (SHAPER, "shaper1", "all", "shaper3")
    (tmp_path / "state").mkdir()
    (tmp_path / "state/state.json").write_text(encode(Spec(each) for each in names))
    with hold(pair.host, SHAPER) as tun:
        pair.host.ip(*(f"link set {each} alias '{ALIAS_PREFIX} old'" for each in names[:2]))
        with Shaperd(pair.host, directory=tmp_path) as daemon:
            shown = {
                each["ifname"]: each for each in json.loads(daemon.shapecfg("-j", "show").stdout)
            }
            states = {name: each["state"] for name, each in shown.items()}
            assert states == dict.fromkeys(names, "conflict") | {"shaper3": "detached"}
            assert "held by another process" in shown[SHAPER]["warnings"][0]
            assert "is no name of a device" in shown["all"]["warnings"][0]
            tun.close()
            wait_state(daemon, "detached")
            assert set(saved(daemon)) == set(names)


def test_an_alias_of_somebody_does_not_disown_a_shaper(pair: Pair, tmp_path: Path) -> None:
    """The daemon is killed and replaced; the device is adopted with its index."""
    with Shaperd(pair.host, directory=tmp_path) as daemon:
        shape(daemon, pair)
        pair.host.ip("link set shaper0 alias 'uplink of the office'")
        index = link(pair.host)["ifindex"]
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.process.wait()  # type: ignore[union-attr]
        daemon.start()
        wait_state(daemon, "active")
        assert link(pair.host)["ifindex"] == index


def test_a_move_to_another_namespace_and_back(pair: Pair, shaperd: Shaperd) -> None:
    """The setting stays, is told as away, and is in force again when the device is back."""
    shape(shaperd, pair)
    with Namespace() as elsewhere:
        pair.host.ip(
            f"link set {SHAPER} netns /proc/self/fd/{elsewhere.descriptor}",
            pass_fds=(elsewhere.descriptor,),
        )
        wait_state(shaperd, "away")
        assert saved(shaperd) == {SHAPER: MASTER}
        elsewhere.ip(
            f"link set {SHAPER} netns /proc/self/fd/{pair.host.descriptor}",
            pass_fds=(pair.host.descriptor,),
        )
        wait_state(shaperd, "admin-down")
        assert shaperd.show(SHAPER)["link"] == MASTER
    pair.host.ip(f"link del {SHAPER}")
    wait_until(lambda: saved(shaperd) == {}, "the setting to be struck")


def test_a_master_by_its_altname(pair: Pair, shaperd: Shaperd) -> None:
    """As `ip link` takes it, longer than a name; renamed at once, it is still the one."""
    name = "the-uplink-of-this-machine"
    pair.host.ip(f"link property add dev {MASTER} altname {name}")
    shape(shaperd, pair)
    shaperd.configure("detach", SHAPER)
    shaperd.configure("attach", SHAPER, name)
    wait_state(shaperd, "active")
    assert shaperd.show(SHAPER)["link"] == MASTER
    assert saved(shaperd) == {SHAPER: name}


def test_loopback_is_no_master(pair: Pair, shaperd: Shaperd) -> None:
    """Refused with a sentence, before anything is bound."""
    done = shaperd.shapecfg("attach", SHAPER, "lo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "lo is a loopback device" in done.stderr
    assert shaperd.show(SHAPER)["state"] == "detached"


def test_an_mtu_set_by_hand_outlives_the_master(pair: Pair, shaperd: Shaperd) -> None:
    """The master is removed and made anew with the MTU it had."""
    pair.host.ip("link add dummy-a type veth peer name dummy-b")
    shaperd.configure("attach", SHAPER, "dummy-a")
    shaperd.configure("speed", SHAPER, "1mbit")
    pair.host.ip(f"link set {SHAPER} mtu 1400", "link del dummy-a")
    wait_state(shaperd, "master-missing")
    pair.host.ip("link add dummy-a type veth peer name dummy-b")
    wait_state(shaperd, "master-down")
    assert link(pair.host)["mtu"] == 1400
    pair.host.ip("link set dummy-a mtu 1300")
    wait_until(lambda: link(pair.host)["mtu"] == 1300, "the master's MTU")


def test_a_stop_amid_a_storm_loses_nothing(pair: Pair, tmp_path: Path) -> None:
    """Commands come while the daemon stops: what was answered is saved, no device is left."""
    with Shaperd(pair.host, "--shapers", "12", directory=tmp_path) as daemon:
        client = Client(str(daemon.socket))
        for number in range(12):
            client.attach(f"shaper{number}", MASTER)
        script = (
            "import itertools, sys\n"
            "from shapecfg.client import Client\n"
            "client = Client(sys.argv[1])\n"
            "for _ in itertools.count(): print(client.add(None), flush=True)\n"
        )
        storms = [
            pair.host.popen(
                [sys.executable, "-c", script, str(daemon.socket)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for _ in range(3)
        ]
        for storm in storms:
            storm.stdout.readline()  # type: ignore[union-attr]
        os.kill(daemon.pid, signal.SIGTERM)
        added = sum(len(storm.communicate(timeout=20)[0].splitlines()) for storm in storms)
        assert daemon.process.wait(20) == 0  # type: ignore[union-attr]
        kept = saved(daemon)
        assert {name for name, master in kept.items() if master == MASTER} == {
            f"shaper{number}" for number in range(12)
        }
        assert len(kept) >= 12 + added
    left = {each["ifname"] for each in ip_json(pair.host, "link", "show")}
    assert left == {"lo", MASTER}


def test_harmless_signals_do_no_harm(pair: Pair, shaperd: Shaperd) -> None:
    """Neither to the daemon nor to its forwarder, in any number; a reload is one of many."""
    harmless = signal.valid_signals() - {
        *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGSTOP),
        signal.SIGABRT,
    }
    shape(shaperd, pair)
    (forwarder,) = shaperd.forwarder_pids()
    for number in sorted(harmless):
        os.kill(shaperd.pid, number)
        if number != signal.SIGHUP:
            os.kill(forwarder, number)
    for _ in range(1000):
        os.kill(shaperd.pid, signal.SIGHUP)
    wait_state(shaperd, "active")
    assert shaperd.forwarder_pids() == [forwarder]
    assert "Traceback" not in shaperd.log()
