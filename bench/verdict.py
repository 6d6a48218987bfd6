"""The targets, and whether a run meets them: ratios and medians of that run, nothing absolute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench import workload
from bench.figures import difference, fairness, median, ratio
from bench.results import Cell, Run
from bench.rows import FAIRNESS_BITS, GBIT, KBIT, MBIT
from bench.shapers import FULL_FRAME_BYTES
from bench.workload import UNLIMITED_BITS, spell_rate

SHAPER = "shaper"
PEERS = ("tbf", "htb")
HZ = 1000


@dataclass(frozen=True)
class Verdict:
    """One target against what was measured; `is_met` is None where nothing was."""

    target: str
    measured: str
    is_met: bool | None


def judge(run: Run) -> list[Verdict]:
    """Return the verdict on every target, in the order of the tasks."""
    parts: tuple[Callable[[Run], Iterator[Verdict]], ...] = (
        _accuracy,
        _bursts,
        _first_second,
        _speed,
        _idle_latency,
        _cost,
        _scale,
        _latency,
        _flows,
    )
    return [verdict for part in parts for verdict in part(run)]


def spell(run: Run) -> str:
    """Write the verdicts for a terminal."""
    words = {True: "met   ", False: "MISSED", None: "-     "}
    return "\n".join(f"{words[v.is_met]}  {v.target}: {v.measured}" for v in judge(run))


def _missing(target: str) -> Verdict:
    return Verdict(target, "not measured in this run", None)


def _could_send(run: Run, rate_bits: int, traffic: str) -> bool:
    """Whether the machine can send so many frames: somebody's rate was within 1 %."""
    sizes = [run.cell(name, rate_bits, traffic).error_size_percent() for name in (SHAPER, *PEERS)]
    return any(size is not None and size < 1 for size in sizes)


def _accuracy(run: Run) -> Iterator[Verdict]:
    for rate_bits, traffic in run.rows():
        cell = run.cell(SHAPER, rate_bits, traffic)
        size = cell.error_size_percent()
        is_udp = traffic in (workload.UDP_SMALL.name, workload.UDP_LARGE.name)
        is_fast = rate_bits == 5 * GBIT and traffic == workload.TCP_4.name
        if size is None or not (is_udp or is_fast) or rate_bits == UNLIMITED_BITS:
            continue
        limit = 0.1 if is_fast else 0.01
        tbf = run.cell("tbf", rate_bits, traffic).error_size_percent()
        beside = "" if tbf is None else f" (tbf {tbf:.3f} %)"
        target = f"rate error at {spell_rate(rate_bits)}, {traffic}, at most {limit:g} % and tbf's"
        measured = f"{size:.4f} %{beside}"
        if not _could_send(run, rate_bits, traffic):
            yield Verdict(target, f"{measured}; nobody came within 1 %", None)
            continue
        # A thousandth of a percent is the noise of the clocks.
        is_met = size <= limit and (tbf is None or size <= max(tbf, 0.001))
        yield Verdict(target, measured, is_met)


def _bursts(run: Run) -> Iterator[Verdict]:
    """Hold the typical burst against the limit, and the worst one against the others'.

    The limit is owed where wake-ups come on time, which the median stretch tells. Rates too slow
    for stretches are judged by the worst.
    """
    for rate_bits, traffic in run.rows():
        cell = run.cell(SHAPER, rate_bits, traffic)
        worst = cell.figure("burst_bytes")
        if worst is None or traffic not in (workload.UDP_LARGE.name, workload.TCP_4.name):
            continue
        limit = burst_limit_bytes(rate_bits)
        row = f"{spell_rate(rate_bits)}, {traffic}"
        typical, high = cell.figure("typical_burst_bytes"), cell.figure("high_burst_bytes")
        target = f"burst at {row}, typical, at most 2 frames + 1 ms = {limit} B"
        if typical is None or high is None:
            yield Verdict(target, f"{worst:.0f} B at worst", worst <= limit)
        else:
            said = f"{typical:.0f} B; 9 of 10 within {high:.0f} B, worst {worst:.0f} B"
            yield Verdict(target, said, typical <= limit)
        if traffic == workload.TCP_4.name and rate_bits >= 10 * MBIT:
            yield _against_peers(run, rate_bits, traffic)


def burst_limit_bytes(rate_bits: int) -> int:
    """Return what a burst may be at most: two full frames and a millisecond of the rate."""
    return 2 * FULL_FRAME_BYTES + rate_bits // (8 * HZ)


def _against_peers(run: Run, rate_bits: int, traffic: str) -> Verdict:
    """Compare worst bursts; typical ones stand beside them."""
    worst, said = {}, []
    for name in (SHAPER, *PEERS):
        cell = run.cell(name, rate_bits, traffic)
        worst[name], typical = cell.figure("burst_bytes"), cell.figure("typical_burst_bytes")
        if worst[name] is not None:
            aside = "" if typical is None else f" (typical {typical:.0f})"
            said.append(f"{name} {worst[name]:.0f} B{aside}")
    own = worst.pop(SHAPER)
    known = [each for each in worst.values() if each is not None]
    is_met = all(own < each for each in known) if known else None
    target = f"burst at {spell_rate(rate_bits)}, {traffic}, worst, below tbf's and htb's"
    return Verdict(target, ", ".join(said), is_met)


def _first_second(run: Run) -> Iterator[Verdict]:
    worst: tuple[float, str] | None = None
    for rate_bits, traffic in run.rows():
        cell = run.cell(SHAPER, rate_bits, traffic)
        excess, burst = cell.figure("first_second_excess_bytes"), cell.figure("burst_bytes")
        if excess is None or burst is None or rate_bits == UNLIMITED_BITS:
            continue
        share = excess / burst_limit_bytes(rate_bits)
        if worst is None or share > worst[0]:
            worst = (share, f"{excess:+.0f} B at {spell_rate(rate_bits)}, {traffic}")
    target = "first second, at most the rate + 2 frames + 1 ms of it, everywhere"
    if worst is None:
        yield _missing(target)
    else:
        yield Verdict(target, f"at worst {worst[1]}", worst[0] <= 1)


def _speed(run: Run) -> Iterator[Verdict]:
    target = "goodput at 5 Gbit/s, 4 TCP flows, above tbf and htb"
    own = run.cell(SHAPER, 5 * GBIT, workload.TCP_4.name).figure("goodput_bits")
    others = [run.cell(p, 5 * GBIT, workload.TCP_4.name).figure("goodput_bits") for p in PEERS]
    known = [each for each in others if each is not None]
    if own is None or not known:
        yield _missing(target)
    else:
        said = " and ".join(f"{each / 1e9:.2f}" for each in known)
        yield Verdict(target, f"{own / 1e9:.2f} Gbit/s against {said}", own > max(known))
    yield _share_of_bare(run, "unlimited, 1 TCP flow", workload.TCP_1.name, "goodput_bits", 0.8)
    yield _share_of_bare(
        run, "UDP 64 B frames/s, 1 forwarder", workload.UDP_SMALL.name, "frames_per_second", 0.6
    )


def _share_of_bare(run: Run, what: str, traffic: str, figure: str, wanted: float) -> Verdict:
    target = f"{what}, at least {wanted:g} of the bare link"
    own = run.cell(SHAPER, UNLIMITED_BITS, traffic).figure(figure)
    share = ratio(own, run.cell("bare", UNLIMITED_BITS, traffic).figure(figure))
    return _missing(target) if share is None else Verdict(target, f"{share:.2f}", share >= wanted)


def _idle_latency(run: Run) -> Iterator[Verdict]:
    for rate_bits in (MBIT, 100 * MBIT):
        own = run.cell(SHAPER, rate_bits, workload.IDLE.name)
        bare = run.cell("bare", rate_bits, workload.IDLE.name)
        added_us = difference(own.figure("ping_p50_us"), bare.figure("ping_p50_us"))
        if added_us is not None:
            target = f"added latency, idle, p50 at {spell_rate(rate_bits)}, at most 60 us"
            said = [f"p{at} {_us(own, at)} over {_us(bare, at)} us" for at in (50, 99)]
            yield Verdict(target, f"{added_us:.0f} us: {', '.join(said)}", added_us <= 60)


def _us(cell: Cell, percent: int) -> str:
    value = cell.figure(f"ping_p{percent}_us")
    return "-" if value is None else f"{value:.0f}"


def _cost(run: Run) -> Iterator[Verdict]:
    for rate_bits in (100 * MBIT, GBIT):
        own = run.cell(SHAPER, rate_bits, workload.TCP_4.name).figure("cpu_s_per_gb")
        tbf = run.cell("tbf", rate_bits, workload.TCP_4.name).figure("cpu_s_per_gb")
        target = f"processor time at {spell_rate(rate_bits)}, 4 TCP flows, at most twice tbf's"
        times = ratio(own, tbf)
        yield _missing(target) if times is None else Verdict(target, f"{times:.2f}", times <= 2)


def _scale(run: Run) -> Iterator[Verdict]:
    for found in run.scale.get("weight", [])[-1:]:
        count = found["shapers"]
        idle = sum(found["idle_percent"].values())
        memory = sum(found["memory_bytes"].values()) / 2**20
        took = found["add_ms"] + found["attach_ms"]
        yield Verdict(
            f"{count} shapers, idle, under 1 % of a processor", f"{idle:.2f} %", idle < 1
        )
        yield Verdict(
            f"{count} shapers, under 150 MB", f"{memory:.0f} MiB", memory * 1.048576 < 150
        )
        yield Verdict(f"{count} shapers, add and attach under 10 ms", f"{took:.1f} ms", took < 10)
    if twenty := run.scale.get("twenty"):
        worst = max(abs(error) for error in twenty["error_percent"])
        yield Verdict("20 shapers at once, each within 0.1 %", f"{worst:.4f} %", worst <= 0.1)


def _latency(run: Run) -> Iterator[Verdict]:
    limits_ms: dict[int, tuple[float | None, float]] = {
        MBIT: (None, 60),
        10 * MBIT: (5, 12),
        100 * MBIT: (None, 5),
        GBIT: (None, 5),
    }
    for rate_bits, (p50_ms, p99_ms) in limits_ms.items():
        cell = run.cell(SHAPER, rate_bits, workload.TCP_4.name)
        for name, limit_ms in (("p50", p50_ms), ("p99", p99_ms)):
            value = cell.figure(f"ping_{name}_us")
            if value is not None and limit_ms is not None:
                target = f"ping {name} under 4 TCP flows at {spell_rate(rate_bits)}"
                said = _beside(run, rate_bits, f"ping_{name}_us")
                is_met = value <= 1000 * limit_ms
                yield Verdict(
                    f"{target}, at most {limit_ms:g} ms", f"{value / 1000:.1f} ms{said}", is_met
                )


def _beside(run: Run, rate_bits: int, figure: str) -> str:
    """Return what the others had in the same row."""
    values = {
        peer: run.cell(peer, rate_bits, workload.TCP_4.name).figure(figure) for peer in PEERS
    }
    said = [f"{peer} {value / 1000:.1f}" for peer, value in values.items() if value is not None]
    return f" ({', '.join(said)})" if said else ""


def _flows(run: Run) -> Iterator[Verdict]:
    eight = run.cell(SHAPER, FAIRNESS_BITS, workload.TCP_8.name)
    if (index := jain(eight)) is not None:
        yield Verdict("Jain's index of 8 TCP flows, at least 0.98", f"{index:.3f}", index >= 0.98)
    for rate_bits in (64 * KBIT, MBIT, 10 * MBIT, 100 * MBIT, GBIT):
        share = kept_percent(run.cell(SHAPER, rate_bits, workload.FLOOD.name), rate_bits)
        if share is not None:
            target = f"a TCP flow beside a flood at {spell_rate(rate_bits)} keeps 45 % of the rate"
            yield Verdict(target, f"{share:.0f} %", share >= 45)
    yield from _against_plain(run)


def _against_plain(run: Run) -> Iterator[Verdict]:
    """Compare with the plain queue, if that was measured beside another."""
    plain = f"{SHAPER} fifo"
    for rate_bits, traffic, figure, wanted in (
        (10 * MBIT, workload.TCP_4.name, "goodput_bits", 0.97),
        (GBIT, workload.TCP_4.name, "goodput_bits", 0.97),
        (UNLIMITED_BITS, workload.UDP_SMALL.name, "frames_per_second", 0.8),
    ):
        own = run.cell(SHAPER, rate_bits, traffic).figure(figure)
        share = ratio(own, run.cell(plain, rate_bits, traffic).figure(figure))
        if share is not None:
            what = f"{figure.replace('_', ' ')} at {spell_rate(rate_bits)}, {traffic}"
            yield Verdict(
                f"{what}, at least {wanted:g} of fifo's", f"{share:.2f}", share >= wanted
            )


def jain(cell: Cell) -> float | None:
    """Return the median fairness of a cell's flows."""
    return median([fairness(each.flow_bits) for each in cell.attempts if each.flow_bits])


def kept_percent(cell: Cell, rate_bits: int) -> float | None:
    """Return how much of the rate TCP had, in percent of it."""
    value = cell.figure("goodput_bits")
    return None if value is None else 100 * value / rate_bits
