"""`docs/benchmarks.md` from the tables of a run, and the table on the terminal.

Pure. The document shows what decides; every figure is in the data files beside it. Nothing is left
out because it looks bad: missed targets, comparisons that were lost and rows that could not be
measured have a section each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench import beside, tables, workload
from bench.method import INTRODUCTION, METHOD
from bench.results import Run
from bench.tables import BETTER_PERCENT, COMPARED, Record, Tables
from bench.terminal import spell_count, spell_pair, spell_percent, spell_us, table
from bench.workload import UNLIMITED_BITS, spell_rate

FOLDER = "benchmarks"  # of the data files and plots, beside the document
SHARED = (workload.FLOOD.name, workload.TCP_8.name)
HEADS = (
    "rate error",
    "burst: typical / worst",
    "above 105 %: 1/10/100 ms",
    "first second",
    "goodput",
    "frames/s",
    "CPU s/GB",
    "ping p50 / p99",
)
PLOTS = {
    "tcp": "4 TCP flows: accuracy, worst burst, delay of a ping and processor time over the rate",
    "udp": "UDP of 1000 B: accuracy, bursts and processor time over the rate",
    "buckets": "accuracy against smoothness at equal buckets, tbf and the shaper",
}


def overview(run: Run) -> str:
    """Return the table for a terminal."""
    lines, before = [], ""
    for record in tables.make(run)["figures"]:
        title = _row(record)
        head = "" if title == before else title
        lines.append([head, record["shaper"], *_fields(record), str(record["n"])])
        before = title
    return table(["", "", *HEADS, "n"], lines) if lines else "no rates were measured"


def document(found: Tables, plots: Iterable[str] = ()) -> str:
    """Return the whole document.

    Args:
        found: the tables of `bench.tables`.
        plots: the names of those that were drawn, of `PLOTS`.

    """
    drawn = [f"![{PLOTS[name]}]({FOLDER}/{name}.svg)\n" for name in PLOTS if name in plots]
    parts = [
        INTRODUCTION,
        beside.section(found, FOLDER),
        _machine(found),
        _targets(found),
        *drawn,
        _worse(found),
        _idle(found),
    ]
    parts += [_flows(found), _shapers(found), METHOD, _skipped(found)]
    return "\n".join(part for part in parts if part)


def _row(record: Record) -> str:
    return f"{spell_rate(record['rate_bits'])}, {record['traffic']}"


def _fields(record: Record) -> list[str]:
    """Return the figures of a cell as text."""
    above = [record[f"above_{window}ms_percent"] for window in (1, 10, 100)]
    is_free = record["rate_bits"] == UNLIMITED_BITS
    pings = record["ping_p50_us"], record["ping_p99_us"]
    return [
        "-" if is_free else spell_percent(record["error_percent"]),
        spell_pair(record["typical_burst_bytes"], record["burst_bytes"]),
        " ".join("-" if each is None else f"{each:.1f}" for each in above),
        spell_percent(record["first_second_percent"], signed=False),
        spell_count(record["goodput_bits"]),
        spell_count(record["frames_per_second"]),
        spell_count(record["cpu_s_per_gb"]),
        "-" if pings[0] is None else f"{spell_us(pings[0])} / {spell_us(pings[1])}",
    ]


def _grid(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join(f"|{'|'.join(line)}|" for line in [heads, rule, *lines]) + "\n"


def _facts(found: Tables) -> dict[str, Any]:
    return {record["fact"]: record["value"] for record in found["machine"]}


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "-" if value is None else str(value)


def _machine(found: Tables) -> str:
    fact = {name: _text(value) for name, value in _facts(found).items()}
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


def _targets(found: Tables) -> str:
    """Return how many targets are met, and the others with what was measured."""
    counts = [record["verdict"] for record in found["targets"]]
    judged = len(counts) - counts.count("not judged")
    missed = [[r["target"], r["measured"]] for r in found["targets"] if r["verdict"] == "missed"]
    text = f"## Targets\n\n{counts.count('met')} of {judged} are met ([all of them]"
    text += f"({FOLDER}/targets.csv))."
    return f"{text} Missed:\n\n{_grid(['target', 'measured'], missed)}" if missed else f"{text}\n"


def _worse(found: Tables) -> str:
    """Return in what the shaper is better and worse than tbf and htb, and how far at worst."""
    limit = 1 + BETTER_PERCENT / 100
    lines = []
    for _, name, _ in COMPARED:
        compared = [r for r in found.get("comparisons", []) if r["figure"] == name]
        worse = [r for r in compared if r["times_worse"] > limit]
        better = sum(r["times_worse"] < 1 / limit for r in compared)
        if compared:
            most = max(worse, key=lambda r: r["times_worse"], default=None)
            farthest = f"{_times(most)} {most['peer']}: {most['row']}" if most else "-"
            lines.append([name, str(better), str(len(worse)), str(len(compared)), farthest])
    intro = (
        f"## Where the shaper is worse\n\nComparisons with tbf and htb, each row of each figure; "
        f"a difference below {BETTER_PERCENT} % counts as\nnone "
        f"([every factor]({FOLDER}/comparisons.csv)).\n\n"
    )
    return intro + _grid(["figure", "better", "worse", "of", "worst"], lines) if lines else ""


def _times(record: Record) -> str:
    factor = record["times_worse"]
    return f"{factor:,.0f} x" if factor >= 100 else f"{factor:.3g} x"


def _pivot(records: Sequence[Record], fields: dict[tuple[str, str], str]) -> str:
    """Return a table with a row for each title and a column for each shaper."""
    shapers = list(dict.fromkeys(record["shaper"] for record in records))
    titles = list(dict.fromkeys(_row(record) for record in records))
    lines = [[title, *(fields.get((title, name), "-") for name in shapers)] for title in titles]
    return _grid(["", *shapers], lines)


def _idle(found: Tables) -> str:
    """Return what a ping of an idle link takes."""
    idle = [r for r in found.get("figures", []) if r["traffic"] == workload.IDLE.name]
    fields = {
        (_row(r), r["shaper"]): f"{spell_us(r['ping_p50_us'])} / {spell_us(r['ping_p99_us'])}"
        for r in idle
    }
    return f"## Latency of an idle link, p50 / p99\n\n{_pivot(idle, fields)}" if idle else ""


def _flows(found: Tables) -> str:
    """Return how flows share a rate: TCP beside a flood, and eight TCP flows."""
    shared = [r for r in found.get("figures", []) if r["traffic"] in SHARED]
    fields = {}
    for record in shared:
        if record["traffic"] == workload.FLOOD.name:
            kept = 100 * (record["goodput_bits"] or 0) / record["rate_bits"]
            fields[_row(record), record["shaper"]] = f"{kept:.0f} %"
        elif record["jain"] is not None:
            fields[_row(record), record["shaper"]] = f"Jain {record['jain']:.3f}"
    title = "## Between flows\n\nWhat TCP keeps of the rate beside a flood of ten times the rate, "
    title += "and Jain's index of eight flows.\n\n"
    return title + _pivot(shared, fields) if shared else ""


def _shapers(found: Tables) -> str:
    """Return what many shapers weigh, and what several forwarders pass."""
    if not found.get("shapers"):
        return ""
    heads = ["shapers", "supervisor MiB", "forwarder MiB", "idle %", "add ms", "attach ms"]
    text = "## Many shapers in one daemon\n\nMemory is the proportional set size.\n\n"
    text += _grid(heads, map(_weight, found["shapers"]))
    facts = _facts(found)
    if "twenty_worst_error_percent" in facts:
        text += (
            "\nTwenty overloaded shapers of 1 to 10 Mbit/s on one master: the worst rate is off "
            f"by {facts['twenty_worst_error_percent']:.4f} %,\n"
            f"the median one by {facts['twenty_median_error_percent']:.4f} %.\n"
        )
    for name, frames in facts.items():
        if name.startswith("frames_per_second_of_"):
            count = name.rpartition("_")[2]
            text += (
                f"\n`--forwarders {count}`, two unlimited shapers: {spell_count(frames)} frames/s "
                f"of 64 B, {spell_count(facts[f'goodput_bits_of_{count}'])}bit/s of TCP.\n"
            )
    return text


def _weight(record: Record) -> list[str]:
    idle = record["supervisor_idle_percent"] + record["forwarder_idle_percent"]
    sizes = [f"{record[name]:.1f}" for name in ("supervisor_mib", "forwarder_mib")]
    times = [f"{record[name]:.1f}" for name in ("add_ms", "attach_ms")]
    return [_text(record["shapers"]), *sizes, f"{idle:.2f}", *times]


def _skipped(found: Tables) -> str:
    reasons = [f"- {record['not measured']}\n" for record in found.get("skipped", [])]
    return "## Not measured\n\n" + "".join(reasons) if reasons else ""
