"""Rates and sizes: what is read, what is printed, what is refused and with which words."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.errors import InvalidValue
from shaper.model import MAX_HZ, MAX_LIMIT_PACKETS, MAX_RATE_BITS, MIN_HZ
from shaper.units import (
    MAX_SIZE_BYTES,
    format_measured_rate,
    format_rate,
    format_size,
    parse_hz,
    parse_limit,
    parse_rate,
    parse_size,
)

# Written out here and not taken from the code: the table of tc(8).
RATE_UNITS = {
    "": 1,
    "bit": 1,
    "kbit": 1000,
    "Kbit": 1000,
    "mbit": 1_000_000,
    "GBIT": 1_000_000_000,
    "tbit": 1_000_000_000_000,
    "kibit": 1024,
    "Mibit": 1_048_576,
    "gibit": 1_073_741_824,
    "tibit": 1_099_511_627_776,
}
BYTE_RATE_UNITS = {
    "bps": 8,
    "kbps": 8000,
    "MBps": 8_000_000,
    "gbps": 8_000_000_000,
    "kibps": 8192,
    "mibps": 8_388_608,
}
SIZE_UNITS = {
    "": 1,
    "b": 1,
    "k": 1024,
    "Kb": 1024,
    "m": 1_048_576,
    "mb": 1_048_576,
    "kbit": 128,
    "mbit": 131_072,
}

decimals = st.tuples(st.integers(0, 10**6), st.text("0123456789", max_size=6)).map(
    lambda parts: f"{parts[0]}.{parts[1]}" if parts[1] else str(parts[0])
)


@pytest.mark.parametrize(
    ("text", "rate_bits"),
    [
        ("64000", 64000),
        ("8", 8),
        ("9600bit", 9600),
        ("1.5mbit", 1_500_000),
        ("0.1kibit", 102),
        (".5kbit", 500),
        ("10.", 10),
        ("+5kbit", 5000),
        ("1e3kbit", 1_000_000),
        ("1e003kbit", 1_000_000),
        ("25e-1kbit", 2500),
        ("10GBIT", 10_000_000_000),
        ("1000tbit", 10**15),
    ],
)
def test_rate_is_read(text: str, rate_bits: int) -> None:
    """A rate in bits is exact, and nobody is warned about it."""
    assert parse_rate(text) == (rate_bits, None)


@given(decimals, st.sampled_from(sorted(RATE_UNITS)))
def test_rate_is_the_exact_product(number: str, unit: str) -> None:
    """Whatever the decimals, the rate is the whole part of number times unit, or refused."""
    exact = Fraction(number) * RATE_UNITS[unit]
    if 8 <= exact < MAX_RATE_BITS + 1:
        assert parse_rate(number + unit).rate_bits == int(exact)
    else:
        with pytest.raises(InvalidValue):
            parse_rate(number + unit)


@given(st.integers(1, 10**5), st.sampled_from(sorted(BYTE_RATE_UNITS)))
def test_bytes_per_second_are_read_with_a_warning(number: int, unit: str) -> None:
    """The bps family counts bytes, and the warning says what was understood and what to write."""
    rate_bits, warning = parse_rate(f"{number}{unit}")
    assert rate_bits == number * BYTE_RATE_UNITS[unit]
    assert warning is not None
    assert f"{number}{unit} is in bytes per second" in warning
    assert format_rate(rate_bits) in warning


def test_warning_names_the_rate_in_bits_that_may_have_been_meant() -> None:
    """The sentence is complete: value, what it was taken for, what to write instead."""
    assert parse_rate("10mbps").warning == (
        "10mbps is in bytes per second and was understood as 80Mbit: "
        "write 10mbit if bits were meant"
    )


NOT_A_RATE = "write it as 64000, 64kbit or 1.5mbit"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0", "'0' is under the lowest rate: write 8bit or more"),
        ("0mbit", "'0mbit' is under the lowest rate: write 8bit or more"),
        ("7.9bit", "'7.9bit' is under the lowest rate: write 8bit or more"),
        ("1" + "0" * 30, f"'1{'0' * 30}' is over the highest rate: write 1000tbit or less"),
        ("1e99tbit", "'1e99tbit' is over the highest rate: write 1000tbit or less"),
        ("1e400", f"'1e400' is not a rate, its exponent goes to 99 at most: {NOT_A_RATE}"),
        ("1e-100bit", f"'1e-100bit' is not a rate, its exponent goes to 99 at most: {NOT_A_RATE}"),
        ("-5", f"'-5' is not a rate, a rate cannot be negative: {NOT_A_RATE}"),
        ("nan", f"'nan' is not a rate, it has to be finite: {NOT_A_RATE}"),
        ("Inf", f"'Inf' is not a rate, it has to be finite: {NOT_A_RATE}"),
        ("infinity", f"'infinity' is not a rate, it has to be finite: {NOT_A_RATE}"),
        ("0x10", f"'0x10' is not a rate, hexadecimal is not read: {NOT_A_RATE}"),
        ("", f"'' is not a rate, it has to begin with a decimal number: {NOT_A_RATE}"),
        (" 5", f"' 5' is not a rate, it has to begin with a decimal number: {NOT_A_RATE}"),
        (".", f"'.' is not a rate, it has to begin with a decimal number: {NOT_A_RATE}"),
        ("mbit", f"'mbit' is not a rate, it has to begin with a decimal number: {NOT_A_RATE}"),
        ("\u0661", f"'\u0661' is not a rate, it has to begin with a decimal number: {NOT_A_RATE}"),
        (
            "10m",
            "'10m' does not say bits or bytes per second: write 10mbit, or 10mbps for bytes",
        ),
        (
            "1.5Mb/s",
            "'1.5Mb/s' does not say bits or bytes per second: write 1.5mbit, or 1.5mbps for bytes",
        ),
        (
            "10ki",
            "'10ki' does not say bits or bytes per second: write 10kibit, or 10kibps for bytes",
        ),
        ("10mbits", "'10mbits' has the unknown suffix 'mbits': write 10mbit"),
        ("10bit/s", "'10bit/s' has the unknown suffix 'bit/s': write 10bit"),
        ("1,5mbit", f"'1,5mbit' has the unknown suffix ',5mbit': {NOT_A_RATE}"),
        ("10 mbit", f"'10 mbit' has the unknown suffix ' mbit': {NOT_A_RATE}"),
        ("50%", f"'50%' has the unknown suffix '%': {NOT_A_RATE}"),
        ("10\n", f"'10\\n' has the unknown suffix '\\n': {NOT_A_RATE}"),
    ],
)
def test_rate_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    """What is no rate, or out of range, is named, and so is what to write instead."""
    with pytest.raises(InvalidValue) as refused:
        parse_rate(text)
    assert str(refused.value) == sentence


def test_a_page_of_digits_is_refused_in_a_short_sentence() -> None:
    """Python refuses to read very long integers: nobody gets to see that, nor the page."""
    with pytest.raises(InvalidValue) as refused:
        parse_rate("9" * 10_000)
    assert "it has 10000 characters" in str(refused.value)
    assert len(str(refused.value)) < 150


@given(st.text(max_size=80))
def test_any_text_is_a_rate_or_is_refused(text: str) -> None:
    """No text raises anything but InvalidValue, and no rate is out of its limits."""
    try:
        rate_bits = parse_rate(text).rate_bits
    except InvalidValue:
        return
    assert 8 <= rate_bits <= MAX_RATE_BITS


@pytest.mark.parametrize(
    ("rate_bits", "text"),
    [
        (0, "0bit"),
        (8, "8bit"),
        (999, "999bit"),
        (1000, "1Kbit"),
        (1024, "1024bit"),
        (9600, "9600bit"),
        (64000, "64Kbit"),
        (999_999, "999999bit"),
        (1_000_000, "1Mbit"),
        (1_234_567, "1234Kbit"),
        (1_500_000, "1500Kbit"),
        (10_000_000, "10Mbit"),
        (10_485_760, "10485Kbit"),
        (1_234_567_890, "1234Mbit"),
        (100_000_000_000, "100Gbit"),
        (123_456_789_012_345, "123456Gbit"),
        (10**15, "1000Tbit"),
    ],
)
def test_rate_is_printed_as_tc_does(rate_bits: int, text: str) -> None:
    """The largest prefix that keeps the number whole, and four digits or more from a million."""
    assert format_rate(rate_bits) == text


@given(st.integers(8, 999_999))
def test_rate_under_a_million_survives_printing(rate_bits: int) -> None:
    """What `show` prints of a small rate can be typed back without loss."""
    assert parse_rate(format_rate(rate_bits)).rate_bits == rate_bits


@given(st.integers(10**6, MAX_RATE_BITS))
def test_printed_rate_is_short_by_less_than_a_thousandth(rate_bits: int) -> None:
    """Of a large rate, printing cuts off less than a thousandth and never adds."""
    printed_bits = parse_rate(format_rate(rate_bits)).rate_bits
    assert printed_bits <= rate_bits < printed_bits + printed_bits / 1000
    assert format_rate(printed_bits) == format_rate(rate_bits)


@pytest.mark.parametrize(
    ("rate_bits", "text"),
    [
        (0, "0bit"),
        (999, "999bit"),
        (1000, "1.00Kbit"),
        (63_990, "63.99Kbit"),
        (63_996, "64.00Kbit"),
        (9_999_123, "10.00Mbit"),
        (1_234_567_890, "1.23Gbit"),
        (2 * 10**15, "2000.00Tbit"),
    ],
)
def test_measured_rate_has_two_decimals(rate_bits: int, text: str) -> None:
    """A measured rate is rounded to the nearest hundredth of its prefix."""
    assert format_measured_rate(rate_bits) == text


@given(decimals, st.sampled_from(sorted(SIZE_UNITS)))
def test_size_is_the_exact_product(number: str, unit: str) -> None:
    """A size is the whole part of number times unit, or refused if out of range."""
    size_bytes = int(Fraction(number) * SIZE_UNITS[unit])
    if 1 <= size_bytes <= MAX_SIZE_BYTES:
        assert parse_size(number + unit) == size_bytes
    else:
        with pytest.raises(InvalidValue):
            parse_size(number + unit)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0", "'0' is not a size from 1b to 4294967295b"),
        ("4gb", "'4gb' is not a size from 1b to 4294967295b"),
        (
            "-1",
            "'-1' is not a size, a size cannot be negative: write it as 1514, 1514b or 10kb",
        ),
        ("10kib", "'10kib' has the unknown suffix 'kib': write it as 1514, 1514b or 10kb"),
        ("10bit", "'10bit' has the unknown suffix 'bit': write it as 1514, 1514b or 10kb"),
    ],
)
def test_size_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    """What is no size is named, with the limit or with what to write instead."""
    with pytest.raises(InvalidValue) as refused:
        parse_size(text)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0b"),
        (1023, "1023b"),
        (1024, "1Kb"),
        (1039, "1Kb"),
        (1040, "1040b"),
        (1514, "1514b"),
        (3028, "3028b"),
        (10_239, "10Kb"),
        (1_048_000, "1048000b"),
        (1_048_576, "1Mb"),
        (1_050_000, "1050000b"),
        (1_073_741_824, "1024Mb"),
    ],
)
def test_size_is_printed_as_tc_does(size_bytes: int, text: str) -> None:
    """Kb and Mb appear only next to whole ones."""
    assert format_size(size_bytes) == text


@given(st.integers(1, MAX_SIZE_BYTES))
def test_printed_size_reads_back_within_the_tolerance_of_tc(size_bytes: int) -> None:
    """Printing is off by under 16 bytes below a megabyte, and under 1024 above."""
    tolerance = 16 if size_bytes < 2**20 - 16 else 1024
    printed = format_size(size_bytes)
    if printed != "4096Mb":  # one more than sizes hold, and within the tolerance
        assert abs(parse_size(printed) - size_bytes) < tolerance


@pytest.mark.parametrize(("text", "packets"), [("1", 1), ("10p", 10), ("100000", 100_000)])
def test_limit_is_read_as_printed(text: str, packets: int) -> None:
    """A limit may carry the "p" that `show` puts behind it."""
    assert parse_limit(text) == packets


@pytest.mark.parametrize("text", ["", "p", "0", "-1", "1.5", "1e3", "10kb", "\u0661", "9" * 5000])
def test_limit_is_refused(text: str) -> None:
    """A limit is a whole number of frames, at least one."""
    with pytest.raises(InvalidValue, match=f"from 1 to {MAX_LIMIT_PACKETS}$"):
        parse_limit(text)


def test_hz_is_read_and_limited() -> None:
    """The clock ticks a whole number of times a second, within its limits."""
    assert parse_hz("100") == 100
    for text in (str(MIN_HZ - 1), str(MAX_HZ + 1), "100hz"):
        with pytest.raises(InvalidValue, match=f"from {MIN_HZ} to {MAX_HZ}$"):
            parse_hz(text)
