"""`docs/benchmarks.md` from a run, and the table on the terminal: the same figures, two spellings.

Pure. Nothing is left out because it looks bad: rows that could not be measured are listed with
their reason, and what the shaper does worse than another is a section of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench import verdict, workload
from bench.figures import median
from bench.results import MAX_STEAL_PERCENT, Cell, Run, stolen_percent
from bench.terminal import spell_count, spell_percent, spell_us, table
from bench.workload import UNLIMITED_BITS, spell_rate

BETTER_PERCENT = 5  # a difference smaller than this is called none

INTRODUCTION = """\
# Benchmarks

Written by `python -m bench report` from a run of `make bench` and one of `make bench-latency`;
nothing in it was edited.
The bare cable, the kernel's `tbf` and `htb`, and the shaper, on the same two network namespaces
and the same traffic, one after the other in every row, round after round. Everything is measured
where it arrives. Absolute figures belong to this machine; compare ratios.
"""

METHOD = """\
## How it is measured

- **Burst** is the smallest bucket B for which everything that arrived obeys
  bytes(t1, t2] ≤ B + R · (t2 - t1), over every window, with the kernel's nanosecond stamps.
- **Rate error** is that of the straight line through all frames after the first quarter (at most
  a second). For TCP it says how well the flows fill the link as much as how well it is shaped.
- **Above 105 %** is the share of time in which a window held more than that of what the rate
  carries. Windows in which the rate carries fewer than three frames are left out.
- **First second** is what arrived in the second that the first frame began, of what the rate
  carries.
- Bytes are those on the wire: with the Ethernet header, without check sequence and preamble.
- *Capture*: every frame was recorded. TCP at 1 Gbit/s and above crosses the cable as offload
  frames; each counts as the wire frames a NIC would have cut it into. *Count*: unlimited traffic
  is not recorded, which would slow it down; the counters of the receiving interface (UDP) and the
  receiver's own count (TCP) are used.
- Rates up to 1 Mbit/s need long measurements and load nothing: they are measured at the same
  time, each on a cable of its own between the same namespaces. Their processor time is not told
  apart.
- All have a queue of 50 ms of the rate, ten full frames at least. tbf has a bucket of one tick of
  the kernel (tc-tbf(8)), htb the one tc computes, the shaper its default.
- UDP is offered at 120 % of the rate (200 % up to 1 Mbit/s), and as fast as one process can where
  that is unlimited. A flood is ten times the rate, and begins when TCP has its connection.
- **Ping** is an ICMP echo through the shaper beside the traffic, stamped by the kernel on its
  return.
- A measurement during which a hypervisor took more than 5 % of the processors' time is made
  again, once, as long as there is time for that. If there are calmer ones in its cell, it is kept
  but not counted. Its processor time is never counted.
"""

# What is compared: figure, what it is called, whether more is better, and how it is written.
COLUMNS = (
    ("error_percent", "rate error"),
    ("burst_bytes", "burst"),
    ("above", "above 105 %: 1/10/100 ms"),
    ("first_second_percent", "first second"),
    ("goodput_bits", "goodput"),
    ("frames_per_second", "frames/s"),
    ("cpu_s_per_gb", "CPU s/GB"),
    ("ping", "ping p50 / p99"),
)
PROCESSES = ("supervisor", "forwarder")
COMPARED = (
    ("burst_bytes", "burst", False),
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
    parts += [_worse(run), _scale(run), _trade(run), _flows(run), METHOD, _skipped(run)]
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
        spell_count(cell.figure("burst_bytes")),
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
        "Of burst, goodput, frames a second, processor time and ping in each row, the shaper is\n"
        f"more than {BETTER_PERCENT} % better than tbf or htb in {better} comparisons and worse "
        f"in {len(lines)} of {len(compared)}.\n\n"
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
    if not run.scale.get("trade"):
        return ""
    points: dict[int, list[dict[str, float]]] = {}
    for point in run.scale["trade"]:
        points.setdefault(point["burst_ms"], []).append(point)
    lines = [
        [
            str(burst_ms),
            str(found[0]["bucket_bytes"]),
            spell_percent(median([point["error_percent"] for point in found])),
            spell_count(median([point["burst_bytes"] for point in found])),
        ]
        for burst_ms, found in points.items()
    ]
    heads = ["ms beyond two frames", "bucket set, B", "rate error", "burst seen, B"]
    title = "## Accuracy against smoothness: the bucket at 100 Mbit/s, UDP 1000 B"
    return f"{title}\n\n{_grid(heads, lines)}"


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
