"""An emulated link on real traffic, as the peer sees it."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from pathlib import Path

import pytest

from bench.lab.capture import FrameCapture
from bench.lab.daemon import Shaperd
from bench.lab.filters import Wanted
from bench.lab.topology import NIC, REMOTE, Pair
from bench.lab.wait import wait_until
from shapecfg.client import Client
from tests.kernel.latency import FLOOD_PORT, flood
from tests.kernel.shaping import hold
from tests.kernel.steps import SHAPER, Listener, Stream, dropped, shape, show
from tests.kernel.test_crash import kill_forwarder

DELAY_MS = 40


def test_a_delay_is_what_the_peer_sees(pair: Pair, shaperd: Shaperd) -> None:
    """A ping through the shaper takes as much longer; without a link again, no longer."""
    shape(shaperd, pair, "100mbit")
    client = Client(str(shaperd.socket))
    without = round_trips_ms(pair)
    client.set_options(SHAPER, {"line": {"delay": f"{DELAY_MS}ms"}})
    with_link = round_trips_ms(pair)
    assert DELAY_MS - 1 < statistics.median(with_link) - statistics.median(without) < DELAY_MS + 3
    assert show(shaperd)["options"]["line"] == {"delay": "40ms"}
    client.set_options(SHAPER, {"line": {"delay": "default"}})
    assert statistics.median(round_trips_ms(pair)) < DELAY_MS / 2
    assert show(shaperd)["options"]["line"] == {}


def round_trips_ms(pair: Pair) -> list[float]:
    """Return the times of a few pings to the remote network."""
    answer = pair.host.run(["ping", "-n", "-c", "10", "-i", "0.05", "10.1.0.2"]).stdout
    return [
        float(word.removeprefix("time=")) for word in answer.split() if word.startswith("time=")
    ]


def test_a_frame_takes_what_its_link_adds(pair: Pair, shaperd: Shaperd) -> None:
    """Frames of 242 bytes and 100 of overhead arrive at the rate of frames of 342."""
    shape(shaperd, pair, "1mbit")
    shaperd.configure("set", SHAPER, "overhead", "100")
    with flood(pair, 3_000_000, frame_bytes=242):

        def attempt() -> list[str]:
            with FrameCapture(pair.peer, NIC, Wanted(REMOTE, "udp", FLOOD_PORT)) as capture:
                time.sleep(1.2)
                times_ns = capture.stop().times_ns
            taken_bits = (len(times_ns) - 1) * 342 * 8 * 10**9 / (times_ns[-1] - times_ns[0])
            return [] if abs(taken_bits - 10**6) < 10_000 else [f"{taken_bits:.0f} bit/s"]

        hold(attempt)


@pytest.mark.together
def test_jitter_keeps_order_and_loss_is_counted(pair: Pair, shaperd: Shaperd) -> None:
    """The numbers of a stream rise; those that are missing are those that were lost."""
    shape(shaperd, pair, "100mbit")
    line = {"delay": "10ms jitter 8ms", "loss": "20%", "seed": "5"}
    Client(str(shaperd.socket)).set_options(SHAPER, {"line": line})
    with Listener(pair.peer) as listener:
        with Stream(pair.host) as stream:
            time.sleep(1.5)
            sent = stream.sent
        wait_until(lambda: show(shaperd)["stats"]["backlog_packets"] == 0, "all to have arrived")
        numbers = [number for _, number in listener.since(0)]
    lost = show(shaperd)["stats"]["dropped"]["loss"]
    assert numbers == sorted(numbers)
    assert sent * 0.08 < lost < sent * 0.35
    assert len(numbers) + lost >= sent


def test_tables_and_patterns_are_followed_as_their_files_say(
    pair: Pair, shaperd: Shaperd, tmp_path: Path
) -> None:
    """Two values are two delays, and one frame of four is missing, also after a kill."""
    table, pattern = tmp_path / "two.dist", tmp_path / "fourth.loss"
    table.write_text("-8192 8192\n")
    pattern.write_text("0001\n")
    shape(shaperd, pair, "100mbit")
    base_ms = statistics.median(round_trips_ms(pair))
    words = ("delay", "20ms", "jitter", "10ms", "distribution", "table", str(table))
    shaperd.configure("set", SHAPER, *words)
    kill_forwarder(shaperd)
    wait_until(
        lambda: {round((each - base_ms) / 10) for each in round_trips_ms(pair)} == {1, 3},
        "nothing but the delays of the table",
    )
    words = ("delay", "default", "loss", "pattern", str(pattern))
    shaperd.configure("set", SHAPER, *words)
    assert show(shaperd)["options"]["line"]["loss"] == "pattern of 4 frames"
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
        wait_until(lambda: len(listener.arrivals()) > 60, "traffic")
        numbers = [number for _, number in listener.arrivals()]
    steps = "".join(str(after - before) for before, after in pairwise(numbers))
    assert steps[:51] in "112" * 20


def test_a_forwarder_that_is_killed_loses_what_is_under_way_counted(
    pair: Pair, shaperd: Shaperd
) -> None:
    """As `crash`; its successor has the same link."""
    shape(shaperd, pair, "100mbit")
    Client(str(shaperd.socket)).set_options(SHAPER, {"line": {"delay": "500ms"}})
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
        assert show(shaperd)["stats"]["backlog_packets"] > 50
        kill_forwarder(shaperd)
        wait_until(lambda: show(shaperd)["stats"]["dropped"]["crash"] > 50, "the count")
        assert dropped(show(shaperd)) > 50
        wait_until(lambda: show(shaperd)["stats"]["backlog_packets"] > 50, "the link again")
