"""The shaper beside what another kernel has: CAKE, leaves of fq_codel, netem.

Pure. Tables and section of `docs/benchmarks.md` from a run of `make bench-kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench import workload
from bench.figures import fairness, median
from bench.results import Measurement, Run
from bench.rows import KERNEL_RATES_BITS
from bench.tables import Record, Tables
from bench.workload import spell_rate

NAME, MACHINE = "kernels", "kernels_machine"
HEADS = (
    "",
    "ping p50, ms",
    "p99, ms",
    "burst, kB",
    "worst, kB",
    "error, %",
    "Jain",
    "kept, %",
)
MS, KB = 1000, 1000  # microseconds, bytes


def _plain(name: str) -> Callable[[Measurement], float | None]:
    return lambda attempt: getattr(attempt, name)


def _error_size(attempt: Measurement) -> float | None:
    return None if attempt.error_percent is None else abs(attempt.error_percent)


def _jain(attempt: Measurement) -> float | None:
    return fairness(attempt.flow_bits) if len(attempt.flow_bits) > 1 else None


def _kept(attempt: Measurement) -> float | None:
    return None if attempt.goodput_bits is None else 100 * attempt.goodput_bits / attempt.rate_bits


FIGURES: dict[str, Callable[[Measurement], float | None]] = {
    "ping_p50_us": _plain("ping_p50_us"),
    "ping_p99_us": _plain("ping_p99_us"),
    "typical_burst_bytes": _plain("typical_burst_bytes"),
    "high_burst_bytes": _plain("high_burst_bytes"),
    "burst_bytes": _plain("burst_bytes"),
    "error_size_percent": _error_size,
    "goodput_percent": _kept,
    "jain": _jain,
}


def tables(run: Run) -> Tables:
    """Return the tables of a run: the figures with their spread, and the machine."""
    machine = {**run.machine, "seconds": run.seconds, "measurements": len(run.measurements)}
    facts = [{"fact": name, "value": value} for name, value in machine.items()]
    return {NAME: list(_figures(run)), MACHINE: facts}


def _figures(run: Run) -> Iterator[Record]:
    """Yield median, least and most of every figure of every cell."""
    for rate_bits, traffic in sorted(run.rows(), key=lambda row: row[0]):
        for name in run.shapers():
            attempts = run.cell(name, rate_bits, traffic).attempts
            if not attempts:
                continue
            record: Record = {"rate_bits": rate_bits, "traffic": traffic, "shaper": name}
            record["n"] = len(attempts)
            for figure, of in FIGURES.items():
                known = [value for value in map(of, attempts) if value is not None]
                record[figure] = median(known)
                record[f"{figure}_least"] = min(known, default=None)
                record[f"{figure}_most"] = max(known, default=None)
            yield record


def section(found: Tables, folder: str) -> str:
    """Return the section, or nothing where another kernel was not measured."""
    records = {(r["rate_bits"], r["traffic"], r["shaper"]): r for r in found.get(NAME, [])}
    if not records:
        return ""
    facts = {record["fact"]: record["value"] for record in found[MACHINE]}
    names = list(dict.fromkeys(name for _, traffic, name in records if traffic == TCP))
    lines = [
        [f"{spell_rate(rate)}, {name}", *_fields(records, rate, name)]
        for rate in KERNEL_RATES_BITS
        for name in names
    ]
    rounds = f"{min(record['n'] for record in records.values()):.0f}"
    head = HEAD.format(kernel=facts["kernel"], rounds=rounds, file=f"{folder}/{NAME}.csv")
    rule = "|".join(["---", *("---:" for _ in HEADS[1:])])
    grid = "\n".join(["|".join(HEADS), rule, *map("|".join, lines)]).replace("\n", "|\n|")
    return f"{head}\n|{grid}|\n{_delayed(records)}"


TCP = workload.TCP_4.name
HEAD = """\
## Beside CAKE and fq_codel leaves

From `make bench-kernels` under user-mode Linux {kernel} (`bench/uml.config`). All took turns;
medians (least-most) of at least {rounds} rounds. Ping and bursts (typical and worst) are beside
four TCP flows, the error of the rate is with UDP, Jain's index of eight TCP flows, and *kept* is
the share of TCP beside a flood of ten times the rate. tbf has the bucket of HZ 250. All figures:
[kernels.csv]({file}).

System calls cost more there, and senders, shaper and receiver share one processor, at real-time
priority. So the table tells delays of a millisecond and more, bursts and shares; shorter delays
only roughly; throughput and processor time not at all. A rate missed by whole percents is the
limit of that processor.
"""


def _fields(records: dict[tuple[int, str, str], Record], rate: int, name: str) -> list[str]:
    """Return the figures of one shaper at one rate as text."""

    def spread(traffic: str, figure: str, digits: int, unit: float = 1) -> str:
        record = records.get((rate, traffic, name), {})
        values = [record.get(f"{figure}{end}") for end in ("", "_least", "_most")]
        if None in values:
            return "-"
        middle, least, most = (f"{each / unit:.{digits}f}" for each in values)
        return f"{middle} ({least}-{most})"

    def middle(traffic: str, figure: str, digits: int, unit: float = 1) -> str:
        return spread(traffic, figure, digits, unit).partition(" ")[0]

    return [
        spread(TCP, "ping_p50_us", 2, MS),
        spread(TCP, "ping_p99_us", 1, MS),
        middle(TCP, "typical_burst_bytes", 1, KB),
        middle(TCP, "burst_bytes", 1, KB),
        middle(workload.UDP_LARGE.name, "error_size_percent", 3),
        middle(workload.TCP_8.name, "jain", 3),
        middle(workload.FLOOD.name, "goodput_percent", 0),
    ]


def _delayed(records: dict[tuple[int, str, str], Record]) -> str:
    """Return what a ping takes where 20 ms of delay are asked for."""
    said = []
    for (_, traffic, name), record in records.items():
        if traffic == workload.DELAYED.name:
            p50, p99 = (record[f"ping_{each}_us"] / MS for each in ("p50", "p99"))
            said.append(f"{name} {p50:.2f} / {p99:.2f} ms")
    if not said:
        return ""
    return f"\nA ping of an idle link with `delay 20ms`, p50 / p99: {', '.join(said)}.\n"
