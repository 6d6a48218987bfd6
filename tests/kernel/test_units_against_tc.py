"""Rates and sizes, read and printed by tc itself on a device of a namespace made for it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from bench.lab.namespaces import Namespace
from shaper.errors import InvalidValue
from shaper.units import format_rate, format_size, parse_rate, parse_size

BIT_SUFFIXES = ("bit", "kbit", "Mbit", "gbit", "Kibit", "mibit", "gibit")
BYTE_SUFFIXES = ("bps", "KBps", "mbps", "gbps", "kibps", "MiBps", "gibps")

RATES = [
    f"{number}{suffix}"
    for suffix in (*BIT_SUFFIXES, *BYTE_SUFFIXES)
    for number in ("8", "1.5e1", "100.25", "999")
] + ["64000", "9600", "12345", "1234567", "999999", "1.5mbit", ".1kibit", "+5kbit", "2e3"]
RATES += ["1tbit", "1000tbit", "1tibit", "1tbps", "1.5tibps", "123456789012345"]

SIZES = [
    f"{number}{suffix}"
    for suffix in ("b", "k", "Kb", "m", "mb", "kbit", "MBIT", "gbit")
    for number in ("1", "10", "1.5", "7.3")
] + ["1514", "1039", "1040", "10239", "1048000", "1050000", "1g", "1gb", "2e3", "4294967295"]

REFUSED_RATES = ["10m", "10mbits", "10k", "10b", "10mb", "10kib", "1,5mbit", "", "0", "7", "-5"]
REFUSED_SIZES = ["10bit", "10kib", "10p", "10t", "", "-5", "nan", "inf", "4294967296"]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Make a namespace with a cable, v0, for tc to put its disciplines on."""
    if shutil.which("tc") is None:
        pytest.skip("needs the tc command (package iproute2)")
    with Namespace() as made:
        made.ip("link add v0 type veth peer name v1")
        yield made


def ask(namespace: Namespace, flag: str, disciplines: Sequence[str]) -> list[str]:
    """Set each discipline on v0 and return what `tc qdisc show` prints of it."""
    lines = [
        line
        for discipline in disciplines
        for line in (
            f"qdisc add dev v0 root {discipline}",
            "qdisc show dev v0",
            "qdisc del dev v0 root",
        )
    ]
    done = namespace.run(["tc", *flag.split(), "-batch", "-"], text="\n".join(lines) + "\n")
    printed = [line for line in done.stdout.splitlines() if line.strip()]
    assert len(printed) == len(disciplines)
    return printed


def options(namespace: Namespace, disciplines: Sequence[str]) -> list[dict[str, Any]]:
    """Set each discipline and return its options as tc reads them back."""
    return [json.loads(line)[0]["options"] for line in ask(namespace, "-j", disciplines)]


def tbf(rate: str) -> str:
    """Return a token bucket of that rate, its other parameters large enough for any."""
    return f"tbf rate {rate} burst 100000 limit 100000"


def test_rates_are_read_as_by_tc(namespace: Namespace) -> None:
    """Of a rate tc keeps the whole bytes per second: as many as are in the bits read here."""
    answers = options(namespace, [tbf(rate) for rate in RATES])
    theirs = {rate: answer["rate"] for rate, answer in zip(RATES, answers, strict=True)}
    ours = {rate: parse_rate(rate).rate_bits // 8 for rate in RATES}
    assert ours == theirs


def test_rates_are_printed_as_by_tc(namespace: Namespace) -> None:
    """The text of `show` is that of tc for the same number of bits."""
    disciplines = [tbf(rate) for rate in RATES]
    texts = [re.findall(r"rate (\S+)", line) for line in ask(namespace, "", disciplines)]
    rates = [8 * (parse_rate(rate).rate_bits // 8) for rate in RATES]
    assert [[format_rate(rate_bits)] for rate_bits in rates] == texts


def test_sizes_are_read_as_by_tc(namespace: Namespace) -> None:
    """A size means the same number of bytes to both."""
    answers = options(namespace, [f"bfifo limit {size}" for size in SIZES])
    theirs = {size: answer["limit"] for size, answer in zip(SIZES, answers, strict=True)}
    assert {size: parse_size(size) for size in SIZES} == theirs


def test_sizes_are_printed_as_by_tc(namespace: Namespace) -> None:
    """The text of `show` is that of tc for the same number of bytes."""
    lines = ask(namespace, "", [f"bfifo limit {size}" for size in SIZES])
    texts = [re.findall(r"limit (\S+)", line) for line in lines]
    assert [[format_size(parse_size(size))] for size in SIZES] == texts


@pytest.mark.parametrize("rate", REFUSED_RATES)
def test_rate_refused_by_tc_is_refused_here(namespace: Namespace, rate: str) -> None:
    """Nothing is a rate to us that tc would not set."""
    argv = ["tc", "qdisc", "add", "dev", "v0", "root", "tbf", "rate", rate]
    done = namespace.run([*argv, "burst", "100000", "limit", "100000"], check=False)
    assert done.returncode != 0
    with pytest.raises(InvalidValue):
        parse_rate(rate)


@pytest.mark.parametrize("size", REFUSED_SIZES)
def test_size_refused_by_tc_is_refused_here(namespace: Namespace, size: str) -> None:
    """Nothing is a size to us that tc would not set."""
    argv = ["tc", "qdisc", "add", "dev", "v0", "root", "bfifo", "limit", size]
    assert namespace.run(argv, check=False).returncode != 0
    with pytest.raises(InvalidValue):
        parse_size(size)
