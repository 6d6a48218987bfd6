"""A flood that goes on: ten times the rate, every frame accounted for, and memory that stays."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bench.lab.daemon import Shaperd
from bench.lab.datagrams import Volley
from bench.lab.topology import REMOTE, Pair, make_pair
from bench.lab.wait import wait_until
from shapecfg.client import Client
from shaper.units import parse_rate
from tests.kernel.steps import SHAPER, dropped, shape, show, wait_carrier
from tests.ordeal.campaign import Trial, campaign
from tests.ordeal.control_clients import rss_kib

RATE = "2mbit"
FRAME_BYTES = 1000
PORT = 9
SECONDS_AN_ACCOUNT = 30  # chosen: then the flood pauses until all of it is accounted for
LIMIT_PACKETS = 100  # soon empty
TURN_S = 0.01


class Flood:
    """Datagrams of ten times the rate into a shaper.

    Attributes:
        accepted: how many the kernel took.
    """

    def __init__(self, pair: Pair) -> None:
        self.accepted = 0
        with pair.host.enter():
            self._volley = Volley((REMOTE, PORT), FRAME_BYTES)
        self._a_second = 10 * parse_rate(RATE).rate_bits // (8 * FRAME_BYTES)

    def close(self) -> None:
        """Close its socket."""
        self._volley.close()

    def pour(self) -> None:
        """Send for a second."""
        begin_s, fired = time.monotonic(), 0
        while fired < self._a_second:
            due = int((time.monotonic() - begin_s) * self._a_second) + 1
            while fired < min(due, self._a_second):
                with contextlib.suppress(ConnectionRefusedError):  # nothing listens there
                    sent = self._volley.fire(min(due, self._a_second) - fired)
                    fired += sent
                    self.accepted += sent
            time.sleep(TURN_S)


def unaccounted(daemon: Shaperd, flood: Flood) -> int:
    """Return how many frames are neither sent nor counted as dropped, once none waits."""

    def missing() -> int:
        shown = show(daemon)
        return flood.accepted - int(shown["stats"]["sent_packets"]) - dropped(shown)

    with contextlib.suppress(Exception):
        wait_until(lambda: show(daemon)["stats"]["backlog_packets"] == 0, "the queue", seconds=30)
        wait_until(lambda: missing() == 0, "all are accounted for", seconds=5)
    return missing()


@contextlib.contextmanager
def flooded() -> Iterator[tuple[Shaperd, Flood]]:
    """Run a slow shaper, and what floods it."""
    with make_pair() as pair, Shaperd(pair.host) as daemon:
        shape(daemon, pair, RATE)
        wait_carrier(pair.host, is_on=True)
        Client(str(daemon.socket)).set_options(SHAPER, {"limit_packets": LIMIT_PACKETS})
        stream = Flood(pair)
        try:
            yield daemon, stream
        finally:
            stream.close()


@campaign("flood seconds", count=3600)
def flood(trial: Trial) -> None:
    """Of ten times the rate, second by second."""
    with flooded() as (daemon, stream):
        for number in trial:
            stream.pour()
            if number >= SECONDS_AN_ACCOUNT:  # memory has found its size by then
                trial.memory(sum(map(rss_kib, (daemon.pid, *daemon.forwarder_pids()))))
            if number % SECONDS_AN_ACCOUNT == 0 and (lost := unaccounted(daemon, stream)):
                trial.lost(lost)
                trial.failed(f"{lost} frames uncounted")
        trial.lost(unaccounted(daemon, stream))
