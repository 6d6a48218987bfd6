"""The targets, and whether a run meets them: ratios and medians of that run, nothing absolute."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench import workload
from bench.cells import PEERS, SHAPER, Medians
from bench.lab.flow import FULL_FRAME_BYTES
from bench.results import Run
from bench.rows import FAIRNESS_BITS, GBIT, KBIT, MBIT
from bench.workload import UNLIMITED_BITS, spell_rate

UDP = (workload.UDP_SMALL.name, workload.UDP_LARGE.name)
TCP = workload.TCP_4.name
HZ = 1000
LATENCY_MS = {  # p50 and p99 of a ping beside four TCP flows, by rate
    MBIT: (math.nan, 60),
    10 * MBIT: (5, 12),
    100 * MBIT: (0.3, 1),
    GBIT: (0.3, 1),
}
CAKE_MS = 0.2  # more than CAKE's median a ping may take, on a kernel that has CAKE
FORWARDER_PERCENT = {10 * MBIT: 5, 100 * MBIT: 8, GBIT: 15}  # of a core, of TCP


class Verdict(NamedTuple):
    """One target against what was measured; `verdict` tells if it is met, None: not judged."""

    target: str
    measured: str
    verdict: bool | None


def judge(run: Run) -> list[Verdict]:
    """Return the verdict on every target, in the order of the tasks."""
    cells = Medians(run)
    parts: tuple[Callable[[Medians], Iterator[Verdict]], ...] = (
        *(_accuracy, _bursts, _first_second, _speed, _idle_latency, _cost, _beside_cake),
        lambda _: _scale(run),
        *(_latency, _flows, _against_plain),
    )
    return [verdict for part in parts for verdict in part(cells)]


def burst_limit_bytes(rate_bits: int) -> int:
    """Return what a burst may be at most: two full frames and a millisecond of the rate."""
    return 2 * FULL_FRAME_BYTES + rate_bits // (8 * HZ)


def ratio(value: float, base: float) -> float:
    """Return value / base, NaN where there is nothing to divide by."""
    return value / base if base else math.nan


def _judge(target: str, value: float, said: str, is_met: bool) -> Verdict:
    """Return a verdict that is owed even where nothing was measured."""
    if math.isnan(value):
        return Verdict(target, "not measured in this run", None)
    return Verdict(target, said, is_met)


def _accuracy(cells: Medians) -> Iterator[Verdict]:
    for rate_bits, traffic in cells.rows():
        sizes = cells.row(rate_bits, traffic, "error_size_percent")
        size, tbf, _ = sizes
        is_fast = (rate_bits, traffic) == (5 * GBIT, TCP)
        if math.isnan(size) or not (is_fast or traffic in UDP) or rate_bits == UNLIMITED_BITS:
            continue
        limit = 0.1 if is_fast else 0.01
        target = f"rate error at {spell_rate(rate_bits)}, {traffic}, at most {limit:g} % and tbf's"
        measured = f"{size:.4f} %" + ("" if math.isnan(tbf) else f" (tbf {tbf:.3f} %)")
        if not any(each < 1 for each in sizes):  # the machine cannot send so many frames
            yield Verdict(target, f"{measured}; nobody came within 1 %", None)
            continue
        # A thousandth of a percent is the noise of the clocks.
        is_met = size <= limit and (math.isnan(tbf) or size <= max(tbf, 0.001))
        yield Verdict(target, measured, is_met)


def _bursts(cells: Medians) -> Iterator[Verdict]:
    """Hold the typical burst against the limit, and it and nine in ten against tbf's.

    The limit is owed where wake-ups come on time, which the median stretch tells. Rates too slow
    for stretches are judged by the worst.
    """
    for rate_bits, traffic in cells.rows():
        figures = ("burst_bytes", "typical_burst_bytes", "high_burst_bytes")
        worst, typical, high = (cells.figure(SHAPER, rate_bits, traffic, f) for f in figures)
        if math.isnan(worst) or traffic not in (workload.UDP_LARGE.name, TCP):
            continue
        limit = burst_limit_bytes(rate_bits)
        row = f"{spell_rate(rate_bits)}, {traffic}"
        target = f"burst at {row}, typical, at most 2 frames + 1 ms = {limit} B"
        if math.isnan(typical):
            yield Verdict(target, f"{worst:.0f} B at worst", worst <= limit)
        else:
            said = f"{typical:.0f} B; 9 of 10 within {high:.0f} B, worst {worst:.0f} B"
            yield Verdict(target, said, typical <= limit)
        if traffic == TCP and rate_bits >= 10 * MBIT:
            yield _against_tbf(cells, rate_bits)


def _against_tbf(cells: Medians, rate_bits: int) -> Verdict:
    """Compare typical bursts and those that nine in ten keep to; the worst are said."""
    figures = ("typical_burst_bytes", "high_burst_bytes", "burst_bytes")
    sizes = {
        shaper: [cells.figure(shaper, rate_bits, TCP, figure) for figure in figures]
        for shaper in (SHAPER, "tbf")
    }
    said = [
        f"{shaper} {typical:.0f} and {high:.0f} B (worst {worst:.0f})"
        for shaper, (typical, high, worst) in sizes.items()
        if not math.isnan(typical)
    ]
    pairs = [*zip(sizes[SHAPER][:2], sizes["tbf"][:2], strict=True)]
    target = f"burst at {spell_rate(rate_bits)}, {TCP}, typical and nine in ten, below tbf's"
    if any(math.isnan(size) for pair in pairs for size in pair):
        return Verdict(target, ", ".join(said) or "not measured in this run", None)
    return Verdict(target, ", ".join(said), all(own < others for own, others in pairs))


def _first_second(cells: Medians) -> Iterator[Verdict]:
    shares = [(math.nan, "")]
    for rate_bits, traffic in cells.rows():
        excess = cells.figure(SHAPER, rate_bits, traffic, "first_second_excess_bytes")
        if not math.isnan(excess) and rate_bits != UNLIMITED_BITS:
            said = f"at worst {excess:+.0f} B at {spell_rate(rate_bits)}, {traffic}"
            shares.append((excess / burst_limit_bytes(rate_bits), said))
    share, said = max(shares[1:] or shares)
    target = "first second, at most the rate + 2 frames + 1 ms of it, everywhere"
    yield _judge(target, share, said, share <= 1)


def _speed(cells: Medians) -> Iterator[Verdict]:
    own, *others = cells.row(5 * GBIT, TCP, "goodput_bits")
    known = [each for each in others if not math.isnan(each)]
    said = f"{own / 1e9:.2f} Gbit/s against {' and '.join(f'{each / 1e9:.2f}' for each in known)}"
    target = "goodput at 5 Gbit/s, 4 TCP flows, above tbf and htb"
    yield _judge(target, own if known else math.nan, said, all(own > each for each in known))
    for what, traffic, figure, wanted in (
        ("unlimited, 1 TCP flow", workload.TCP_1.name, "goodput_bits", 0.8),
        ("UDP 64 B frames/s, 1 forwarder", workload.UDP_SMALL.name, "frames_per_second", 0.65),
    ):
        share = ratio(*cells.row(UNLIMITED_BITS, traffic, figure, (SHAPER, "bare")))
        target = f"{what}, at least {wanted:g} of the bare link"
        yield _judge(target, share, f"{share:.2f}", share >= wanted)


def _idle_latency(cells: Medians) -> Iterator[Verdict]:
    for rate_bits in (MBIT, 100 * MBIT):
        row = rate_bits, workload.IDLE.name
        own, bare = cells.row(*row, "ping_p50_us", (SHAPER, "bare"))
        own99, bare99 = cells.row(*row, "ping_p99_us", (SHAPER, "bare"))
        added_us = own - bare
        if not math.isnan(added_us):
            said = f"p50 {own:.0f} over {bare:.0f} us, p99 {own99:.0f} over {bare99:.0f} us"
            target = f"added latency, idle, p50 at {spell_rate(rate_bits)}, at most 60 us"
            yield Verdict(target, f"{added_us:.0f} us: {said}", added_us <= 60)


def _cost(cells: Medians) -> Iterator[Verdict]:
    for rate_bits, limit in FORWARDER_PERCENT.items():
        times = ratio(*cells.row(rate_bits, TCP, "cpu_s_per_gb", (SHAPER, "tbf")))
        target = f"processor time at {spell_rate(rate_bits)}, 4 TCP flows, at most twice tbf's"
        yield _judge(target, times, f"{times:.2f}", times <= 2)
        share = cells.figure(SHAPER, rate_bits, TCP, "forwarder_percent")
        target = f"forwarder at {spell_rate(rate_bits)}, 4 TCP flows, at most {limit} % of a core"
        yield _judge(target, share, f"{share:.0f} %", share <= limit)


def _beside_cake(cells: Medians) -> Iterator[Verdict]:
    """Hold pings beside four TCP flows against those of CAKE and htb with a leaf of fq_codel."""
    for rate_bits in (MBIT, 10 * MBIT, 100 * MBIT):
        own, cake = cells.row(rate_bits, TCP, "ping_p50_us", (SHAPER, "cake"))
        own99, leaf = cells.row(rate_bits, TCP, "ping_p99_us", (SHAPER, "htb+fq_codel"))
        at = f"at {spell_rate(rate_bits)}, {TCP}"
        if not math.isnan(own + cake):
            target = f"ping p50 {at}, at most CAKE's + {CAKE_MS} ms"
            said = f"{own / 1000:.2f} ms (CAKE {cake / 1000:.2f})"
            yield Verdict(target, said, own <= cake + 1000 * CAKE_MS)
        if not math.isnan(own99 + leaf):
            said = f"{own99 / 1000:.2f} ms ({leaf / 1000:.2f})"
            yield Verdict(f"ping p99 {at}, at most htb + fq_codel's", said, own99 <= leaf)


def _scale(run: Run) -> Iterator[Verdict]:
    for found in run.scale.get("weight", [])[-1:]:
        shapers = f"{found['shapers']} shapers"
        idle = sum(found["idle_percent"].values())
        memory = sum(found["memory_bytes"].values())
        took = found["add_ms"] + found["attach_ms"]
        yield Verdict(f"{shapers}, idle, under 1 % of a processor", f"{idle:.2f} %", idle < 1)
        yield Verdict(f"{shapers}, under 150 MB", f"{memory / 2**20:.0f} MiB", memory < 150e6)
        yield Verdict(f"{shapers}, add and attach under 10 ms", f"{took:.1f} ms", took < 10)
    if twenty := run.scale.get("twenty"):
        worst = max(abs(error) for error in twenty["error_percent"])
        yield Verdict("20 shapers at once, each within 0.1 %", f"{worst:.4f} %", worst <= 0.1)


def _latency(cells: Medians) -> Iterator[Verdict]:
    for rate_bits, limits_ms in LATENCY_MS.items():
        for name, limit_ms in zip(("p50", "p99"), limits_ms, strict=True):
            pings_us = cells.row(rate_bits, TCP, f"ping_{name}_us")
            own, *others = (each / 1000 for each in pings_us)
            if not math.isnan(own + limit_ms):
                pairs = zip(PEERS, others, strict=True)
                known = [f"{peer} {each:.2f}" for peer, each in pairs if not math.isnan(each)]
                said = f"{own:.2f} ms" + (f" ({', '.join(known)})" if known else "")
                target = f"ping {name} under 4 TCP flows at {spell_rate(rate_bits)}"
                yield Verdict(f"{target}, at most {limit_ms:g} ms", said, own <= limit_ms)


def _flows(cells: Medians) -> Iterator[Verdict]:
    index = cells.figure(SHAPER, FAIRNESS_BITS, workload.TCP_8.name, "jain")
    if not math.isnan(index):
        yield Verdict("Jain's index of 8 TCP flows, at least 0.98", f"{index:.3f}", index >= 0.98)
    for rate_bits in (64 * KBIT, MBIT, 10 * MBIT, 100 * MBIT, GBIT):
        share = cells.figure(SHAPER, rate_bits, workload.FLOOD.name, "goodput_percent")
        if not math.isnan(share):
            wanted = 40 if rate_bits == GBIT else 45
            at = spell_rate(rate_bits)
            target = f"a TCP flow beside a flood at {at} keeps {wanted} % of the rate"
            yield Verdict(target, f"{share:.0f} %", share >= wanted)


def _against_plain(cells: Medians) -> Iterator[Verdict]:
    """Compare with the plain queue, if that was measured beside another."""
    for rate_bits, traffic, figure, wanted in (
        (10 * MBIT, TCP, "goodput_bits", 0.97),
        (GBIT, TCP, "goodput_bits", 0.97),
        (UNLIMITED_BITS, workload.UDP_SMALL.name, "frames_per_second", 0.8),
    ):
        share = ratio(*cells.row(rate_bits, traffic, figure, (SHAPER, f"{SHAPER} fifo")))
        if not math.isnan(share):
            what = f"{figure.replace('_', ' ')} at {spell_rate(rate_bits)}, {traffic}"
            target = f"{what}, at least {wanted:g} of fifo's"
            yield Verdict(target, f"{share:.2f}", share >= wanted)
