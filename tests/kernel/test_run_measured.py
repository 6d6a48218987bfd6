"""What `shapecfg run` promises in figures: rates, delay, loss, recovery, and its start."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from functools import partial
from queue import Queue

import pytest

from bench.lab.namespaces import python
from bench.lab.topology import PEER, Pair
from tests.kernel.meter import goodput, pour
from tests.kernel.runs import (
    END_S,
    NEEDS,
    ROOT_USER,
    USER,
    WHO,
    echoing,
    run,
    serving,
)

pytestmark = NEEDS

DOWN_BITS, UP_BITS = 20_000_000, 5_000_000

# What TCP carries in a full frame: with timestamps, which pasta has not.
FRAME = 1514

PAYLOAD = {ROOT_USER: 1448, USER: 1460}

LIMIT_PERCENT = 1.0

ATTEMPTS = 3  # a hypervisor may take the processor away in one
QUICK_ATTEMPTS = 8  # of what takes a second: the shortest is what it takes

POUR_S = 1.2

READY_S = 1.0

START_UP_S = 0.3  # of the launcher, and of the end


@WHO
def test_rate_both_ways(pair: Pair, who: str) -> None:
    """A receiver has, down and up, what the headers leave of the rate, within 1 %."""
    received: Queue[float] = Queue()

    def receive(stream: socket.socket) -> None:
        received.put(goodput(stream))

    rates = ("-q", "--down", f"{DOWN_BITS}", "--up", f"{UP_BITS}", "--")
    faults: list[str] = []
    send = partial(pour, size=int(DOWN_BITS * POUR_S) // 8)
    up_size = str(int(UP_BITS * POUR_S) // 8)
    with serving(pair.peer, receive) as sink, serving(pair.peer, send) as source:
        meter_words = python("tests.kernel.meter", PEER, str(source), str(sink), up_size)
        for _ in range(ATTEMPTS):
            done = run(pair, who, *rates, *meter_words)
            assert done.returncode == 0, done.stderr
            measured = {
                "down": (float(done.stdout), DOWN_BITS),
                "up": (received.get(timeout=END_S), UP_BITS),
            }
            faults = [
                f"{way}: {bits:.0f} bit/s of payload, of {rate * PAYLOAD[who] / FRAME:.0f}"
                for way, (bits, rate) in measured.items()
                if abs(bits * FRAME / (rate * PAYLOAD[who]) - 1) > LIMIT_PERCENT / 100
            ]
            print(measured)
            if not faults:
                return
    raise AssertionError(faults)


@WHO
def test_delay_and_loss(pair: Pair, who: str) -> None:
    """A datagram takes the delay there and back, a share is lost, and the same with a seed."""
    words = ("--delay", "20ms/10ms", "--loss", "0%/20%", "--seed", "7", "--")
    with echoing(pair.peer) as port:
        runs = [
            run(pair, who, *words, *python("tests.kernel.meter", "echo", PEER, str(port)))
            for _ in range(2)
        ]
    assert [done.returncode for done in runs] == [0, 0], runs
    told = [json.loads(done.stdout) for done in runs]
    assert told[0]["lost"] == told[1]["lost"], runs[0].stderr
    assert 10 < len(told[0]["lost"]) < 70  # of 200; 40 +- 5 standard deviations
    best_ms = min(each["median_ms"] for each in told)
    assert 30 <= best_ms < 33
    counted = re.search(r"up .*, (\d+) dropped", runs[0].stderr)
    assert counted is not None
    assert int(counted[1]) >= len(told[0]["lost"])


@WHO
def test_tcp_recovers_from_loss(pair: Pair, who: str) -> None:
    """Most of the rate is left, both ways; and what a command sent last arrives."""
    received: Queue[int] = Queue()

    def receive(stream: socket.socket) -> None:
        stream.settimeout(END_S)
        received.put(sum(map(len, iter(partial(stream.recv, 65536), b""))))

    size = DOWN_BITS * 3 // 80
    words = ("-q", "--down", f"{DOWN_BITS}", "--delay", "10ms", "--loss", "0.5%", "--")
    with (
        serving(pair.peer, receive) as sink,
        serving(pair.peer, partial(pour, size=size)) as source,
    ):
        done = run(
            pair,
            who,
            *words,
            *python("tests.kernel.meter", PEER, str(source), str(sink), f"{size}"),
        )
        assert done.returncode == 0, done.stderr
        assert received.get(timeout=END_S) == size
        assert float(done.stdout) > DOWN_BITS / 2


@pytest.mark.parametrize("words", [(), ("--loss", "1%")])
def test_ready_at_once(pair: Pair, words: tuple[str, ...]) -> None:
    """A command that does nothing is over within a second, but for what a busy machine adds."""
    took = [READY_S + START_UP_S + 1]
    while min(took) > READY_S + START_UP_S and len(took) <= QUICK_ATTEMPTS:
        took.append(timed(lambda: run(pair, USER, "-q", *words, "true")))
    assert min(took) <= READY_S + START_UP_S, took


def timed(act: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began
