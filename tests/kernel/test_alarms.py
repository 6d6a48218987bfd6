"""What goes wrong with a shaper is told without being asked, and so is its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, REMOTE, REMOTE_NETWORK, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import PORT, SHAPER, shape, show

RAISED_S = 6.0  # specified: within so much of a fault, and ended so long after it
SLACK_S = 1.0  # of a machine that is busy otherwise
PERIOD_S = 0.01


@contextlib.contextmanager
def datagrams(pair: Pair) -> Iterator[None]:
    """Send a datagram every hundredth of a second to the peer."""
    over = threading.Event()
    with pair.host.enter():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def run() -> None:
        while not over.wait(PERIOD_S):
            with contextlib.suppress(OSError):
                sender.sendto(bytes(200), (REMOTE, PORT))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        sender.close()


def slow_queue(pair: Pair) -> None:
    """Have the master's own queue be slower than the shaper, and short."""
    pair.host.run(
        ["tc", *f"qdisc add dev {MASTER} root tbf rate 32kbit burst 2k limit 2k".split()]
    )


def alarms(shaperd: Shaperd) -> list[str]:
    """Return the alarms that `show` tells of."""
    return [each["alarm"] for each in show(shaperd)["alarms"]]


def test_traffic_that_passes_by_is_told_and_so_is_its_end(pair: Pair, shaperd: Shaperd) -> None:
    """A route is led elsewhere and back; what is right raises no alarm."""
    shape(shaperd, pair, "10mbit")
    with datagrams(pair):
        wait_until(lambda: show(shaperd)["stats"]["sent_packets"] > 100, "traffic")
        time.sleep(1.5)  # one look at least, which is what learns the way
        assert alarms(shaperd) == []
        pair.host.ip(f"route replace {REMOTE_NETWORK} dev {MASTER}")
        limit = RAISED_S + SLACK_S
        wait_until(lambda: alarms(shaperd) == ["bypassed"], "the alarm", limit)
        assert f"ALARM bypassed: what goes to {REMOTE[:5]}" in shaperd.shapecfg("show").stdout
        pair.host.ip(f"route replace {REMOTE_NETWORK} dev {SHAPER}")
        wait_until(lambda: alarms(shaperd) == [], "the end of the alarm", limit)
    log = shaperd.log()
    assert log.count("alarm (bypassed)") == 1
    assert log.count("the alarm is over (bypassed)") == 1


def test_a_master_that_loses_frames_is_told(pair: Pair, shaperd: Shaperd) -> None:
    """Its queue is slower than the shaper; the alarm is over when it has been quiet for 5 s."""
    shape(shaperd, pair, "10mbit")
    limit = RAISED_S + SLACK_S
    with datagrams(pair):
        wait_until(lambda: show(shaperd)["stats"]["sent_packets"] > 10, "traffic")
        slow_queue(pair)
        wait_until(lambda: alarms(shaperd) == ["faults"], "the alarm", limit)
        pair.host.run(["tc", "qdisc", "del", "dev", MASTER, "root"])
        wait_until(lambda: alarms(shaperd) == [], "the end of the alarm", limit)


def test_a_forwarder_that_hangs_is_told(pair: Pair, shaperd: Shaperd) -> None:
    """Until another has taken over."""
    shape(shaperd, pair, "10mbit")
    with datagrams(pair):
        wait_until(lambda: show(shaperd)["stats"]["sent_packets"] > 10, "traffic")
        (forwarder,) = shaperd.forwarder_pids()
        os.kill(forwarder, signal.SIGSTOP)
        limit = RAISED_S + SLACK_S
        wait_until(lambda: alarms(shaperd) == ["stalled"], "the alarm", limit)
        wait_until(lambda: "stalled" not in alarms(shaperd), "the end of the alarm", limit)
