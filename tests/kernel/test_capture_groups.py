"""Traffic of a control group: waited for, followed, and taken before what is around it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import MASTER, PEER, Pair
from bench.lab.wait import wait_until
from shaper.kernel import bpf
from tests.kernel.steps import PORT, SHAPER, dropped, show, wait_state
from tests.kernel.taking import ping, sent, take

OTHER, BELOW = "shaper1", "shaper2"


def unified() -> Path:
    """Return where control groups can be made."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        if " - cgroup2 " in line and os.access(line.split()[4], os.W_OK):
            return Path(line.split()[4])
    pytest.skip("needs a cgroup2 mount that can be written")


@pytest.fixture
def group() -> Iterator[Path]:
    """Return the path of a control group that is not there yet."""
    path = unified() / f"shaper-test-{os.getpid()}"
    yield path
    for left in (path / "below", path):
        if left.is_dir():
            left.rmdir()


def send_from(group: Path, namespace: Namespace, datagrams: int) -> None:
    """Send datagrams to the peer by a process of a group."""
    program = (
        "import os, socket, sys\n"
        f"open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"for n in range({datagrams}): s.sendto(n.to_bytes(8, 'little'), ({PEER!r}, {PORT}))\n"
    )
    namespace.run([sys.executable, "-c", program])


def test_a_group_is_waited_for_and_followed(pair: Pair, shaperd: Shaperd, group: Path) -> None:
    """What its processes send is taken, and of those below it; what others send is not."""
    take(shaperd, "cgroup", group.name)
    assert show(shaperd)["state"] == "cgroup-missing"
    ping(pair.host, PEER)
    assert sent(shaperd) == 0
    for round_number in (1, 2):  # the second is a new group of the old name
        group.mkdir()
        wait_state(shaperd, "active")
        (group / "below").mkdir()
        send_from(group, pair.host, 20)
        wait_until(lambda r=round_number: sent(shaperd) == 40 * r - 20, "the group's datagrams")
        send_from(group / "below", pair.host, 20)
        wait_until(lambda r=round_number: sent(shaperd) == 40 * r, "those of the one below")
        ping(pair.host, PEER)
        assert (sent(shaperd), dropped(show(shaperd))) == (40 * round_number, 0)
        (group / "below").rmdir()
        group.rmdir()
        wait_state(shaperd, "cgroup-missing")


@pytest.mark.parametrize("is_group_first", [False, True])
def test_a_group_that_comes_late_is_taken_before_what_is_around_it(
    pair: Pair, shaperd: Shaperd, group: Path, *, is_group_first: bool
) -> None:
    """Before `egress` and before the group it is in, whichever was attached first."""
    attached = [(SHAPER, ("cgroup", group.name)), (OTHER, ("egress",))]
    for ifname, how in attached if is_group_first else reversed(attached):
        take(shaperd, *how, ifname=ifname)
    group.mkdir()
    wait_state(shaperd, "active")
    send_from(group, pair.host, 20)
    wait_until(lambda: sent(shaperd) == 20, "the group's datagrams")
    below = group / "below"
    take(shaperd, "cgroup", f"{group.name}/{below.name}", ifname=BELOW)
    below.mkdir()
    wait_until(lambda: show(shaperd, BELOW)["state"] == "active", "the group below")
    send_from(below, pair.host, 20)
    wait_until(lambda: sent(shaperd, BELOW) == 20, "the datagrams of the one below")
    with pair.host.enter():
        index = socket.if_nametoindex(MASTER)
        assert bpf.names(index, bpf.Hook.EGRESS) == ["shaper_cgroup"] * 2 + ["shaper_egress"]


def test_a_unit_that_is_started_again_and_again_is_limited(
    pair: Pair, shaperd: Shaperd, group: Path
) -> None:
    """Ten times a second, which is more often than a shaper is changed."""
    take(shaperd, "cgroup", group.name)
    program = (
        "import os, pathlib, socket, time\n"
        f"group = pathlib.Path({str(group)!r})\n"
        "outside = group.parent / 'cgroup.procs'\n"
        "for _ in range(20):\n"
        "    group.mkdir()\n"
        "    time.sleep(0.07)\n"  # a service manager and a program need some time as well
        "    (group / 'cgroup.procs').write_text(str(os.getpid()))\n"
        "    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
        f"        for _ in range(5): s.sendto(bytes(8), ({PEER!r}, {PORT}))\n"
        "    outside.write_text(str(os.getpid()))\n"
        "    group.rmdir()\n"
        "    time.sleep(0.03)\n"
    )
    pair.host.run([sys.executable, "-c", program])
    wait_until(lambda: sent(shaperd) >= 90, "the datagrams of its groups")
