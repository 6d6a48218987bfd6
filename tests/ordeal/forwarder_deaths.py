"""Forwarders that die, hang and are many: how long traffic stands still because of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError
from bench.lab.topology import MASTER, Pair, make_pair
from bench.lab.wait import wait_until
from shaper.desired.store import Store
from shaper.model import Options, Spec
from tests.kernel.steps import Listener, Stream, dropped, now_ns, shape, show
from tests.kernel.test_crash import is_running
from tests.ordeal.campaign import Trial, campaign

MANY = 1000
START_NS = STOP_NS = 2_000_000_000  # for that many
FOUND_NS = 2_000_000_000
STALL_NS = 1_000_000_000
NS_PER_MS = 1_000_000
SETTLED_S = 2.0  # chosen: one that lived for a second is replaced at once


@contextlib.contextmanager
def streaming() -> Iterator[tuple[Stream, Shaperd, Listener]]:
    """Run a daemon with one shaper, and a numbered stream through it."""
    with make_pair() as pair, Shaperd(pair.host) as shaperd:
        shape(shaperd, pair, "10mbit")
        with Listener(pair.peer) as listener, Stream(pair.host) as stream:
            listener.wait_after(0)
            yield stream, shaperd, listener


def unaccounted(stream: Stream, shaperd: Shaperd, listener: Listener) -> int:
    """End a stream; return how many of its frames neither arrived nor were counted as dropped."""
    stream.stop()

    def missing() -> int:
        return stream.sent - len(listener.arrivals()) - dropped(show(shaperd))

    with contextlib.suppress(LabError):
        wait_until(lambda: missing() == 0, "all are accounted for")
    return missing()


def forwarder_of(shaperd: Shaperd) -> int:
    """Return the one forwarder, once there is one."""
    wait_until(lambda: len(shaperd.forwarder_pids()) == 1, "one forwarder")
    return shaperd.forwarder_pids()[0]


def passes_again(listener: Listener, since_ns: int) -> int:
    """Return how long nothing arrived from about a moment on."""
    wait_until(lambda: len(listener.since(since_ns + 50 * NS_PER_MS)) > 2, "traffic again")
    return listener.longest_gap_ms(since_ns, now_ns()) * NS_PER_MS


@campaign("forwarder kills", count=1000)
def kill_forwarders(trial: Trial) -> None:
    """Each is replaced, traffic stands still for less than a second, and each frame is counted."""
    with streaming() as (stream, shaperd, listener):
        try:
            for _ in trial:
                killed, at_ns = forwarder_of(shaperd), now_ns()
                os.kill(killed, signal.SIGKILL)
                wait_until(lambda killed=killed: killed not in shaperd.forwarder_pids(), "its end")
                stall_ns = passes_again(listener, at_ns)
                trial.stalled(stall_ns)
                if stall_ns > STALL_NS:
                    trial.failed(f"traffic stood still for {stall_ns / 1e9:.2f} s")
        finally:
            trial.lost(unaccounted(stream, shaperd, listener))


@campaign("supervisor kills", count=1000)
def kill_supervisors(trial: Trial) -> None:
    """The next one takes the devices over; meanwhile frames wait, and none is sent past them."""
    with streaming() as (_, shaperd, listener):
        for _ in trial:
            orphans, at_ns = shaperd.forwarder_pids(), now_ns()
            shaperd.kill()
            wait_until(
                lambda orphans=orphans: not any(map(is_running, orphans)), "the forwarder's end"
            )
            shaperd.start()
            trial.stalled(passes_again(listener, at_ns))
            trial.left(*(f"forwarder {pid}" for pid in orphans if is_running(pid)))
            if show(shaperd)["state"] != "active":
                trial.failed(f"the shaper is {show(shaperd)['state']} after a new start")


@campaign("forwarder stops", count=100)
def stop_forwarders(trial: Trial) -> None:
    """One that hangs is shown as stalled, and is replaced within two seconds and a start."""
    with streaming() as (_, shaperd, listener):
        for _ in trial:
            stopped, at_ns = forwarder_of(shaperd), now_ns()
            os.kill(stopped, signal.SIGSTOP)
            wait_until(lambda: show(shaperd)["state"] == "stalled", "the state")
            wait_until(lambda it=stopped: it not in shaperd.forwarder_pids(), "its end")
            found_ns = now_ns() - at_ns
            trial.stalled(passes_again(listener, at_ns))
            if found_ns > FOUND_NS:
                trial.failed(f"a stopped forwarder was found after {found_ns / 1e9:.2f} s")


@campaign("supervisor standstills", count=20)
def stop_supervisors(trial: Trial) -> None:
    """A supervisor that stood still for 6 s does not take it for its forwarder's silence."""
    with streaming() as (_, shaperd, _listener):
        for _ in trial:
            before = forwarder_of(shaperd)
            os.kill(shaperd.pid, signal.SIGSTOP)
            time.sleep(6)
            os.kill(shaperd.pid, signal.SIGCONT)
            time.sleep(2)
            if shaperd.forwarder_pids() != [before]:
                trial.failed("a healthy forwarder was replaced")


def save_many(shaperd: Shaperd, count: int = MANY) -> None:
    """Let the daemon find so many shapers of one master when it starts."""
    shaperd.state.mkdir(exist_ok=True)
    options = Options(rate_bits=10_000_000)
    Store(shaperd.state).save(Spec(f"shaper{each}", MASTER, options) for each in range(count))


@contextlib.contextmanager
def many(count: int = MANY) -> Iterator[tuple[Pair, Shaperd, int]]:
    """Run a daemon with many shapers; also return how long its start took, in nanoseconds."""
    with make_pair() as pair:
        shaperd = Shaperd(pair.host)
        try:
            save_many(shaperd, count)
            begin_ns = now_ns()
            shaperd.start()
            start_ns = now_ns() - begin_ns
            pair.host.ip(*(f"link set shaper{each} up" for each in range(count)))
            wait_until(lambda: show(shaperd, f"shaper{count - 1}")["state"] == "active", "all up")
            yield pair, shaperd, start_ns
        finally:
            shaperd.close()


@campaign("many started and stopped", count=5)
def start_and_stop_many(trial: Trial) -> None:
    """A thousand shapers are there, and gone again, in two seconds each."""
    for _ in trial:
        with many() as (_, shaperd, start_ns):
            begin_ns = now_ns()
            shaperd.close()
            stop_ns = now_ns() - begin_ns
        trial.stalled(max(start_ns, stop_ns))
        if start_ns > START_NS or stop_ns > STOP_NS:
            trial.failed(f"start {start_ns / 1e9:.2f} s, stop {stop_ns / 1e9:.2f} s")
