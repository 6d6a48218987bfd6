"""An emulated link under real frames: delay, order, jitter, losses and the same fate again.

Both ends are on one machine and its clock. A frame bears the time at which it was sent, the
peer's kernel stamps its arrival.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import NormalDist, median

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, Pair, make_pair
from bench.lab.wait import wait_until
from shapecfg.client import Client
from tests.kernel.steps import NUMBER, PORT, SHAPER, Arrival, Listener, now_ns, shape, show
from tests.ordeal.campaign import Trial, campaign

RATE = "1gbit"
DELAY_NS = 20_000_000
ROUND = 20_000  # frames
JITTER_NS = 10_000_000
SHAPERS = 100  # of the jitter, so that frames of one are far apart and do not wait for each other
STEADY_EVERY = 5  # a shaper without jitter among them: what the machine itself takes meanwhile
NETWORK = "10.1.1"  # one address a shaper
KOLMOGOROV_1_PERCENT = 1.63
LOSSES = (
    ("0.1%", 0.001, 0.001 * 0.999),
    ("1%", 0.01, 0.01 * 0.99),
    ("10%", 0.1, 0.1 * 0.9),
    # Rate p / (p + r); losses of one burst come together, which widens the spread of the mean.
    ("gemodel 1% 25%", 1 / 26, 1 / 26 * 25 / 26 * (2 - 0.26) / 0.26),
)
GAP_NS = 200_000  # between frames whose delay is of no concern
SIGMAS = 3


@contextmanager
def shaped() -> Iterator[tuple[Pair, Shaperd]]:
    """Run a daemon with a fast shaper on the way to the remote network."""
    with make_pair() as pair, Shaperd(pair.host) as daemon:
        shape(daemon, pair, RATE)
        yield pair, daemon


def send(
    pair: Pair, listener: Listener, addresses: list[str], count: int, every_ns: int
) -> list[tuple[int, int]]:
    """Send frames in turn to some addresses; return when each was sent, and when it arrived.

    In the order of arrival; what has not arrived after a second is not among them.
    """
    before = len(listener.arrivals())
    with pair.host.enter():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        began_ns = now_ns()
        for number in range(count):
            due_ns = began_ns + number * every_ns
            if (left_ns := due_ns - now_ns()) > 50_000:
                time.sleep((left_ns - 50_000) / 1e9)
            while now_ns() < due_ns:
                pass
            sender.sendto(NUMBER.pack(now_ns()), (addresses[number % len(addresses)], PORT))
            if number % 256 == 0:
                listener.arrivals()
    time.sleep(1)
    arrivals: list[Arrival] = listener.arrivals()[before:]
    return [(sent_ns, arrived_ns) for arrived_ns, sent_ns in arrivals]


def percentile(values: Iterable[float], percent: int) -> float:
    """Return what so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) * percent // 100]


@campaign("link delays", count=1_000_000)
def delay_frames(trial: Trial) -> None:
    """A thousand frames a second arrive in their order, none is lost, each takes its time."""
    with shaped() as (pair, daemon), Listener(pair.peer) as listener:
        times = send(pair, listener, ["10.1.0.2"], 2000, 1_000_000)
        usual_ns = int(median(arrived - sent for sent, arrived in times))
        Client(str(daemon.socket)).set_options(SHAPER, {"line": {"delay": "20ms"}})
        for _ in trial:
            times = send(pair, listener, ["10.1.0.2"], ROUND, 1_000_000)
            trial.repeated(ROUND - 1)
            errors = [arrived - sent - DELAY_NS - usual_ns for sent, arrived in times]
            print(
                f"  error p50 {percentile(errors, 50) / 1e6:.3f} p99 "
                f"{percentile(errors, 99) / 1e6:.3f} max {max(errors) / 1e6:.1f} ms; "
                f"without a link {usual_ns / 1e6:.3f} ms"
            )
            sent_times = [sent for sent, _ in times]
            if sent_times != sorted(sent_times):
                trial.failed("frames were reordered")
            if len(times) != ROUND:
                trial.failed(f"{ROUND - len(times)} of {ROUND} frames were lost")


@campaign("link jitters", count=100_000)
def scatter_frames(trial: Trial) -> None:
    """Kolmogorov and Smirnov do not tell the jitter of frames far apart from a normal one."""
    names = [f"shaper{number}" for number in range(SHAPERS)]
    addresses = [f"{NETWORK}.{number + 1}" for number in range(SHAPERS)]
    with make_pair() as pair, Shaperd(pair.host, "--shapers", str(SHAPERS)) as daemon:
        pair.peer.ip(f"route add local {NETWORK}.0/24 dev lo")
        client = Client(str(daemon.socket))
        for name, address in zip(names, addresses, strict=True):
            client.attach(name, MASTER)
            client.set_speed(name, 10**9)
            pair.host.ip(f"link set {name} up", f"route add {address}/32 dev {name} src 10.0.0.1")
        with Listener(pair.peer) as listener:
            send(pair, listener, addresses, 10 * SHAPERS, 1_000_000)
            for number, name in enumerate(names):
                jitter = "" if number % STEADY_EVERY == 0 else " jitter 10ms"
                client.set_options(name, {"line": {"delay": f"60ms{jitter}"}})
            jittered: list[float] = []
            for _ in trial:
                times = send(pair, listener, addresses, ROUND, 1_000_000)
                if len(times) != ROUND:
                    trial.failed(f"{ROUND - len(times)} of {ROUND} frames were lost")
                jittered += jittered_ns(times)
                trial.repeated(ROUND - ROUND // STEADY_EVERY - 1)
            farthest = distance(jittered, NormalDist(60e6, JITTER_NS))
            allowed = KOLMOGOROV_1_PERCENT / math.sqrt(len(jittered))
            print(f"  distance {farthest:.4f} of {len(jittered)} frames, {allowed:.4f} allowed")
            if farthest > allowed:
                trial.failed(f"distance {farthest:.4f} of {len(jittered)} frames")


def jittered_ns(times: list[tuple[int, int]]) -> list[float]:
    """Return the delays of frames with a jitter, without what the machine itself took meanwhile.

    That is told by the frames of every fifth shaper, whose delay is steady.
    """
    took = [arrived - sent for sent, arrived in sorted(times)]
    usual_ns = median(took[::STEADY_EVERY]) - 60e6
    print(f"  without jitter {usual_ns / 1e6:.3f} ms more than 60")
    return [each - usual_ns for number, each in enumerate(took) if number % STEADY_EVERY]


def distance(values: list[float], expected: NormalDist) -> float:
    """Return the largest distance between two cumulative distributions."""
    count = len(values)
    return max(
        max(expected.cdf(value) - rank / count, (rank + 1) / count - expected.cdf(value))
        for rank, value in enumerate(sorted(values))
    )


@campaign("link losses", count=100_000 * len(LOSSES))
def lose_frames(trial: Trial) -> None:
    """The share that is lost is the one that was asked for, and all of it is counted."""
    with shaped() as (pair, daemon), Listener(pair.peer) as listener:
        client = Client(str(daemon.socket))
        for _ in trial:
            for text, share, variance in LOSSES:
                client.set_options(SHAPER, {"line": {"loss": text, "seed": "default"}})
                before = show(daemon)["stats"]["dropped"]["loss"]
                sent = 100_000
                arrived = len(send(pair, listener, ["10.1.0.2"], sent, GAP_NS))
                counted = show(daemon)["stats"]["dropped"]["loss"] - before
                off = abs(1 - arrived / sent - share) / math.sqrt(variance / sent)
                print(f"  loss {text}: {100 * (1 - arrived / sent):.3f} %, {off:.1f} sigma")
                trial.lost(sent - arrived - counted)
                if off > SIGMAS:
                    trial.failed(f"loss {text}: {sent - arrived} of {sent} frames")
            trial.repeated(sent * len(LOSSES) - 1)


@campaign("link fates", count=20_000)
def repeat_fates(trial: Trial) -> None:
    """The same frames with the same seed arrive as the same bytes, in the same order.

    Where some overtake what is under way, the order depends on how much that is just then.
    """
    line = {"loss": "5%", "duplicate": "5%", "corrupt": "5%", "seed": "7"}
    with shaped() as (pair, daemon):
        client = Client(str(daemon.socket))
        for _ in trial:
            for reorder in ("default", "5% gap 3"):
                keys = line | {"reorder": reorder}
                first, again = (fate(pair, client, daemon, keys) for _ in range(2))
                trial.repeated(len(first) - (reorder == "default"))
                if reorder != "default":
                    first, again = sorted(first), sorted(again)
                if first != again:
                    trial.failed(f"{len(first)} and {len(again)} frames, not the same ones")


def fate(pair: Pair, client: Client, daemon: Shaperd, line: dict[str, str]) -> list[bytes]:
    """Return what arrives of numbered frames, from the beginning of the link's chances."""
    client.set_options(SHAPER, {"line": dict.fromkeys(line, "default")})
    client.set_options(SHAPER, {"line": line | {"delay": "5ms"}})
    with pair.peer.enter():
        receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
        receiver.bind(("eth0", 0x0800))
        with pair.host.enter():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            sender.bind(("", PORT + 1))
            for number in range(5000):
                sender.sendto(NUMBER.pack(number), ("10.1.0.2", PORT))
                time.sleep(0.0001)
        wait_until(lambda: show(daemon)["stats"]["backlog_packets"] == 0, "all to have left")
        time.sleep(0.2)
        receiver.setblocking(False)
        arrived = []
        try:
            while True:
                # Without the IP identification and checksum, which the sender's kernel counts up.
                frame = receiver.recv(2000)
                arrived.append(frame[:18] + frame[20:24] + frame[26:])
        except BlockingIOError:
            return arrived
