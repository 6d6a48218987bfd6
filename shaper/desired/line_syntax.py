"""How an emulated link is written: `delay 20ms jitter 5ms`, `loss 1%`, `loss gemodel 1% 25%`.

Keys and words are those of tc-netem(8), but for order: that is kept unless `reorder` asks for it.
A key and its value are two texts, so that the command line, shaper.toml, the state file and the
control protocol share them. Probabilities are percentages with their sign, times have a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeVar

from shaper.desired.cost_syntax import KEYS as COST_KEYS
from shaper.desired.cost_syntax import change_cost, write_cost
from shaper.desired.line_files import (
    PATTERN,
    TABLE,
    parse_pattern,
    parse_table,
    write_pattern,
    write_table,
)
from shaper.errors import InvalidValue
from shaper.line_options import (
    PER_BILLION,
    Delay,
    Distribution,
    GilbertElliott,
    LineOptions,
    Loss,
    LossPattern,
    RandomLoss,
)

Content = TypeVar("Content")

DEFAULT = "default"

_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
PERCENT = PER_BILLION // 100

# Chosen.
_MOST_NS = 3600 * _UNITS_NS["s"]
_MOST_GAP = 1_000_000
_MOST_SEED = (1 << 63) - 1
_MAX_SHOWN = 60  # characters of a value that is refused


def change_line(options: LineOptions, values: Mapping[str, str]) -> LineOptions:
    """Return a link with these keys changed; `default` puts one back.

    Raises InvalidValue, naming key and value.
    """
    for key in sorted(values, key=_order):
        text = values[key]
        if key not in KEYS:
            raise InvalidValue(f"{key!r} is no key of a link: write {', '.join(KEYS)}")
        words = text.split()
        if not words:
            raise InvalidValue(f"{key} has no value")
        words = [] if words == [DEFAULT] else words
        if key in COST_KEYS:
            options = replace(options, cost=change_cost(options.cost, key, words))
        else:
            options = replace(options, **_READERS[key](words))
    return options


def _order(key: str) -> int:
    """Return when a key is read: `mpu` after a word for a whole link, which has one, too."""
    return COST_KEYS.index(key) if key in COST_KEYS else 0


def write_line(options: LineOptions, *, is_brief: bool = False) -> dict[str, str]:
    """Return what is not the default, as `change_line` reads it.

    Args:
        options: the link.
        is_brief: say how long tables and patterns are, which cannot be read, in place of them.
    """
    texts: dict[str, str] = {}
    if not options.cost.is_none:
        texts |= write_cost(options.cost)
    if options.delay != Delay():
        texts["delay"] = _write_delay(options.delay, is_brief=is_brief)
    if options.loss is not None:
        texts["loss"] = _write_loss(options.loss, is_brief=is_brief)
    for key in ("duplicate", "corrupt"):
        if value := getattr(options, key):
            texts[key] = _write_percent(value)
    if options.reorder:
        gap = f" gap {options.reorder_gap}" if options.reorder_gap > 1 else ""
        texts["reorder"] = _write_percent(options.reorder) + gap
    if options.seed:
        texts["seed"] = str(options.seed)
    return texts


def parse_time(what: str, text: str) -> int:
    """Return nanoseconds. Raises InvalidValue, naming `what` and the value."""
    unit = next(
        (each for each in _UNITS_NS if text.endswith(each) and text[: -len(each)][-1:].isdigit()),
        None,
    )
    if unit is None:
        raise InvalidValue(f"{what} {text[:40]!r} is no time: write it as 20ms, 500us or 1.5s")
    nanoseconds = _number(what, text, text[: -len(unit)]) * _UNITS_NS[unit]
    if nanoseconds > _MOST_NS:
        raise InvalidValue(f"{what} {text} is more than an hour")
    return round(nanoseconds)


def parse_percent(what: str, text: str) -> int:
    """Return billionths. Raises InvalidValue, naming `what` and the value."""
    if not text.endswith("%"):
        raise InvalidValue(f"{what} {text[:40]!r} is no percentage: write it as 0.5%")
    percent = _number(what, text, text[:-1])
    if percent > 100:
        raise InvalidValue(f"{what} {text} is more than 100%")
    return round(percent * PERCENT)


def _read_delay(words: list[str]) -> dict[str, Any]:
    if not words:
        return {"delay": Delay()}
    delay_ns, jitter_ns = parse_time("delay", words[0]), 0
    distribution, correlation = Distribution.NORMAL, 0
    words, table = _without_table(words)
    for name, value in _named("delay", words[1:], ("jitter", "distribution", "correlation")):
        if name == "jitter":
            jitter_ns = parse_time("jitter", value)
        elif name == "distribution":
            distribution = _distribution(value)
        else:
            correlation = parse_percent("correlation", value)
    if not jitter_ns and len(words) > 1:
        raise InvalidValue(f"delay {_shown(words)} has no jitter: write delay TIME jitter TIME")
    return {"delay": Delay(delay_ns, jitter_ns, distribution, correlation, table)}


def _without_table(words: list[str]) -> tuple[list[str], tuple[int, ...]]:
    """Return the words but for the content of a table, and that."""
    for index, pair in enumerate(pairwise(words)):
        if pair == ("distribution", TABLE):
            rest = words[index + 2 :]
            if not rest:
                raise InvalidValue("distribution table has no values")
            return [*words[: index + 2], *rest[1:]], _content(TABLE, rest[0], parse_table)
    return words, ()


def _read_loss(words: list[str]) -> dict[str, Any]:
    if not words:
        return {"loss": None}
    if words[0] == PATTERN:
        pattern = _content(PATTERN, _only("loss pattern", words[1:]), parse_pattern)
        return {"loss": LossPattern(pattern)}
    if words[0] != "gemodel":
        correlation = 0
        for _, value in _named("loss", words[1:], ("correlation",)):
            correlation = parse_percent("correlation", value)
        return {"loss": RandomLoss(parse_percent("loss", words[0]), correlation)}
    numbers = [parse_percent("loss gemodel", word) for word in words[1:]]
    if not 2 <= len(numbers) <= 4:
        raise InvalidValue(f"loss {_shown(words)}: write loss gemodel P R [1-H [1-K]]")
    return {"loss": GilbertElliott(*numbers)}


def _read_reorder(words: list[str]) -> dict[str, Any]:
    if not words:
        return {"reorder": 0, "reorder_gap": 1}
    gap = 1
    for _, value in _named("reorder", words[1:], ("gap",)):
        gap = _whole("gap", value, 1, _MOST_GAP)
    return {"reorder": parse_percent("reorder", words[0]), "reorder_gap": gap}


def _read_chance(key: str) -> Callable[[list[str]], dict[str, Any]]:
    return lambda words: {key: parse_percent(key, _only(key, words)) if words else 0}


def _read_seed(words: list[str]) -> dict[str, Any]:
    return {"seed": _whole("seed", _only("seed", words), 0, _MOST_SEED) if words else 0}


_READERS: dict[str, Callable[[list[str]], dict[str, Any]]] = {
    "delay": _read_delay,
    "loss": _read_loss,
    "duplicate": _read_chance("duplicate"),
    "corrupt": _read_chance("corrupt"),
    "reorder": _read_reorder,
    "seed": _read_seed,
}
KEYS = (*COST_KEYS, *_READERS)

# Words that belong to the key before them, on a command line.
INNER_WORDS = ("jitter", "distribution", "correlation", "gap")


def _named(key: str, words: list[str], known: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of a name and its value. Raises InvalidValue for a name that is not known."""
    for index, name in enumerate(words[::2]):
        if name not in known:
            raise InvalidValue(f"{key}: {name[:40]!r} is unknown: write {', '.join(known)}")
        if name in words[: 2 * index : 2]:
            raise InvalidValue(f"{key}: {name} is set twice: write it once")
    if len(words) % 2:
        raise InvalidValue(f"{key}: {words[-1]!r} has no value")
    return list(zip(words[::2], words[1::2], strict=True))


def _only(key: str, words: list[str]) -> str:
    if not words:
        raise InvalidValue(f"{key} has no value")
    if len(words) > 1:
        raise InvalidValue(f"{key} {_shown(words)}: one value is enough")
    return words[0]


def _content(what: str, word: str, parse: Callable[[str], Content]) -> Content:
    """Return what stands in a word in place of a file. Raises InvalidValue, naming it."""
    try:
        return parse(word)
    except InvalidValue as error:
        raise InvalidValue(f"{what} {_shown([word])}: {error}") from error


def _shown(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _number(what: str, text: str, digits: str) -> Fraction:
    whole, _, fraction = digits.partition(".")
    if not (whole + fraction).isascii() or not (whole + fraction).isdecimal() or len(digits) > 20:
        raise InvalidValue(f"{what} {text[:40]!r} is no number with a unit")
    return Fraction(digits)


def _whole(what: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal() and low <= int(text[:20]) <= high):
        raise InvalidValue(f"{what} {text[:40]!r} is no whole number from {low} to {high}")
    return int(text)


def _distribution(text: str) -> Distribution:
    try:
        return Distribution(text)
    except ValueError:
        known = ", ".join(Distribution)
        raise InvalidValue(
            f"distribution {text[:40]!r} is unknown: write one of {known} FILE"
        ) from None


def _write_delay(delay: Delay, *, is_brief: bool) -> str:
    text = _write_time(delay.delay_ns)
    if delay.jitter_ns:
        text += f" jitter {_write_time(delay.jitter_ns)}"
        if delay.distribution is not Distribution.NORMAL:
            text += f" distribution {delay.distribution}"
        if delay.distribution is Distribution.TABLE:
            table = delay.table
            text += f" of {len(table)} values" if is_brief else f" {write_table(table)}"
        if delay.correlation:
            text += f" correlation {_write_percent(delay.correlation)}"
    return text


def _write_loss(loss: Loss, *, is_brief: bool) -> str:
    if isinstance(loss, LossPattern):
        lost = loss.lost
        return f"{PATTERN} " + (f"of {len(lost)} frames" if is_brief else write_pattern(lost))
    if isinstance(loss, RandomLoss):
        correlation = (
            f" correlation {_write_percent(loss.correlation)}" if loss.correlation else ""
        )
        return _write_percent(loss.loss) + correlation
    numbers = (loss.to_bad, loss.to_good, loss.bad_loss, loss.good_loss)
    return "gemodel " + " ".join(map(_write_percent, numbers))


def _write_time(nanoseconds: int) -> str:
    unit = next(
        each for each in reversed(_UNITS_NS) if nanoseconds >= _UNITS_NS[each] or each == "ns"
    )
    return _decimal(Fraction(nanoseconds, _UNITS_NS[unit])) + unit


def _write_percent(billionths: int) -> str:
    return _decimal(Fraction(billionths, PERCENT)) + "%"


def _decimal(value: Fraction) -> str:
    """Return a value exactly; nine digits after the point are enough for all there is here."""
    whole, rest = divmod(round(value * 10**9), 10**9)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")
