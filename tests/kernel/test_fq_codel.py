"""Delay, shares and marks under fq_codel, the default queue, with real TCP at both ends."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import REMOTE, REMOTE6, Pair
from bench.lab.traffic import Flow, Load, Sender, Sink
from bench.lab.wait import wait_until
from tests.kernel import latency
from tests.kernel.latency import Waits, bulk, bulk_capture, flood, probe
from tests.kernel.shaping import hold, look, wait_idle
from tests.kernel.steps import SHAPER, Listener, Stream, now_ns, shape

RATE_BITS = 10_000_000
PROBING_S = 1.0
CONNECTIONS = 4

# What must hold of a sparse flow, against the same beside the same traffic in a fifo.
MEDIAN_RATIO = 5
P99_RATIO = 2
MAX_MEDIAN_MS = 6.0
LIMIT_MS = 1000 * 1000 * 8 * 1514 / RATE_BITS  # what 1000 full frames take, the least limit
MIN_SENT_PER_LOSS = 1000  # where losses are replaced by marks

FAMILIES = [pytest.param(REMOTE, id="IPv4"), pytest.param(REMOTE6, id="IPv6")]
DELAY_LINE = re.compile(r"flows (\d+) marked (\d+) delay (\d+\.\d)ms p99 (\d+\.\d)ms")


def version_of(address: str) -> int:
    """Return the version of IP that an address is of."""
    return Flow("tcp", address, 0).version


def sparse_faults(fifo: Waits, fq_codel: Waits) -> list[str]:
    """Return what is wrong with a sparse flow's delays, as a part of those in a fifo."""
    faults = []
    median_ms, p99_ms = fq_codel.percentile(50), fq_codel.percentile(99)
    if median_ms * MEDIAN_RATIO > fifo.percentile(50) or median_ms > MAX_MEDIAN_MS:
        faults.append(f"a median of {median_ms:.1f} ms, of {fifo.percentile(50):.1f} in a fifo")
    if p99_ms * P99_RATIO > fifo.percentile(50):
        faults.append(f"a p99 of {p99_ms:.1f} ms, of a median of {fifo.percentile(50):.1f}")
    if fq_codel.lost:
        faults.append(f"{fq_codel.lost} frames of it were lost")
    return faults


def set_queue(daemon: Shaperd, queue: str) -> None:
    """Choose a queue, live, and see that it is shown."""
    daemon.configure("set", SHAPER, "queue", queue)
    assert look(daemon)["options"]["queue"] == queue


def allow_ecn(pair: Pair) -> None:
    """Make TCP at both ends ask for marks in place of losses."""
    for namespace in (pair.host, pair.peer):
        namespace.sysctl("net/ipv4/tcp_ecn", 1)


def bad_headers(namespace: Namespace) -> int:
    """Return how many packets a kernel has refused for their IPv4 header or a checksum."""
    with namespace.enter():
        lines = Path("/proc/thread-self/net/snmp").read_text(encoding="ascii").splitlines()
    rows = [line.split() for line in lines]
    counts = {
        row[0] + name: int(value)
        for row, values in zip(rows[::2], rows[1::2], strict=True)
        for name, value in zip(row[1:], values[1:], strict=True)
    }
    return counts["Ip:InHdrErrors"] + counts["Tcp:InCsumErrors"]


@pytest.mark.together
def test_it_is_the_default(pair: Pair, shaperd: Shaperd) -> None:
    """A new shaper has it, with room for a quarter of a second of the rate."""
    shape(shaperd, pair, "100mbit")
    options = look(shaperd)["options"]
    assert options["queue"] == "fq_codel"
    assert options["limit_packets"] == 100_000_000 // 4 // (8 * 1514)


@pytest.mark.parametrize("address", FAMILIES)
def test_a_sparse_flow_does_not_wait_for_bulk(pair: Pair, shaperd: Shaperd, address: str) -> None:
    """Nor in the ring: what it waits is little, and the ring loses nothing meanwhile."""
    shape(shaperd, pair, str(RATE_BITS))

    def attempt() -> list[str]:
        waits = {}
        for queue in ("fifo", "fq_codel"):
            wait_idle(shaperd)
            set_queue(shaperd, queue)
            ring = look(shaperd)["stats"]["dropped"]["ring"]
            with bulk(pair, CONNECTIONS, address):
                waits[queue] = probe(pair, PROBING_S, address)
        lost = look(shaperd)["stats"]["dropped"]["ring"] - ring
        in_ring = [f"the ring lost {lost} frames"] if lost else []
        return sparse_faults(**waits) + in_ring

    hold(attempt)


def test_nobody_suffers_from_a_flood_but_the_flood(pair: Pair, shaperd: Shaperd) -> None:
    """Beside ten times the rate TCP keeps its half, and a sparse flow does not wait."""
    shape(shaperd, pair, str(RATE_BITS))

    def attempt() -> list[str]:
        waits, shares = {}, {}
        for queue in ("fifo", "fq_codel"):
            wait_idle(shaperd)
            set_queue(shaperd, queue)
            with flood(pair, 10 * RATE_BITS), bulk(pair, 1), bulk_capture(pair) as capture:
                start_ns = now_ns()
                waits[queue] = probe(pair, PROBING_S)
                period = start_ns, now_ns()
                shares[queue] = latency.share(capture.stop().frames, RATE_BITS, *period)
        faults = sparse_faults(**waits)
        if shares["fq_codel"] < 0.45:
            faults.append(f"TCP had {shares['fq_codel']:.0%}, of {shares['fifo']:.0%} in a fifo")
        return faults

    hold(attempt)


def test_two_connections_share_evenly(pair: Pair, shaperd: Shaperd) -> None:
    """Each has half of what TCP carries, and together they use the rate up."""
    shape(shaperd, pair, str(RATE_BITS))

    def attempt() -> list[str]:
        wait_idle(shaperd)
        with bulk(pair, 2), bulk_capture(pair) as capture:
            start_ns = now_ns()
            time.sleep(1.2)
            period = start_ns, now_ns()
            recording = capture.stop()
        less, more = latency.bytes_by_flow(recording, 4)
        used = latency.share(recording.frames, RATE_BITS, *period)
        faults = [] if less > 0.9 * more else [f"{less} bytes of one, {more} of the other"]
        return faults + ([] if used > 0.95 else [f"they used {used:.0%} of the rate"])

    hold(attempt)


@pytest.mark.parametrize("address", FAMILIES)
def test_who_understands_marks_is_marked(pair: Pair, shaperd: Shaperd, address: str) -> None:
    """Each mark that is counted arrives, in a header that adds up, and hardly a frame is lost.

    What TCP sends a second time bears no mark (RFC 3168, 6.1.5), so losses are not quite none. At
    100 Mbit/s frames are read as offload frames, whose mark is on every frame cut from them.
    """
    allow_ecn(pair)
    shape(shaperd, pair, "100mbit")
    version = version_of(address)

    with bulk_capture(pair, address) as capture:
        with bulk(pair, CONNECTIONS, address):
            time.sleep(PROBING_S)
        wait_idle(shaperd)
        recording = capture.stop()
    stats = look(shaperd)["stats"]

    assert stats["ecn_marks"] > 0
    assert latency.marked(recording, version) == stats["ecn_marks"]
    assert sum(stats["dropped"].values()) * MIN_SENT_PER_LOSS < stats["sent_packets"]
    assert bad_headers(pair.peer) == 0
    if version == 4:
        assert latency.wrong_checksums(recording) == 0


@pytest.mark.together
def test_who_does_not_is_dropped_from(pair: Pair, shaperd: Shaperd) -> None:
    """Without ECN the same traffic has losses, counted as `codel`, and no mark."""
    shape(shaperd, pair, str(RATE_BITS))
    with bulk(pair, CONNECTIONS):
        wait_until(lambda: look(shaperd)["stats"]["dropped"]["codel"], "drops")
        assert look(shaperd)["stats"]["ecn_marks"] == 0


def test_show_prints_flows_marks_and_delays(pair: Pair, shaperd: Shaperd) -> None:
    """`-s show` has a line of them, in milliseconds; a fifo knows no flows."""
    allow_ecn(pair)
    shape(shaperd, pair, str(RATE_BITS))
    with bulk(pair, 2):
        wait_until(lambda: look(shaperd)["stats"]["ecn_marks"], "marks")
        shown = shaperd.shapecfg("-s", "show", SHAPER).stdout
        told = DELAY_LINE.search(shown)
        assert told is not None
        flows, marks, delay_ms, p99_ms = map(float, told.groups())
        assert flows == 2
        assert marks > 0
        assert 0 < delay_ms < LIMIT_MS
        assert 0 < p99_ms < LIMIT_MS
    set_queue(shaperd, "fifo")
    shown = shaperd.shapecfg("-s", "show", SHAPER).stdout
    assert DELAY_LINE.search(shown) is None
    assert re.search(r"    delay \d+\.\dms p99 \d+\.\dms\n", shown)


@pytest.mark.together
def test_changing_the_queue_loses_nothing_uncounted(pair: Pair, shaperd: Shaperd) -> None:
    """Under twice the rate, what was sent has arrived or is counted as lost, to the frame."""
    shape(shaperd, pair, str(RATE_BITS))
    load = Load(seconds=2.0, pace_bits=2 * RATE_BITS)
    flow = Flow("udp", REMOTE, latency.BULK_PORT)
    with Listener(pair.peer) as listener, Sink(pair.peer, flow) as sink:
        with Stream(pair.host) as stream, Sender(pair.host, flow, load) as sender:
            for queue in ("fifo", "fq_codel", "classic", "fq_codel", "classic", "fifo"):
                stream.wait_for(20)
                set_queue(shaperd, queue)
            sent = sender.wait().units
        sent += stream.sent
        wait_idle(shaperd)
        arrived = sink.stop().units + len(listener.arrivals())
    lost = dict(look(shaperd)["stats"]["dropped"])
    del lost["neighbour"]  # the kernel's own frames, which nobody here has sent
    assert lost["limit"] > 0
    assert sent == arrived + sum(lost.values())
