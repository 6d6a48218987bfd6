"""How a link is written: read as it is meant, written as it is read, refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapecfg.settings import LINE_KEYS
from shaper.desired.bounds import change_options
from shaper.desired.line_syntax import KEYS, change_line, write_line
from shaper.errors import InvalidValue
from shaper.line_options import Delay, Distribution, GilbertElliott, LineOptions, RandomLoss
from shaper.model import Options, Queue

MS = 1_000_000
PERCENT = 10_000_000


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ({"delay": "20ms"}, LineOptions(Delay(20 * MS))),
        ({"delay": "1.5s jitter 500us"}, LineOptions(Delay(1500 * MS, MS // 2))),
        (
            {"delay": "20ms jitter 5ms distribution pareto correlation 25%"},
            LineOptions(Delay(20 * MS, 5 * MS, Distribution.PARETO, 25 * PERCENT)),
        ),
        ({"loss": "0.5%"}, LineOptions(loss=RandomLoss(PERCENT // 2))),
        ({"loss": "1% correlation 20%"}, LineOptions(loss=RandomLoss(PERCENT, 20 * PERCENT))),
        ({"loss": "gemodel 1% 25%"}, LineOptions(loss=GilbertElliott(PERCENT, 25 * PERCENT))),
        (
            {"loss": "gemodel 1% 25% 50% 0.1%"},
            LineOptions(loss=GilbertElliott(PERCENT, 25 * PERCENT, 50 * PERCENT, PERCENT // 10)),
        ),
        ({"duplicate": "100%"}, LineOptions(duplicate=100 * PERCENT)),
        ({"corrupt": "0.0001%"}, LineOptions(corrupt=1000)),
        ({"reorder": "25% gap 5"}, LineOptions(reorder=25 * PERCENT, reorder_gap=5)),
        ({"seed": "7"}, LineOptions(seed=7)),
    ],
)
def test_words_are_read_and_written(values: dict[str, str], options: LineOptions) -> None:
    """Each key by itself; what is written is read as the same link again."""
    assert change_line(LineOptions(), values) == options
    assert change_line(LineOptions(), write_line(options)) == options
    assert change_line(options, dict.fromkeys(values, "default")) == LineOptions()


@pytest.mark.parametrize(
    ("key", "text", "refusal"),
    [
        ("delay", "20", "delay '20' is no time: write it as 20ms"),
        ("delay", "-5ms", "'-5ms'"),
        ("delay", "1e3ms", "'1e3ms' is no"),
        ("delay", "2h", "'2h' is no time"),
        ("delay", "3601s", "more than an hour"),
        ("delay", "20ms jitter", "'jitter' has no value"),
        ("delay", "20ms wobble 5ms", "'wobble' is unknown"),
        ("delay", "20ms jitter 5ms distribution gauss", "'gauss' is unknown"),
        ("delay", "20ms correlation 5%", "has no jitter"),
        ("loss", "1", "'1' is no percentage"),
        ("loss", "101%", "loss 101% is more than 100%"),
        ("loss", "-1%", "'-1%'"),
        ("loss", "gemodel 1%", "write loss gemodel P R"),
        ("loss", "nan%", "'nan%'"),
        ("duplicate", "1% 2%", "one value is enough"),
        ("reorder", "1% gap 0", "gap '0'"),
        ("seed", "x", "seed 'x'"),
        ("seed", "9" * 50, "no whole number"),
        ("rate", "1", "'rate' is no key"),
        ("loss", "  ", "loss has no value"),
        ("loss", "\u0661%", "no number"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(key: str, text: str, refusal: str) -> None:
    """The sentence names key and value."""
    with pytest.raises(InvalidValue) as refused:
        change_line(LineOptions(), {key: text})
    assert refusal in str(refused.value)


@given(st.sampled_from(KEYS), st.text(max_size=40))
def test_any_text_is_read_or_refused(key: str, text: str) -> None:
    """No text is an error of another kind, and what is read can be written."""
    try:
        options = change_line(LineOptions(), {key: text})
    except InvalidValue:
        return
    assert change_line(LineOptions(), write_line(options)) == options


def test_the_command_knows_the_same_keys() -> None:
    """`shapecfg` imports none of this, for its start to be quick."""
    assert LINE_KEYS == KEYS


def test_a_link_that_takes_too_much_memory_is_refused() -> None:
    """An hour at 10 Gbit/s, with what it would take; a second at 1 Gbit/s is none."""
    assert change_options(Options(10**9), line={"delay": "1s"}).line.delay.delay_ns == 1000 * MS
    with pytest.raises(InvalidValue, match=r"delay 3600s at 10Gbit would take \d+ MiB"):
        change_options(Options(10**10), line={"delay": "3600s"})


@pytest.mark.parametrize("key", ["loss", "duplicate", "corrupt", "reorder"])
def test_a_link_without_a_delay_is_refused_in_the_same_words(key: str) -> None:
    """At a rate whose late wake-ups alone would fill the memory."""
    with pytest.raises(InvalidValue, match=rf"{key} 1% at 100Gbit would take \d+ MiB of memory"):
        change_options(Options(10**11), line={key: "1%"})


def test_the_classic_queue_has_no_link() -> None:
    """Neither is set beside the other."""
    with pytest.raises(InvalidValue, match="classic queue has no link"):
        change_options(Options(queue=Queue.CLASSIC), line={"delay": "20ms"})
    linked = change_options(Options(), line={"delay": "20ms"})
    with pytest.raises(InvalidValue, match="classic queue has no link"):
        change_options(linked, queue="classic")
