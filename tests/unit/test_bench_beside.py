"""What another kernel's shapers did, from runs that are made up."""

from __future__ import annotations

import pytest

from bench import beside, rows, workload
from tests.unit.test_bench_report import MBIT, a_run, add


def test_a_figure_has_its_spread() -> None:
    """Median, least and most of the rounds; an error by its size, whichever side it is on."""
    run = a_run()
    for ping, error in ((1200.0, 0.1), (900.0, -0.3), (1000.0, 0.2)):
        add(run, "cake", MBIT, workload.TCP_4, ping_p50_us=ping, error_percent=error)
    (found,) = beside.tables(run)[beside.NAME].to_dict("records")
    assert found["n"] == 3
    names = ("", "_least", "_most")
    assert [found[f"ping_p50_us{each}"] for each in names] == [1000.0, 900.0, 1200.0]
    assert [found[f"error_size_percent{each}"] for each in names] == [0.2, 0.1, 0.3]


def test_the_section_has_everyone_at_every_rate() -> None:
    """What was not measured is a dash."""
    run = a_run()
    for name in ("cake", "shaper"):
        add(run, name, 10 * MBIT, workload.TCP_4, ping_p50_us=810.0, burst_bytes=7000)
        add(run, name, 10 * MBIT, workload.FLOOD, goodput_bits=4.8e6)
        add(run, name, 10 * MBIT, workload.TCP_8, flow_bits=[1e6, 1e6])
        add(run, name, 10 * MBIT, workload.UDP_LARGE, error_percent=-0.001)
    lines = beside.texts(beside.tables(run))["kernels"].splitlines()
    assert "|10 Mbit/s, cake|0.81 (0.81-0.81)|-|-|7.0|0.001|1.000|48|" in lines
    assert "|1 Mbit/s, shaper|-|-|-|-|-|-|-|" in lines


def test_without_another_kernel_there_is_no_section() -> None:
    """A run of the machine's own kernel has none."""
    assert beside.texts({}) == {}


@pytest.mark.parametrize("rate_bits", rows.KERNEL_RATES_BITS)
def test_each_rate_has_delay_fairness_burst_and_accuracy(rate_bits: int) -> None:
    """Four kinds of traffic, told apart from the row in which those that delay are compared."""
    found = {row.traffic for row in rows.kernel_rows() if row.rate_bits == rate_bits}
    assert found == {workload.TCP_4, workload.TCP_8, workload.FLOOD, workload.UDP_LARGE}
    assert rows.delayed_row().traffic not in found
