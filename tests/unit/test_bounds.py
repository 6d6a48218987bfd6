"""What can be asked of a shaper is bounded, and refused with the value and the bounds."""

from __future__ import annotations

import pytest

from shaper.desired import bounds
from shaper.errors import InvalidValue
from shaper.line_options import PER_BILLION, LineOptions, RandomLoss
from shaper.model import Options, Queue

CLASSIC = Options(rate_bits=64_000, queue=Queue.CLASSIC, hz=100)


@pytest.mark.parametrize("rate_bits", [0, 7, -1, 10**15 + 1, 10**30])
def test_rates_out_of_bounds(rate_bits: int) -> None:
    """From 8 bit/s to 10^15 bit/s; the message names the value."""
    with pytest.raises(InvalidValue, match=f"rate {rate_bits} "):
        bounds.check_rate(rate_bits)


@pytest.mark.parametrize("rate_bits", [8, 64_000, 10**15])
def test_rates_in_bounds(rate_bits: int) -> None:
    """Both ends are included."""
    assert bounds.check_rate(rate_bits) == rate_bits


def test_none_keeps_and_zero_restores_the_default() -> None:
    """Only what is given changes."""
    options = bounds.change_options(Options(), limit_packets=5, burst_bytes=3000)
    assert (options.limit_packets, options.burst_bytes) == (5, 3000)
    assert bounds.change_options(options) == options
    assert bounds.change_options(options, limit_packets=0, burst_bytes=0) == Options()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"queue": "lifo"}, "'lifo'"),
        ({"limit_packets": -1}, "limit -1"),
        ({"limit_packets": 10**6}, "limit 1000000"),
        ({"burst_bytes": -1}, "burst -1"),
        ({"hz": 9}, "hz 9"),
        ({"hz": 10**6}, "hz 1000000"),
    ],
)
def test_bad_options(changes: dict[str, object], fault: str) -> None:
    """Each refusal names the option and the value."""
    with pytest.raises(InvalidValue, match=fault):
        bounds.change_options(Options(), **changes)  # type: ignore[arg-type]


def test_classic_has_nothing_to_set() -> None:
    """The 1996 queue has its own limit and no bucket: setting one would be silently ignored."""
    with pytest.raises(InvalidValue, match="classic"):
        bounds.change_options(CLASSIC, limit_packets=5)


def test_classic_is_warned_of_where_it_rounds_away() -> None:
    """At HZ 1000 9600 bit/s is one byte a tick, 8000 bit/s; at HZ 100 it is 12, exactly 9600."""
    coarse = Options(rate_bits=9600, queue=Queue.CLASSIC, hz=1000)
    assert "serves 8000 of 9600" in (bounds.classic_warning(coarse) or "")
    assert bounds.classic_warning(Options(rate_bits=9600, queue=Queue.CLASSIC, hz=100)) is None
    assert bounds.classic_warning(Options(rate_bits=9600)) is None


@pytest.mark.parametrize(
    ("rate_bits", "burst_bytes", "words"),
    [
        (10, None, ["a full frame takes 1211 s (write 10kbit or 10mbit?)"]),
        (1_000, None, ["a full frame takes 12 s"]),
        (1_300, None, []),
        (0, 1 << 30, []),
        (64_000, 16_384, []),
        (64_000, 64_000, ["is 8 s of 64Kbit"]),
        (10**9, 1 << 30, ["is 9 s of 1Gbit"]),
    ],
)
def test_slips_are_warned_of(rate_bits: int, burst_bytes: int | None, words: list[str]) -> None:
    """A rate at which a frame takes forever, a burst that is no limit; what is common is not."""
    said = bounds.slips(Options(rate_bits=rate_bits, burst_bytes=burst_bytes))
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))


@pytest.mark.parametrize(("loss", "said"), [(PER_BILLION, 1), (PER_BILLION - 1, 0)])
def test_a_loss_of_all_is_warned_of(loss: int, said: int) -> None:
    """With or without a speed; one frame of many that passes may be meant."""
    for rate_bits in (0, 10**6):
        options = Options(rate_bits=rate_bits, line=LineOptions(loss=RandomLoss(loss)))
        assert len(bounds.slips(options)) == said
