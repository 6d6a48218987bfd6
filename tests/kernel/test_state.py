"""What was set stays set: over restarts, over reloads, and without loss while it changes."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab import law
from bench.lab.capture import FrameCapture
from bench.lab.daemon import Shaperd
from bench.lab.filters import Wanted
from bench.lab.topology import MASTER, NIC, REMOTE, Pair
from bench.lab.traffic import FULL_FRAME_BYTES, Flow, Load, Sender, Sink
from bench.lab.wait import wait_until
from tests.kernel.steps import (
    SHAPER,
    Listener,
    Stream,
    dropped,
    exists,
    has_carrier,
    link,
    now_ns,
    route,
    shape,
    show,
    wait_state,
)

FLOOD_PORT = 9200
JITTER_S = 0.01  # chosen: how far the two cores of a test machine may pull arrivals together
WINDOW_S = 0.3  # chosen: how long each of several speeds is measured


BAD = [
    "this is not TOML",
    '[device.shaper0]\nspeed = "10m"\n',
    f'[device.shaper0]\nmaster = "{MASTER}"\nspeed = "9mbit"\nburst = "100"\n',
    '[device.shaper0]\nmaster = "shaper0"\nspeed = "9mbit"\n',
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return where the configuration file lies."""
    return tmp_path / "shaper.toml"


@pytest.fixture
def configured(pair: Pair, tmp_path: Path, config: Path) -> Iterator[Shaperd]:
    """Run a daemon that has a configuration file."""
    config.write_text(f'[device.{SHAPER}]\nmaster = "{MASTER}"\nspeed = "1mbit"\n')
    with Shaperd(pair.host, "--config", str(config), directory=tmp_path) as daemon:
        yield daemon


def reload(daemon: Shaperd, config: Path, text: str, answer: str) -> None:
    """Change the configuration file and have it read; wait for the daemon's word on it."""
    before = daemon.log().count(answer)
    config.write_text(text)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.log().count(answer) > before, f"the log to say {answer!r}")


def allowed_bytes(daemon: Shaperd) -> int:
    """Return the burst a capture may show: the bucket, and what arrives pulled together."""
    options = show(daemon)["options"]
    return int(options["burst_bytes"] + options["rate_bits"] * (1 / options["hz"] + JITTER_S) / 8)


def wait_all_told(daemon: Shaperd, sent: int) -> int:
    """Wait until every frame is sent or counted as lost; return how many were lost."""

    def told() -> int | None:
        shown = show(daemon)
        is_all = shown["stats"]["sent_packets"] + dropped(shown) == sent
        return dropped(shown) + 1 if is_all else None

    lost = wait_until(told, f"all of {sent} frames to be sent or counted")
    assert lost is not None
    return lost - 1


def test_settings_survive_a_restart(pair: Pair, shaperd: Shaperd) -> None:
    """SIGTERM removes the device and keeps the state: the next daemon makes it as it was."""
    shape(shaperd, pair)
    shaperd.configure("set", SHAPER, "limit", "50", "burst", "20k", "hz", "500")
    before = wait_state(shaperd, "active")
    assert shaperd.stop() == 0
    assert not exists(pair.host)
    shaperd.start()
    route(pair)
    after = wait_state(shaperd, "active")
    assert (after["link"], after["options"]) == (before["link"], before["options"])
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)


def test_nothing_set_is_kept_too(pair: Pair, shaperd: Shaperd) -> None:
    """A detached shaper comes back detached, with its speed; a deleted one does not come back."""
    shaperd.configure("add", "shaper7")
    shaperd.configure("speed", "shaper7", "3mbit")
    shaperd.configure("add", "shaper8")
    shaperd.configure("del", "shaper8")
    shaperd.stop()
    shaperd.start()
    shown = show(shaperd, "shaper7")
    assert (shown["state"], shown["options"]["rate_bits"]) == ("detached", 3_000_000)
    assert not exists(pair.host, "shaper8")


def test_restart_while_the_master_is_missing(pair: Pair, shaperd: Shaperd) -> None:
    """The attachment is a name: it is kept, and waits, even if there is no such device."""
    shape(shaperd, pair)
    shaperd.stop()
    pair.host.ip(f"link set {MASTER} down", f"link set {MASTER} name other0")
    shaperd.start()
    assert show(shaperd)["state"] == "master-missing"
    pair.host.ip(
        f"link set other0 name {MASTER}", f"link set {MASTER} up", f"link set {SHAPER} up"
    )
    wait_state(shaperd, "active")


def test_good_configuration_is_applied(pair: Pair, configured: Shaperd, config: Path) -> None:
    """SIGHUP: a new speed and a new shaper, while traffic goes on."""
    route(pair)
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(0)
        text = config.read_text().replace("1mbit", "2mbit") + '[device.extra0]\nspeed = "8mbit"\n'
        reload(configured, config, text, "configuration read again")
        assert show(configured)["options"]["rate_bits"] == 2_000_000
        assert show(configured, "extra0")["options"]["rate_bits"] == 8_000_000
        listener.wait_after(now_ns())
    assert link(pair.host)["ifalias"] == f"shaper of {MASTER} at 2Mbit"


def test_bad_configuration_is_refused_whole(pair: Pair, configured: Shaperd, config: Path) -> None:
    """SIGHUP: whatever is wrong with it, none of it is applied, and a good one is taken after."""
    route(pair)
    good, before = config.read_text(), wait_state(configured, "active")
    for text in BAD:
        reload(configured, config, text, "configuration refused, the old one stays")
        after = show(configured)
        for key in ("state", "link", "options"):
            assert after[key] == before[key], text
        assert has_carrier(pair.host)
    reload(configured, config, good.replace("1mbit", "3mbit"), "configuration read again")
    assert show(configured)["options"]["rate_bits"] == 3_000_000


@pytest.mark.timed
def test_speed_changes_lose_nothing_and_keep_the_law(pair: Pair, shaperd: Shaperd) -> None:
    """Under load every frame arrives or is counted, and each speed is kept from its first byte."""
    shape(shaperd, pair, "5mbit")
    wait_state(shaperd, "active")
    flow = Flow("udp", REMOTE, FLOOD_PORT)
    wanted, load = Wanted(REMOTE, "udp", FLOOD_PORT), Load(seconds=3, pace_bits=20_000_000)
    measured = []
    with FrameCapture(pair.peer, NIC, wanted) as capture:
        with Sender(pair.host, flow, load) as sender:
            for speed in ("10mbit", "1mbit", "50mbit", "2mbit", "500kbit"):
                shaperd.configure("speed", SHAPER, speed)
                start_ns = now_ns()
                time.sleep(WINDOW_S)  # nothing is waited for: this is the window that is measured
                measured.append((start_ns, now_ns(), allowed_bytes(shaperd), speed))
            sent = sender.wait().units
        shaperd.configure("speed", SHAPER, "100mbit")
        lost = wait_all_told(shaperd, sent)
        frames = capture.stop().frames
    assert len(frames) + lost == sent
    for start_ns, end_ns, burst_bytes, speed in measured:
        window = [frame for frame in frames if start_ns < frame[0] <= end_ns]
        rate_bits = int(speed[:-4]) * (10**6 if speed.endswith("mbit") else 10**3)
        assert law.burst_bytes(window, rate_bits) <= burst_bytes, speed


@pytest.mark.timed
def test_no_burst_when_a_fast_shaper_becomes_a_slow_one(pair: Pair, shaperd: Shaperd) -> None:
    """From 1 Gbit/s, in offload frames, to 1 Mbit/s: those that wait are cut, not let through."""
    shape(shaperd, pair, "1gbit")
    flow = Flow("tcp", REMOTE, FLOOD_PORT)
    with Sink(pair.peer, flow), Sender(pair.host, flow, Load(seconds=10)):
        wait_until(lambda: show(shaperd)["stats"]["sent_bytes"] > 10**7, "10 MB")
        assert link(pair.host)["txqlen"] > 0
        with FrameCapture(pair.peer, NIC, Wanted(REMOTE, "tcp", FLOOD_PORT)) as capture:
            shaperd.configure("speed", SHAPER, "1mbit")
            changed_ns = now_ns()
            frames_after = show(shaperd)["stats"]["sent_packets"] + 50
            wait_until(
                lambda: show(shaperd)["stats"]["sent_packets"] > frames_after,
                "frames at the new speed",
            )
            slow = law.since(capture.stop().frames, changed_ns)
    assert len(slow) >= 50
    assert law.burst_bytes(slow, 1_000_000) <= allowed_bytes(shaperd)
    assert law.rate_bits(slow) <= 1_010_000


def test_queue_is_switched_live(pair: Pair, shaperd: Shaperd) -> None:
    """fifo, classic and back, again and again, overloaded: in order, and each loss is counted."""
    shape(shaperd, pair, "64kbit")
    wait_state(shaperd, "active")
    with Listener(pair.peer) as listener, Stream(pair.host) as stream:
        listener.wait_after(0)
        for queue in itertools.islice(itertools.cycle(("classic", "fifo")), 6):
            shaperd.configure("set", SHAPER, "queue", queue)
            assert show(shaperd)["options"]["queue"] == queue
            stream.wait_for(30)
        stream.stop()
        lost = wait_all_told(shaperd, stream.sent)
        numbers = [number for _, number in listener.arrivals()]
        assert show(shaperd)["stats"]["overlimits"] > 0
    assert numbers == sorted(set(numbers))
    assert len(numbers) + lost == stream.sent


def test_smaller_limit_loses_nothing_that_waits(pair: Pair, shaperd: Shaperd) -> None:
    """The TAP's ring shrinks with the limit: what is in it leaves later, or is counted."""
    shape(shaperd, pair, "8kbit")
    shaperd.configure("set", SHAPER, "limit", "60")
    wait_state(shaperd, "active")
    flow = Flow("udp", REMOTE, FLOOD_PORT)
    frame_bytes = flow.payload_bytes(FULL_FRAME_BYTES)
    # The kernel's own queue of an unresolved neighbour is shorter than the load that follows.
    with Sender(pair.host, flow, Load(seconds=5, total_bytes=frame_bytes)) as sender:
        sent = sender.wait().units
    wait_all_told(shaperd, sent)
    with Sender(pair.host, flow, Load(seconds=5, total_bytes=100 * frame_bytes)) as sender:
        sent += sender.wait().units
    for limit in ("10", "1000"):
        shaperd.configure("set", SHAPER, "limit", limit)
    shaperd.configure("speed", SHAPER, "100mbit")
    assert wait_all_told(shaperd, sent) <= sent - 60
