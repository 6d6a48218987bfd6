"""`docs/benchmarks.md` from the tables of a run, and the table on the terminal.

Pure. The document shows what decides; every figure is in the data files beside it. Nothing is left
out because it looks bad: missed targets, comparisons that were lost and rows that could not be
measured have a section each.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from bench import beside, workload
from bench.method import INTRODUCTION, METHOD
from bench.tables import BETTER_PERCENT, COMPARED, Tables
from bench.terminal import grid, spell_count, spell_pair, spell_percent, spell_us, table
from bench.workload import UNLIMITED_BITS, spell_rate

FOLDER = "benchmarks"  # of the data files and plots, beside the document
HEADS = (
    *("rate error", "burst: typical / worst", "above 105 %: 1/10/100 ms", "first second"),
    *("goodput", "frames/s", "CPU s/GB", "ping p50 / p99"),
)
PLOTS = {
    "tcp": "4 TCP flows: accuracy, worst burst, delay of a ping and processor time over the rate",
    "udp": "UDP of 1000 B: accuracy, bursts and processor time over the rate",
    "buckets": "accuracy against smoothness at equal buckets, tbf and the shaper",
}
VERDICTS = {"met": "met   ", "missed": "MISSED", "not judged": "-     "}


def overview(found: Tables) -> str:
    """Return figures and targets for a terminal."""
    lines, before = [], ""
    for cell in found["figures"].itertuples():
        title = _row(cell)
        lines.append(["" if title == before else title, cell.shaper, *_fields(cell), str(cell.n)])
        before = title
    figures = table(["", "", *HEADS, "n"], lines) if lines else "no rates were measured"
    targets = found["targets"].itertuples()
    verdicts = [f"{VERDICTS[each.verdict]}  {each.target}: {each.measured}" for each in targets]
    return "\n".join([figures, "", *verdicts])


def document(found: Tables, plots: Iterable[str] = ()) -> str:
    """Return the whole document.

    Args:
        found: the tables of `bench.tables`.
        plots: the names of those that were drawn, of `PLOTS`.

    """
    facts = dict(found["machine"].replace("", "-").fillna("-").itertuples(index=False))
    drawn = [f"![{PLOTS[name]}]({FOLDER}/{name}.svg)\n" for name in PLOTS if name in plots]
    parts = [
        *(INTRODUCTION, beside.section(found, FOLDER), _machine(facts)),
        *(_targets(found["targets"]), *drawn),
        *(_worse(_of(found, "comparisons")), _idle(found["figures"]), _flows(found["figures"])),
        *(_shapers(_of(found, "shapers"), facts), METHOD, _skipped(_of(found, "skipped"))),
    ]
    return "\n".join(part for part in parts if part)


def _of(found: Tables, name: str) -> pd.DataFrame:
    return found.get(name, pd.DataFrame())


def _row(cell) -> str:
    return f"{spell_rate(cell.rate_bits)}, {cell.traffic}"


def _fields(cell) -> list[str]:
    """Return the figures of a cell as text."""
    above = (cell.above_1ms_percent, cell.above_10ms_percent, cell.above_100ms_percent)
    return [
        "-" if cell.rate_bits == UNLIMITED_BITS else spell_percent(cell.error_percent),
        spell_pair(cell.typical_burst_bytes, cell.burst_bytes),
        " ".join("-" if pd.isna(each) else f"{each:.1f}" for each in above),
        spell_percent(cell.first_second_percent, signed=False),
        *map(spell_count, (cell.goodput_bits, cell.frames_per_second, cell.cpu_s_per_gb)),
        spell_pair(cell.ping_p50_us, cell.ping_p99_us, spell_us),
    ]


def _machine(fact: dict[str, str]) -> str:
    kind = "virtual machine" if fact["is_virtual"] == "1" else "machine"
    return (
        f"A {kind}: {fact['processors']} x {fact['processor']}, {fact['memory_mib']} MiB, "
        f"Linux {fact['kernel']} (HZ {fact['kernel_hz']}),\n"
        f"Python {fact['python']}, TCP with {fact['congestion_control']}, queue of the shaper "
        f"{fact['queue']}.\n"
        f"{fact['measurements']} measurements in {float(fact['seconds']):.0f} s; "
        f"{fact['repeated']} were repeated because a hypervisor took more than 5 % of the "
        f"processors' time, and {fact['kept_with_steal']}\n"
        f"were kept with more than that, {fact['most_steal_percent']} % at most.\n"
    )


def _targets(targets: pd.DataFrame) -> str:
    """Return how many targets are met, and the others with what was measured."""
    judged = targets[targets["verdict"] != "not judged"]
    missed = judged.loc[judged["verdict"] == "missed", ["target", "measured"]]
    text = f"## Targets\n\n{len(judged) - len(missed)} of {len(judged)} are met ([all of them]"
    text += f"({FOLDER}/targets.csv))."
    return f"{text}\n" if missed.empty else f"{text} Missed:\n\n{grid(missed, missed.to_numpy())}"


def _worse(comparisons: pd.DataFrame) -> str:
    """Return in what the shaper is better and worse than tbf and htb, and how far at worst."""
    if comparisons.empty:
        return ""
    limit = 1 + BETTER_PERCENT / 100
    lines = []
    for _, name, _ in COMPARED:
        compared = comparisons[comparisons["figure"] == name]
        times = compared["times_worse"]
        if not compared.empty:
            counts = [(times < 1 / limit).sum(), (times > limit).sum(), len(times)]
            worst = compared.loc[times.idxmax()]
            times = f"{worst.times_worse:{',.0f' if worst.times_worse >= 100 else '.3g'}} x"
            farthest = f"{times} {worst.peer}: {worst.row}" if counts[1] else "-"
            lines.append([name, *map(str, counts), farthest])
    intro = (
        f"## Where the shaper is worse\n\nComparisons with tbf and htb, each row of each figure; "
        f"a difference below {BETTER_PERCENT} % counts as\nnone "
        f"([every factor]({FOLDER}/comparisons.csv)).\n\n"
    )
    return intro + grid(["figure", "better", "worse", "of", "worst"], lines)


def _pivot(cells: pd.DataFrame, spell) -> str:
    """Return a table with a row for each title and a column for each shaper."""
    fields = {(_row(cell), cell.shaper): spell(cell) for cell in cells.itertuples()}
    titles = dict.fromkeys(title for title, _ in fields)
    shapers = list(dict.fromkeys(name for _, name in fields))
    return grid(["", *shapers], [[t, *(fields.get((t, n), "-") for n in shapers)] for t in titles])


def _idle(figures: pd.DataFrame) -> str:
    """Return what a ping of an idle link takes."""
    idle = figures[figures["traffic"] == workload.IDLE.name]
    if idle.empty:
        return ""
    pings = _pivot(idle, lambda cell: spell_pair(cell.ping_p50_us, cell.ping_p99_us, spell_us))
    return f"## Latency of an idle link, p50 / p99\n\n{pings}"


def _flows(figures: pd.DataFrame) -> str:
    """Return how flows share a rate: TCP beside a flood, and eight TCP flows."""
    shared = figures[figures["traffic"].isin([workload.FLOOD.name, workload.TCP_8.name])]
    if shared.empty:
        return ""
    title = "## Between flows\n\nWhat TCP keeps of the rate beside a flood of ten times the rate, "
    return f"{title}and Jain's index of eight flows.\n\n{_pivot(shared, _share)}"


def _share(cell) -> str:
    if cell.traffic == workload.FLOOD.name:
        return f"{100 * cell.goodput_bits / cell.rate_bits:.0f} %"
    return "-" if pd.isna(cell.jain) else f"Jain {cell.jain:.3f}"


def _shapers(shapers: pd.DataFrame, facts: dict[str, str]) -> str:
    """Return what many shapers weigh, and what several forwarders pass."""
    if shapers.empty:
        return ""
    idle = shapers["supervisor_idle_percent"] + shapers["forwarder_idle_percent"]
    columns = {"shapers": 0, "supervisor_mib": 1, "forwarder_mib": 1}
    columns |= {"idle": 2, "add_ms": 1, "attach_ms": 1}
    heads = ["shapers", "supervisor MiB", "forwarder MiB", "idle %", "add ms", "attach ms"]
    lines = [
        [f"{row[name]:.{digits}f}" for name, digits in columns.items()]
        for _, row in shapers.assign(idle=idle).iterrows()
    ]
    text = "## Many shapers in one daemon\n\nMemory is the proportional set size.\n\n"
    text += grid(heads, lines)
    if "twenty_worst_error_percent" in facts:
        text += (
            "\nTwenty overloaded shapers of 1 to 10 Mbit/s on one master: the worst rate is off "
            f"by {float(facts['twenty_worst_error_percent']):.4f} %,\n"
            f"the median one by {float(facts['twenty_median_error_percent']):.4f} %.\n"
        )
    for name, frames in facts.items():
        if name.startswith("frames_per_second_of_"):
            count = name.rpartition("_")[2]
            bits = spell_count(float(facts[f"goodput_bits_of_{count}"]))
            text += (
                f"\n`--forwarders {count}`, two unlimited shapers: {spell_count(float(frames))} "
                f"frames/s of 64 B, {bits}bit/s of TCP.\n"
            )
    return text


def _skipped(skipped: pd.DataFrame) -> str:
    reasons = [f"- {reason}\n" for (reason,) in skipped.itertuples(index=False)]
    return "## Not measured\n\n" + "".join(reasons) if reasons else ""
