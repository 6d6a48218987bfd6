"""`docs/benchmarks.md` from a run, and the table on the terminal: the same figures, two spellings.

Pure. Nothing is left out because it looks bad: rows that could not be measured are listed with
their reason, and what the shaper does worse than another is a section of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench import trade, verdict, workload
from bench.figures import difference
from bench.method import INTRODUCTION, METHOD
from bench.results import MAX_STEAL_PERCENT, Cell, Run, stolen_percent
from bench.terminal import spell_count, spell_pair, spell_percent, spell_us, table
from bench.workload import UNLIMITED_BITS, spell_rate

BETTER_PERCENT = 5  # a difference smaller than this is called none

# What is compared: figure, what it is called, whether more is better, and how it is written.
COLUMNS = (
    ("error_percent", "rate error"),
    ("burst", "burst: typical / worst"),
    ("above", "above 105 %: 1/10/100 ms"),
    ("first_second_percent", "first second"),
    ("goodput_bits", "goodput"),
    ("frames_per_second", "frames/s"),
    ("cpu_s_per_gb", "CPU s/GB"),
    ("ping", "ping p50 / p99"),
)
PROCESSES = ("supervisor", "forwarder")
COMPARED = (
    ("burst_bytes", "worst burst", False),
    ("typical_burst_bytes", "typical burst", False),
    ("goodput_bits", "goodput", True),
    ("frames_per_second", "frames a second", True),
    ("cpu_s_per_gb", "processor time a gigabyte", False),
    ("ping_p50_us", "median ping", False),
    ("ping_p99_us", "p99 of ping", False),
)


def overview(run: Run) -> str:
    """Return the table for a terminal."""
    heads = ["", "", *(name for _, name in COLUMNS), "n"]
    lines = [
        [title if at == 0 else "", *fields]
        for title, cells in _rows(run)
        for at, fields in enumerate([shaper, *_fields(cell)] for shaper, cell in cells)
    ]
    return table(heads, lines) if lines else "no rates were measured"


def document(run: Run) -> str:
    """Return the whole document."""
    parts = [INTRODUCTION, _machine(run), _targets(run), _figures(run)]
    parts += [_worse(run), _idle(run), _scale(run), _trade(run), _flows(run), METHOD]
    parts.append(_skipped(run))
    return "\n".join(part for part in parts if part)


def _rows(run: Run) -> Iterator[tuple[str, list[tuple[str, Cell]]]]:
    """Yield each row: its title, and who was measured in it."""
    for rate_bits, traffic in sorted(run.rows(), key=lambda row: row[0]):
        cells = [(name, run.cell(name, rate_bits, traffic)) for name in _order(run)]
        yield f"{spell_rate(rate_bits)}, {traffic}", [each for each in cells if len(each[1])]


def _order(run: Run) -> list[str]:
    first = ("bare", "tbf", "htb")
    shapers = run.shapers()
    return [name for name in first if name in shapers] + [n for n in shapers if n not in first]


def _fields(cell: Cell) -> list[str]:
    """Return the figures of a cell as text."""
    above = [cell.above(window) for window in ("1", "10", "100")]
    is_free = cell.attempts[0].rate_bits == UNLIMITED_BITS
    pings = [cell.figure("ping_p50_us"), cell.figure("ping_p99_us")]
    return [
        "-" if is_free else spell_percent(cell.figure("error_percent")),
        spell_pair(cell.figure("typical_burst_bytes"), cell.figure("burst_bytes")),
        " ".join("-" if each is None else f"{each:.1f}" for each in above),
        spell_percent(cell.figure("first_second_percent"), signed=False),
        spell_count(cell.figure("goodput_bits")),
        spell_count(cell.figure("frames_per_second")),
        spell_count(cell.figure("cpu_s_per_gb")),
        "-" if pings[0] is None else f"{spell_us(pings[0])} / {spell_us(pings[1])}",
        str(len(cell)),
    ]


def _grid(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, rule, *lines]) + "\n"


def _machine(run: Run) -> str:
    machine = run.machine
    kind = "virtual machine" if machine["is_virtual"] else "machine"
    steals = sum(each.is_repeated for each in run.measurements)
    still = [each for each in run.measurements if each.steal_percent > MAX_STEAL_PERCENT]
    return (
        f"A {kind}: {machine['processors']} x {machine['processor']}, "
        f"{machine['memory_mib']} MiB, Linux {machine['kernel']} (HZ {machine['kernel_hz']}),\n"
        f"Python {machine['python']}, TCP with {run.settings.get('congestion_control', '-')}, "
        f"queue of the shaper {run.settings['queue']}.\n"
        f"{len(run.measurements)} measurements in {run.seconds:.0f} s, {steals} of them made "
        f"again\nbecause of steal; {len(still)} kept with more than 5 % of it, "
        f"{stolen_percent(run.measurements):.0f} % at most.\n"
    )


def _targets(run: Run) -> str:
    words = {True: "met", False: "**missed**", None: "not judged"}
    found = verdict.judge(run)
    met, judged = sum(v.is_met is True for v in found), sum(v.is_met is not None for v in found)
    lines = [[v.target, v.measured, words[v.is_met]] for v in found]
    return f"## Targets\n\n{met} of {judged} are met.\n\n" + _grid(
        ["target", "measured", ""], lines
    )


def _figures(run: Run) -> str:
    heads = ["rate, traffic", "", *(name for _, name in COLUMNS), "n"]
    lines = [
        [title if at == 0 else "", *fields]
        for title, cells in _rows(run)
        for at, fields in enumerate([shaper, *_fields(cell)] for shaper, cell in cells)
    ]
    title = "## All figures\n\nMedians of n measurements; see below which are counted."
    return f"{title}\n\n{_grid(heads, lines)}"


def _worse(run: Run) -> str:
    """Return what the shaper does worse than tbf or htb, and how often it does better."""
    compared = list(_comparisons(run))
    limit = 1 + BETTER_PERCENT / 100
    worse = sorted((each for each in compared if each[0] > limit), key=lambda each: -each[0])
    better = sum(factor < 1 / limit for factor, _ in compared)
    lines = [[*words, f"{factor:.2f}"] for factor, words in worse]
    intro = (
        "Of both bursts, goodput, frames a second, processor time and ping in each row, the\n"
        f"shaper is more than {BETTER_PERCENT} % better than tbf or htb in {better} comparisons\n"
        f"and worse in {len(lines)} of {len(compared)}.\n\n"
    )
    heads = ["row", "in", "than", "times"]
    return "## Where the shaper is worse\n\n" + intro + _grid(heads, lines)


def _comparisons(run: Run) -> Iterator[tuple[float, list[str]]]:
    """Yield by what factor the shaper is worse than a peer in each figure, and where that is."""
    for rate_bits, traffic in sorted(run.rows()):
        own = run.cell(verdict.SHAPER, rate_bits, traffic)
        for figure, name, is_more_better in COMPARED:
            for peer in verdict.PEERS:
                value = own.figure(figure)
                other = run.cell(peer, rate_bits, traffic).figure(figure)
                if value and other and not _is_moot(run, figure, peer, rate_bits, traffic):
                    factor = other / value if is_more_better else value / other
                    yield factor, [f"{spell_rate(rate_bits)}, {traffic}", name, peer]


def _is_moot(run: Run, figure: str, peer: str, rate_bits: int, traffic: str) -> bool:
    """Whether a comparison says nothing: whoever exceeds the rate carries more, and is not better.

    Of UDP goodput and frames are the same, and told once.
    """
    if figure not in ("goodput_bits", "frames_per_second"):
        return False
    is_told_in_frames = traffic in (workload.UDP_SMALL.name, workload.UDP_LARGE.name)
    if is_told_in_frames != (figure == "frames_per_second"):
        return True
    if rate_bits == UNLIMITED_BITS:
        return False
    other = run.cell(peer, rate_bits, traffic)
    error = other.figure("error_percent") or 0.0
    first = other.figure("first_second_percent") or 0.0
    return max(error, first - 100) > BETTER_PERCENT


def _idle(run: Run) -> str:
    """Return what a ping of an idle link takes, and how much of it the bare cable does not."""
    lines = []
    for rate_bits, traffic in sorted(run.rows()):
        bare = run.cell("bare", rate_bits, workload.IDLE.name)
        for name in _order(run):
            cell = run.cell(name, rate_bits, traffic)
            if traffic == workload.IDLE.name and len(cell):
                lines.append([spell_rate(rate_bits), name, *_idle_fields(cell, bare)])
    heads = ["rate", "", "p10", "p50", "p99", "p50 over bare", "p99 over bare"]
    return f"## Latency of an idle link\n\n{_grid(heads, lines)}" if lines else ""


def _idle_fields(cell: Cell, bare: Cell) -> list[str]:
    at = {name: cell.figure(f"ping_{name}_us") for name in ("p10", "p50", "p99")}
    added = [difference(at[name], bare.figure(f"ping_{name}_us")) for name in ("p50", "p99")]
    return [spell_us(value) for value in (*at.values(), *added)]


def _scale(run: Run) -> str:
    if "weight" not in run.scale:
        return ""
    heads = ["shapers", "supervisor MiB", "forwarder MiB"]
    heads += ["supervisor idle %", "forwarder idle %", "add ms", "attach ms"]
    lines = [_weight_line(found) for found in run.scale["weight"]]
    text = "## Many shapers in one daemon\n\nMemory is the proportional set size.\n\n"
    text += _grid(heads, lines)
    if twenty := run.scale.get("twenty"):
        errors = sorted(abs(each) for each in twenty["error_percent"])
        text += (
            "\nTwenty shapers of 1 to 10 Mbit/s on one master, all overloaded: the worst rate is\n"
            f"off by {errors[-1]:.4f} %, the median one by {errors[len(errors) // 2]:.4f} %.\n"
        )
    for point in run.scale.get("forwarders", []):
        text += (
            f"\n`--forwarders {point['forwarders']}`, two unlimited shapers: "
            f"{spell_count(point['frames_per_second'])} frames/s of 64 B, "
            f"{spell_count(point['goodput_bits'])}bit/s of TCP in wire frames.\n"
        )
    return text


def _weight_line(found: dict[str, Any]) -> list[str]:
    """Return the line of one number of shapers."""

    def total(values: dict[str, float], who: str) -> float:
        return sum(value for name, value in values.items() if name.startswith(who))

    return [
        str(found["shapers"]),
        *(f"{total(found['memory_bytes'], who) / 2**20:.1f}" for who in PROCESSES),
        *(f"{total(found['idle_percent'], who):.2f}" for who in PROCESSES),
        f"{found['add_ms']:.1f}",
        f"{found['attach_ms']:.1f}",
    ]


def _trade(run: Run) -> str:
    """Return tables of accuracy and smoothness, tbf and the shaper side by side."""
    found = trade.curves(trade.read(run.scale.get("trade", [])))
    if not found:
        return ""
    text = "## Accuracy against smoothness: the same bucket for tbf and for the shaper\n\n"
    text += (
        "One measurement each. The bucket is two full frames and a time of the rate; bursts are\n"
        "typical / worst, and none is typical where less than half of the rate was kept. An\n"
        f"asterisk: more than {MAX_STEAL_PERCENT:g} % of the processors' time was stolen.\n"
    )
    for (rate_bits, traffic), by_name in found.items():
        heads = ["ms", "bucket, B"]
        heads += [f"{name}: {what}" for name in by_name for what in ("rate error", "burst")]
        text += f"\n### {spell_rate(rate_bits)}, {traffic}\n\n"
        text += _grid(heads, _trade_lines(list(by_name.values())))
    return text


def _trade_lines(curves: Sequence[Sequence[trade.Point]]) -> list[list[str]]:
    """Return a line for each bucket, with the points of each curve that has one there."""
    buckets = {each.credit_us: each.bucket_bytes for curve in curves for each in curve}
    lines = []
    for credit_us, bucket in sorted(buckets.items()):
        line = [f"{credit_us / 1000:g}", str(bucket)]
        for curve in curves:
            points = [each for each in curve if each.credit_us == credit_us]
            line += _trade_fields(points[0]) if points else ["-", "-"]
        lines.append(line)
    return lines


def _trade_fields(point: trade.Point) -> list[str]:
    bursts = spell_pair(point.typical_burst_bytes, point.burst_bytes)
    mark = " \\*" if point.steal_percent > MAX_STEAL_PERCENT else ""
    return [spell_percent(point.error_percent) + mark, bursts]


def _flows(run: Run) -> str:
    lines = []
    for rate_bits, traffic in sorted(run.rows()):
        for name in _order(run):
            cell = run.cell(name, rate_bits, traffic)
            index = verdict.jain(cell) if len(cell) else None
            if index is not None and traffic == workload.TCP_8.name:
                lines.append([f"{spell_rate(rate_bits)}, {traffic}", name, f"Jain {index:.3f}"])
            elif len(cell) and traffic == workload.FLOOD.name:
                kept = verdict.kept_percent(cell, rate_bits) or 0.0
                lines.append(
                    [f"{spell_rate(rate_bits)}, {traffic}", name, f"TCP has {kept:.0f} %"]
                )
    return "## Between flows\n\n" + _grid(["row", "", ""], lines) if lines else ""


def _skipped(run: Run) -> str:
    if not run.skipped:
        return ""
    return "## Not measured\n\n" + "".join(f"- {each}\n" for each in run.skipped)
