"""Tables, verdicts and the document, from runs that are made up."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from bench import report, results, rows, tables, verdict, workload
from bench.cells import Medians
from bench.results import Measurement, Run
from bench.workload import UNLIMITED_BITS

MBIT, GBIT = 10**6, 10**9


def a_run() -> Run:
    """Return a run of nothing yet."""
    machine = {"processor": "P", "processors": 2, "is_virtual": 1, "memory_mib": 1024}
    machine |= {"kernel": "6.1", "kernel_hz": 250, "python": "3.11"}
    return Run(machine, {"queue": "fifo"})


def add(
    run: Run, shaper: str, rate_bits: int, traffic: workload.Traffic, **figures: object
) -> None:
    """Add a measurement with some figures to a run."""
    made = Measurement(shaper, rate_bits, traffic.name, "capture", True, 1.0)
    for name, value in figures.items():
        assert hasattr(made, name)
        setattr(made, name, value)
    run.measurements.append(made)


def document(run: Run) -> str:
    """Return the document of a run, without plots."""
    return report.document(tables.make(run))


def verdicts(run: Run) -> dict[str, verdict.Verdict]:
    """Return the verdicts by target."""
    return {each.target: each for each in verdict.judge(run)}


def test_a_cell_is_the_median_of_its_attempts() -> None:
    """Each figure by itself, whatever is missing in some attempts; errors by their size too."""
    run = a_run()
    for burst, error in ((3, -0.2), (None, 0.1), (5, 0.3)):
        add(run, "tbf", MBIT, workload.TCP_4, burst_bytes=burst, error_percent=error)
    cells = Medians(run)
    figures = {"n": 3, "burst_bytes": 4, "error_percent": 0.1, "error_size_percent": 0.2}
    for name, value in figures.items():
        assert cells.figure("tbf", MBIT, workload.TCP_4.name, name) == value
    assert math.isnan(cells.figure("tbf", MBIT, workload.TCP_4.name, "goodput_bits"))
    assert math.isnan(cells.figure("htb", MBIT, workload.TCP_4.name, "burst_bytes"))


def test_disturbed_attempts_count_only_where_there_are_no_others() -> None:
    """A hypervisor that takes the processors says nothing about a shaper."""
    run = a_run()
    for steal, burst in ((0.0, 1), (20.0, 9), (1.0, 3)):
        add(run, "tbf", MBIT, workload.TCP_4, steal_percent=steal, burst_bytes=burst)
    add(run, "htb", MBIT, workload.TCP_4, steal_percent=20.0, burst_bytes=9)
    for name, burst in (("tbf", 2), ("htb", 9)):
        assert Medians(run).figure(name, MBIT, workload.TCP_4.name, "burst_bytes") == burst


def test_fairness_is_one_for_equals_and_a_share_for_a_miser() -> None:
    """Jain's index: 1 if all have the same, 1/n if one has all; the median of the attempts."""
    for flows, index in (([5, 5, 5, 5], 1), ([5, 0, 0, 0], 0.25), ([0, 0], 0)):
        run = a_run()
        add(run, "tbf", MBIT, workload.TCP_4, flow_bits=flows)
        assert Medians(run).figure("tbf", MBIT, workload.TCP_4.name, "jain") == index


def test_rows_are_told_from_slow_to_fast() -> None:
    """Of one rate in the order they were measured, with the bare link and the kernel's first."""
    run = a_run()
    for name in ("shaper fifo", "shaper", "tbf", "bare"):
        for rate, traffic in (
            (GBIT, workload.TCP_4),
            (MBIT, workload.TCP_4),
            (MBIT, workload.IDLE),
        ):
            add(run, name, rate, traffic)
    figures = tables.make(run)["figures"]
    expected = [(MBIT, "4 TCP flows"), (MBIT, "idle"), (GBIT, "4 TCP flows")]
    names = ["bare", "tbf", "shaper fifo", "shaper"]
    found = figures[["rate_bits", "traffic", "shaper"]].itertuples(index=False, name=None)
    assert list(found) == [(*row, name) for row in expected for name in names]


def test_a_run_survives_its_file(tmp_path: Path) -> None:
    """What is read back is what was written, and another format is refused."""
    run = a_run()
    add(run, "tbf", MBIT, workload.TCP_4, above_percent={"10": 1.5}, round_trips_us=[1.0, 2.0])
    run.skipped.append("htb: no module")
    path = tmp_path / "deep" / "run.json"
    results.write(run, path)
    assert results.read(path) == run
    path.write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(ValueError, match="not the result of a benchmark of this version"):
        results.read(path)


def test_the_rate_error_is_held_against_the_limit_and_tbf() -> None:
    """Within the limit but worse than tbf is missed; noise of the clocks is forgiven."""
    for own, tbf, is_met in ((0.005, 0.006, True), (0.005, 0.002, False), (0.02, 0.03, False)):
        run = a_run()
        add(run, "shaper", MBIT, workload.UDP_LARGE, error_percent=-own)
        add(run, "tbf", MBIT, workload.UDP_LARGE, error_percent=tbf)
        (found,) = (v for target, v in verdicts(run).items() if target.startswith("rate error"))
        assert found.verdict is is_met


def test_the_typical_burst_is_held_against_the_limit() -> None:
    """Two frames and a millisecond are 4278 B at 10 Mbit/s; the worst is said and forgiven."""
    target = "burst at 10 Mbit/s, UDP 1000 B, typical, at most 2 frames + 1 ms = 4278 B"
    for typical, is_met in ((4278, True), (4279, False)):
        run = a_run()
        bursts = {"typical_burst_bytes": typical, "high_burst_bytes": 5000, "burst_bytes": 9000}
        add(run, "shaper", 10 * MBIT, workload.UDP_LARGE, **bursts)
        found = verdicts(run)[target]
        assert found.measured == f"{typical} B; 9 of 10 within 5000 B, worst 9000 B"
        assert found.verdict is is_met


def test_where_no_burst_is_typical_the_worst_is_held_against_the_limit() -> None:
    """A slow rate has too few stretches; nothing is forgiven then."""
    target = "burst at 9.6 kbit/s, UDP 1000 B, typical, at most 2 frames + 1 ms = 3029 B"
    for worst, is_met in ((3029, True), (3030, False)):
        run = a_run()
        add(run, "shaper", 9600, workload.UDP_LARGE, burst_bytes=worst)
        found = verdicts(run)[target]
        assert (found.measured, found.verdict) == (f"{worst} B at worst", is_met)


@pytest.mark.parametrize(
    ("typical", "high", "is_met"), [(2999, 4499, True), (3000, 4499, False), (2999, 4500, False)]
)
def test_bursts_are_compared_with_those_of_tbf(typical: int, high: int, is_met: bool) -> None:
    """The typical one and nine in ten are both to be below; the worst are told."""
    target = "burst at 10 Mbit/s, 4 TCP flows, typical and nine in ten, below tbf's"
    run = a_run()
    for name, *bursts in (("shaper", typical, high), ("tbf", 3000, 4500)):
        figures = dict(zip(("typical_burst_bytes", "high_burst_bytes"), bursts, strict=True))
        add(run, name, 10 * MBIT, workload.TCP_4, burst_bytes=5000, **figures)
    found = verdicts(run)[target]
    said = f"shaper {typical} and {high} B (worst 5000), tbf 3000 and 4500 B (worst 5000)"
    assert (found.measured, found.verdict) == (said, is_met)


def test_bursts_without_anyone_to_compare_with_are_not_judged() -> None:
    """The shaper alone is below nobody."""
    run = a_run()
    bursts = {"burst_bytes": 1, "typical_burst_bytes": 1, "high_burst_bytes": 1}
    add(run, "shaper", 10 * MBIT, workload.TCP_4, **bursts)
    target = "burst at 10 Mbit/s, 4 TCP flows, typical and nine in ten, below tbf's"
    assert verdicts(run)[target].verdict is None


def test_pings_are_compared_with_those_of_cake_where_there_is_cake() -> None:
    """The median with CAKE's and a fifth of a millisecond, the worst hundredth with htb's."""
    run = a_run()
    for name, p50, p99 in (("shaper", 950, 5000), ("cake", 750, 1), ("htb+fq_codel", 1, 4999)):
        add(run, name, 10 * MBIT, workload.TCP_4, ping_p50_us=p50, ping_p99_us=p99)
    found = verdicts(run)
    target = "ping p50 at 10 Mbit/s, 4 TCP flows, at most CAKE's + 0.2 ms"
    assert found[target] == (target, "0.95 ms (CAKE 0.75)", True)
    target = "ping p99 at 10 Mbit/s, 4 TCP flows, at most htb + fq_codel's"
    assert found[target] == (target, "5.00 ms (5.00)", False)


def test_a_forwarder_may_take_a_share_of_a_core() -> None:
    """All forwarders together, of the time for which was sent."""
    run = a_run()
    spent = {"forwarder 1": 0.03, "forwarder 2": 0.03, "supervisor": 0.5}
    add(run, "shaper", 100 * MBIT, workload.TCP_4, process_cpu_s=spent)
    target = "forwarder at 100 Mbit/s, 4 TCP flows, at most 8 % of a core"
    assert verdicts(run)[target] == (target, "6 %", True)


def idle_run(own_us: float) -> Run:
    """Return a run of an idle link, with and without the shaper."""
    run = a_run()
    for name, figures in (("bare", (40.0, 50.0, 100.0)), ("shaper", (90.0, own_us, 400.0))):
        p10, p50, p99 = figures
        add(run, name, MBIT, workload.IDLE, ping_p10_us=p10, ping_p50_us=p50, ping_p99_us=p99)
    return run


@pytest.mark.parametrize(("own_us", "is_met"), [(110.0, True), (111.0, False)])
def test_added_latency_is_what_the_bare_cable_does_not_take(own_us: float, is_met: bool) -> None:
    """The median is judged; both percentiles stand beside those of the cable."""
    found = verdicts(idle_run(own_us))["added latency, idle, p50 at 1 Mbit/s, at most 60 us"]
    said = f"{own_us - 50:.0f} us: p50 {own_us:.0f} over 50 us, p99 400 over 100 us"
    assert (found.measured, found.verdict) == (said, is_met)


def test_the_document_tells_the_latency_of_an_idle_link() -> None:
    """Each has its median and its 99th percentile, beside those of the bare cable."""
    lines = document(idle_run(110.0)).splitlines()
    assert "||bare|shaper|" in lines
    assert "|1 Mbit/s, idle|50 us / 100 us|110 us / 400 us|" in lines


def test_a_trade_shows_both_at_equal_buckets() -> None:
    """A record for each bucket of each, from small to large, with what disturbed it."""
    run = a_run()
    for name, credit_us, error, steal in (
        ("shaper", 1000, -0.2, 0.0),
        ("tbf", 1000, -0.1, 0.0),
        ("shaper", 0, -60.0, 20.0),
    ):
        add(run, name, 10 * MBIT, workload.TCP_4, error_percent=error, burst_bytes=9000)
        size = {"credit_us": credit_us, "bucket_bytes": rows.bucket_bytes(10 * MBIT, credit_us)}
        point = {**vars(run.measurements[-1]), **size, "steal_percent": steal}
        run.scale.setdefault("trade", []).append(point)
    found = tables.make(run)["buckets"].to_dict("records")
    assert [(r["shaper"], r["credit_us"], r["error_percent"]) for r in found] == [
        ("tbf", 1000, -0.1),
        ("shaper", 0, -60.0),
        ("shaper", 1000, -0.2),
    ]
    assert pd.isna(found[1]["typical_burst_bytes"])
    assert found[1]["steal_percent"] == 20.0


def test_buckets_are_two_frames_and_a_time_of_the_rate() -> None:
    """Half a millisecond of 100 Mbit/s is 6250 B."""
    assert rows.bucket_bytes(100 * MBIT, 0) == 3028
    assert rows.bucket_bytes(100 * MBIT, 500) == 9278


def test_a_rate_that_nobody_reaches_is_not_judged() -> None:
    """More frames than the machine can send are no fault of the shaper, and no merit."""
    run = a_run()
    add(run, "shaper", GBIT, workload.UDP_LARGE, error_percent=-30.0)
    add(run, "tbf", GBIT, workload.UDP_LARGE, error_percent=-20.0)
    (found,) = (v for target, v in verdicts(run).items() if target.startswith("rate error"))
    assert found.verdict is None


def test_ratios_are_taken_within_the_run() -> None:
    """Goodput and frames are shares of what the bare link had."""
    run = a_run()
    for name, goodput in (("bare", 10e9), ("shaper", 8e9)):
        add(run, name, UNLIMITED_BITS, workload.TCP_1, goodput_bits=goodput)
    for name, frames in (("bare", 300e3), ("shaper", 150e3)):
        add(run, name, UNLIMITED_BITS, workload.UDP_SMALL, frames_per_second=frames)
    found = verdicts(run)
    tcp = found["unlimited, 1 TCP flow, at least 0.8 of the bare link"]
    udp = found["UDP 64 B frames/s, 1 forwarder, at least 0.65 of the bare link"]
    assert (tcp.measured, tcp.verdict) == ("0.80", True)
    assert (udp.measured, udp.verdict) == ("0.50", False)


def test_what_was_not_measured_is_said_and_not_judged() -> None:
    """A run of nothing meets nothing and misses nothing."""
    found = verdict.judge(a_run())
    assert found
    assert all(each.verdict is None for each in found)
    assert "not measured in this run" in report.overview(tables.make(a_run()))


def test_the_document_says_what_is_worse() -> None:
    """Every figure has its counts and the farthest comparison that was lost."""
    run = a_run()
    add(run, "shaper", MBIT, workload.TCP_4, burst_bytes=3000, goodput_bits=9e5, ping_p50_us=40.0)
    run.measurements[-1].typical_burst_bytes = 2500
    add(run, "tbf", MBIT, workload.TCP_4, burst_bytes=1000, goodput_bits=9e5, ping_p50_us=20.0)
    add(run, "htb", MBIT, workload.TCP_4, burst_bytes=9000, typical_burst_bytes=1000)
    run.skipped.append("9600 bit/s: too slow")
    text = document(run)
    for line in (
        "|worst burst|1|1|2|3 x tbf: 1 Mbit/s, 4 TCP flows|",
        "|typical burst|0|1|1|2.5 x htb: 1 Mbit/s, 4 TCP flows|",
        "|goodput|0|0|1|-|",
        "|median ping|0|1|1|2 x tbf: 1 Mbit/s, 4 TCP flows|",
    ):
        assert line in text.splitlines()
    assert "- 9600 bit/s: too slow" in text


def test_who_exceeds_the_rate_is_not_called_better() -> None:
    """More goodput than the rate allows is a fault of the other, no fault of the shaper."""
    for error, is_told in ((20.0, False), (0.1, True)):
        run = a_run()
        add(run, "shaper", MBIT, workload.TCP_4, goodput_bits=9e5)
        add(run, "htb", MBIT, workload.TCP_4, goodput_bits=1.2e6, error_percent=error)
        assert ("|goodput|0|1|1|1.33 x htb:" in document(run)) is is_told


def test_missed_targets_are_in_the_document_and_all_in_the_data() -> None:
    """A target that was met is counted, and only one that was missed is shown."""
    run = a_run()
    add(run, "shaper", MBIT, workload.UDP_LARGE, error_percent=0.005)
    add(run, "shaper", 10 * MBIT, workload.UDP_LARGE, error_percent=0.5)
    text = document(run)
    assert "1 of 2 are met" in text
    assert "|rate error at 10 Mbit/s, UDP 1000 B, at most 0.01 % and tbf's|0.5000 %|" in text
    assert "rate error at 1 Mbit/s" not in text
    assert "met" in list(tables.make(run)["targets"]["verdict"])


def test_tables_survive_their_files(tmp_path: Path) -> None:
    """What is read back is what was written, in six digits, and so is the document made of it."""
    run = idle_run(110.0)
    run.skipped.append("0.30")
    made = tables.make(run)
    tables.write(made, tmp_path)
    found = tables.read(tmp_path)
    assert found["skipped"].to_dict("list") == {"not measured": ["0.30"]}
    tables.write(found, tmp_path / "again")
    for path in tmp_path.glob("*.csv"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert report.document(found) == report.document(made)


def test_the_terminal_has_a_row_for_each_of_them() -> None:
    """A row has its title once, then everyone in it, in one order."""
    run = a_run()
    for name in ("shaper", "htb", "tbf"):
        add(run, name, MBIT, workload.TCP_4, burst_bytes=2000, error_percent=-0.004)
    lines = report.overview(tables.make(run)).splitlines()[1:4]
    begins = ["1 Mbit/s, 4 TCP flows  tbf", f"{'':23}htb", f"{'':23}shaper"]
    assert [line.startswith(begin) for line, begin in zip(lines, begins, strict=True)] == [
        True
    ] * 3
    assert "-0.004 %" in lines[0]


def test_every_combination_is_measured_or_its_absence_explained() -> None:
    """Rows and reasons together are all rates times all kinds of traffic."""
    measured = {(row.rate_bits, row.traffic) for row in rows.rate_rows()}
    assert measured.isdisjoint(rows.SKIPPED)
    everything = {(rate, traffic) for rate in rows.RATES_BITS for traffic in rows.TRAFFIC}
    assert measured | set(rows.SKIPPED) == everything
    assert len(rows.reasons()) == len(rows.SKIPPED)


def test_the_quick_rows_are_some_of_all() -> None:
    """Nothing is measured in a minute that is not measured in ten."""
    quick = {(row.rate_bits, row.traffic) for row in rows.rate_rows(is_quick=True)}
    assert quick == rows.QUICK
    assert quick < {(row.rate_bits, row.traffic) for row in rows.rate_rows()}
