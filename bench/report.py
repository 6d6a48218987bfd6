"""`docs/benchmarks.md` from the tables of a run, and the table on the terminal.

What the document says is in `document.md`, and what is here fills it in. A section, two blank
lines after the one before it, is left out if something in it is not known. Nothing is left out
because it looks bad: missed targets, comparisons that were lost and rows that could not be
measured have a section each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from string import Template

import pandas as pd

from bench import beside, workload
from bench.tables import BETTER_PERCENT, COMPARED, Tables
from bench.terminal import grid, spell_count, spell_pair, spell_percent, spell_us, table
from bench.workload import UNLIMITED_BITS, spell_rate

FOLDER = "benchmarks"  # of the data files and plots, beside the document
SECTIONS = Path(__file__).with_name("document.md").read_text(encoding="utf-8").split("\n\n\n")
HEADS = (
    *("rate error", "burst: typical / worst", "above 105 %: 1/10/100 ms", "first second"),
    *("goodput", "frames/s", "CPU s/GB", "ping p50 / p99"),
)


def overview(found: Tables) -> str:
    """Return figures and targets for a terminal."""
    lines, before = [], ""
    for cell in found["figures"].itertuples():
        title = _row(cell)
        lines.append(["" if title == before else title, cell.shaper, *_fields(cell), str(cell.n)])
        before = title
    figures = table(["", "", *HEADS, "n"], lines) if lines else "no rates were measured"
    targets = found["targets"].itertuples()
    verdicts = [f"{each.verdict:<10}  {each.target}: {each.measured}" for each in targets]
    return "\n".join([figures, "", *verdicts])


def document(found: Tables, plots: Iterable[str] = ()) -> str:
    """Return the whole document from the tables and the names of the plots that were drawn."""
    known = {**{name: f"{FOLDER}/{name}.svg" for name in plots}, **_facts(found["machine"])}
    known |= _targets(found["targets"]) | beside.texts(found)
    figures, shared = found["figures"], [workload.FLOOD.name, workload.TCP_8.name]
    texts = {
        "better_percent": str(BETTER_PERCENT),
        "worse": _worse(_of(found, "comparisons")),
        "idle": _pivot(figures[figures["traffic"] == workload.IDLE.name], _pings),
        "flows": _pivot(figures[figures["traffic"].isin(shared)], _share),
        "shapers": _shapers(_of(found, "shapers")),
        "skipped": "\n".join(f"- {reason}" for (reason,) in _rows(_of(found, "skipped"))),
    }
    filled = [_fill(Template(section.strip()), known | texts) for section in SECTIONS]
    return "\n\n".join(filter(None, filled)) + "\n"


def _fill(section: Template, texts: dict[str, str]) -> str:
    """Return a section, or nothing if it needs something that is not known."""
    is_known = all(texts.get(name) for name in section.get_identifiers())
    return section.substitute(texts) if is_known else ""


def _of(found: Tables, name: str) -> pd.DataFrame:
    return found.get(name, pd.DataFrame())


def _rows(frame: pd.DataFrame) -> Iterable[tuple[str, ...]]:
    return frame.itertuples(index=False, name=None)


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
        _pings(cell),
    ]


def _pings(cell) -> str:
    return spell_pair(cell.ping_p50_us, cell.ping_p99_us, spell_us)


def _share(cell) -> str:
    """Return how flows share a rate: TCP beside a flood, and eight TCP flows."""
    if cell.traffic == workload.FLOOD.name:
        return f"{100 * cell.goodput_bits / cell.rate_bits:.0f} %"
    return "-" if pd.isna(cell.jain) else f"Jain {cell.jain:.3f}"


def _facts(machine: pd.DataFrame) -> dict[str, str]:
    """Return what it was measured on, and what is known by single figures."""
    facts = dict(_rows(machine.replace("", "-").fillna("-")))
    facts["kind"] = "virtual machine" if facts["is_virtual"] == "1" else "machine"
    facts["seconds"] = f"{float(facts['seconds']):.0f}"
    for which in ("worst", "median"):
        if error := facts.get(f"twenty_{which}_error_percent"):
            facts[f"{which}_of_twenty"] = f"{float(error):.4f}"
    told = []
    for fact, frames in facts.items():
        if fact.startswith(each := "frames_per_second_of_"):
            count = fact.removeprefix(each)
            bits = spell_count(float(facts[f"goodput_bits_of_{count}"]))
            told.append(
                f"`--forwarders {count}`, two unlimited shapers: {spell_count(float(frames))} "
                f"frames/s of 64 B, {bits}bit/s of TCP."
            )
    return {**facts, "forwarders": "\n\n".join(told)}


def _targets(targets: pd.DataFrame) -> dict[str, str]:
    """Return how many targets are met, and the others with what was measured."""
    judged = targets[targets["verdict"] != "not judged"]
    missed = judged.loc[judged["verdict"] == "missed", ["target", "measured"]]
    told = " None is missed." if missed.empty else f" Missed:\n\n{grid(missed, _rows(missed))}"
    return {"met": str(len(judged) - len(missed)), "judged": str(len(judged)), "missed": told}


def _worse(comparisons: pd.DataFrame) -> str:
    """Return in what the shaper is better and worse than tbf and htb, and how far at worst."""
    limit = 1 + BETTER_PERCENT / 100
    figures = dict(list(comparisons.groupby("figure"))) if len(comparisons) else {}
    lines = []
    for name in (name for _, name, _ in COMPARED if name in figures):
        compared, times = figures[name], figures[name]["times_worse"]
        counts = [(times < 1 / limit).sum(), (times > limit).sum(), len(times)]
        worst = compared.loc[times.idxmax()]
        factor = f"{worst.times_worse:{',.0f' if worst.times_worse >= 100 else '.3g'}} x"
        farthest = f"{factor} {worst.peer}: {worst.row}" if counts[1] else "-"
        lines.append([name, *map(str, counts), farthest])
    return grid(["figure", "better", "worse", "of", "worst"], lines) if lines else ""


def _pivot(cells: pd.DataFrame, spell: Callable[..., str]) -> str:
    """Return a table with a row for each title and a column for each shaper."""
    fields = {(_row(cell), cell.shaper): spell(cell) for cell in cells.itertuples()}
    titles = dict.fromkeys(title for title, _ in fields)
    shapers = list(dict.fromkeys(name for _, name in fields))
    lines = [[t, *(fields.get((t, name), "-") for name in shapers)] for t in titles]
    return grid(["", *shapers], lines) if lines else ""


def _shapers(shapers: pd.DataFrame) -> str:
    """Return what many shapers weigh."""
    lines = [
        [
            *(f"{each.shapers}", f"{each.supervisor_mib:.1f}", f"{each.forwarder_mib:.1f}"),
            f"{each.supervisor_idle_percent + each.forwarder_idle_percent:.2f}",
            *(f"{each.add_ms:.1f}", f"{each.attach_ms:.1f}"),
        ]
        for each in shapers.itertuples()
    ]
    heads = ["shapers", "supervisor MiB", "forwarder MiB", "idle %", "add ms", "attach ms"]
    return grid(heads, lines) if lines else ""
