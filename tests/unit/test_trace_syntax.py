"""A trace offers what its file says, in every window, and a file with errors is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapecfg import settings
from shaper.desired.trace_syntax import OPPORTUNITY_BYTES, parse_trace, write_trace
from shaper.errors import InvalidValue
from shaper.trace import Trace

SECOND = 1_000_000


def offered_bits(trace: Trace, start_us: int, end_us: int) -> int:
    """Return what a trace offers between two times, in bits, rounded down."""
    offered, until_us = trace.offered(start_us, end_us)
    assert until_us == end_us
    return offered // SECOND


def test_csv_is_steps() -> None:
    """Each rate from its second on; names of columns, comments and blanks are passed over."""
    text = "seconds,rate\n# a gap\n0, 1mbit\n\n2.5,0\n3,64kbit  # slow\n"
    trace = parse_trace(text, repeats=False)
    assert trace == Trace((0, 2_500_000, 3_000_000), (10**6, 0, 64_000), 3_500_000, False)
    rates = [trace.rate_at(time_us) for time_us in (0, 2_499_999, 2_500_000, 3 * SECOND, 10**12)]
    assert rates == [10**6, 10**6, 0, 64_000, 64_000]


def test_a_trace_that_begins_later_begins_with_a_gap() -> None:
    """Before its first line nothing is offered."""
    trace = parse_trace("1,1mbit\n2,2mbit\n", repeats=True)
    assert trace.rate_at(0) == 0
    assert offered_bits(trace, 0, 3 * SECOND) == 3 * 10**6


def test_it_repeats_or_goes_on() -> None:
    """After its end the first step comes again, or the last one stays."""
    text = "0,1mbit\n1,2mbit\n"
    again = parse_trace(text, repeats=True)
    assert [again.rate_at(second * SECOND) // 10**6 for second in range(5)] == [1, 2, 1, 2, 1]
    once = parse_trace(text, repeats=False)
    assert [once.rate_at(second * SECOND) // 10**6 for second in range(4)] == [1, 2, 2, 2]


def test_opportunities_of_mahimahi() -> None:
    """Several in a millisecond add up; a missing one is a gap; the last is the length."""
    trace = parse_trace("1\n1\n3\n10\n", repeats=True)
    opportunity_bits = OPPORTUNITY_BYTES * 8
    assert trace.length_us == 10_000
    assert offered_bits(trace, 0, 10_000) == 4 * opportunity_bits
    assert offered_bits(trace, 0, 1000) == 2 * opportunity_bits
    assert offered_bits(trace, 1000, 2000) == 0
    assert offered_bits(trace, 0, 4 * SECOND) == 1600 * opportunity_bits


@given(st.lists(st.integers(0, 400), min_size=1, max_size=300), st.integers(0, 390))
def test_every_window_offers_what_its_lines_say(milliseconds: list[int], start: int) -> None:
    """To the bit, for windows of whole milliseconds."""
    milliseconds = [*sorted(milliseconds), 400]
    text = "\n".join(map(str, milliseconds))
    trace = parse_trace(text, repeats=True)
    expected = sum(start < max(each, 1) <= start + 10 for each in milliseconds)
    window = offered_bits(trace, start * 1000, (start + 10) * 1000)
    assert window == expected * OPPORTUNITY_BYTES * 8


@given(
    st.lists(st.tuples(st.integers(10**4, 10**6), st.integers(0, 10**6)), min_size=1, max_size=20),
    st.integers(0, 10**8),
    st.integers(1, 10**6),
)
def test_windows_add_up(steps: list[tuple[int, int]], start_us: int, length_us: int) -> None:
    """What two halves offer is what the whole does, to within rounding."""
    starts = [0]
    for length, _ in steps[:-1]:
        starts.append(starts[-1] + length)
    rates = tuple(rate for _, rate in steps)
    trace = Trace(tuple(starts), rates, starts[-1] + steps[-1][0])
    middle_us = start_us + length_us // 3
    parts = offered_bits(trace, start_us, middle_us) + offered_bits(
        trace, middle_us, start_us + length_us
    )
    assert 0 <= offered_bits(trace, start_us, start_us + length_us) - parts <= 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no lines"),
        ("# nothing\n\n", "no lines"),
        ("seconds,rate\n", "no lines"),
        ("0\n0\n", "no length"),
        ("5\n3\n", "line 2: 3"),
        ("5\nx\n", "line 2: 'x'"),
        ("-5\n", "line 1: '-5'"),
        ("1.5\n", "line 1: '1.5'"),
        ("0,1mbit\n0,2mbit\n", "line 2: 0"),
        ("0,1mbit\n1\n", "line 2: '1'"),
        ("0,fast\n", "line 1: 'fast'"),
        ("0,-1mbit\n", "line 1: '-1mbit'"),
        ("0,1mbit\nx,1mbit\n", "line 2: 'x'"),
        ("0,1mbit\n99999999999,1mbit\n", "line 2: 99999999999"),
        ("99999999999999\n", "line 1: 99999999999999"),
        ("0,nan\n", "line 1: 'nan'"),
        ("9" * 5000, "line 1: 999"),
        ("\u0661\n", "line 1: '\u0661'"),
        ("z" * 5000, "line 1: 'zzz"),
        ("0,1mbit\n" + "z" * 5000, "line 2: 'zzz"),
        ("counts\n1 2\n1x-3\n", "line 3: '-3'"),
        ("counts\n1 2x\u0661\n", "line 2: '\u0661'"),
        ("counts\n1x40000000000\n", "line 2: 40000000000"),
        ("counts\n1x31000000000 1x31000000000\n", "ends after a year"),
        ("counts\n", "no lines"),
        ("counts\n0x5\n", "offers 0 bit/s"),
    ],
)
def test_a_file_with_errors_is_refused_by_line_and_value(text: str, named: str) -> None:
    """So that somebody can mend it."""
    with pytest.raises(InvalidValue) as refused:
        parse_trace(text, repeats=True)
    assert named in str(refused.value)
    assert len(str(refused.value)) < 120


@given(st.lists(st.integers(0, 20), min_size=2, max_size=60).filter(any), st.booleans())
def test_long_traces_are_written_as_counts(counts: list[int], repeats: bool) -> None:
    """And read as the same trace."""
    numbers = [ms for ms, count in enumerate(counts * 40, 1) for _ in range(count)]
    trace = parse_trace("\n".join(map(str, numbers)), repeats=repeats)
    text = write_trace(trace)
    assert parse_trace(text) == trace
    assert ("counts" in text) == (len(trace.starts_us) > 1000)


def test_a_minute_of_milliseconds_is_sent_as_counts(tmp_path: Path) -> None:
    """So that ten of them fit into a message, whose file has 9 MiB."""
    path = tmp_path / "lte.trace"
    numbers = [ms for ms in range(1, 60_001) for _ in range(1 + ms % 3)]
    path.write_text("".join(f"{ms}\n" for ms in numbers))
    sent = settings.read(("trace", str(path)))["trace"]
    assert isinstance(sent, str)
    assert len(sent) < 130_000
    assert parse_trace(sent).mean_bits == pytest.approx(24_000_000, rel=1e-4)
    path.write_text("0\n" * 200_000 + "x\n")
    with pytest.raises(InvalidValue, match=r"lte\.trace: line 200001: 'x'"):
        settings.read(("trace", str(path)))
