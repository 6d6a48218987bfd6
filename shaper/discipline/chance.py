"""The random part of an emulated link: how long a frame takes, and whether it is lost.

Each decision has a generator of its own, seeded by the link's seed and its name. So the same
traffic meets the same fate again, and setting one key does not shift the others' sequences.

Correlation keeps the distribution. A correlated jitter is a Gaussian process of first order, whose
value is turned into a quantile of the distribution (a Gaussian copula); a correlated loss is a
chain of two states with the loss asked for. netem mixes uniform numbers instead, which changes
both the spread and the loss (tc-netem(8) says so).

References: Gilbert 1960, Elliott 1963 (see `shaper.line_options`); Nelsen, An Introduction to
Copulas, 2006, section 2.3.
"""

from __future__ import annotations

from math import erfc, sqrt
from random import Random
from statistics import NormalDist
from typing import Protocol

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

# Specified: iproute2's tables have 8192 units to a standard deviation.
_TABLE_UNITS = 8192

# Chosen. The heavy tail of a Pareto distribution with finite variance.
_PARETO_SHAPE = 3.0
# A quantile of 0 or 1 is infinite.
_LEAST_QUANTILE = 1e-12

_NORMAL = NormalDist()
# Mean and standard deviation of a Pareto distribution of scale 1 (Arnold 1983, section 3.3).
_PARETO_MEAN = _PARETO_SHAPE / (_PARETO_SHAPE - 1)
_PARETO_DEVIATION = sqrt(_PARETO_SHAPE / ((_PARETO_SHAPE - 1) ** 2 * (_PARETO_SHAPE - 2)))


class Fate(Protocol):
    """Whether something happens to the next frame."""

    def __call__(self) -> bool:
        """Return it; each call is a frame."""
        ...


def generator(line: LineOptions, name: str) -> Random:
    """Return the generator of one decision."""
    return Random(f"{line.seed}:{name}")


class Chance:
    """Happens with a probability, each time anew.

    Args:
        probability: in billionths.
        random: the generator.
    """

    def __init__(self, probability: int, random: Random) -> None:
        self._probability = probability
        self._random = random

    def __call__(self) -> bool:
        """Whether it happens to the next frame."""
        return self._random.randrange(PER_BILLION) < self._probability


class CorrelatedChance:
    """Happens with a probability, and more often after it has happened.

    With loss p and correlation c the next is lost with p + c(1-p) after a loss and with p(1-c)
    otherwise; p of all are, and neighbours have the correlation c.
    """

    def __init__(self, loss: RandomLoss, random: Random) -> None:
        stays = loss.loss + loss.correlation * (PER_BILLION - loss.loss) // PER_BILLION
        comes = loss.loss * (PER_BILLION - loss.correlation) // PER_BILLION
        self._thresholds = (comes, stays)
        self._random = random
        self._is_lost = random.randrange(PER_BILLION) < loss.loss

    def __call__(self) -> bool:
        """Whether the next frame is lost."""
        self._is_lost = self._random.randrange(PER_BILLION) < self._thresholds[self._is_lost]
        return self._is_lost


class BurstyChance:
    """The model of Gilbert and Elliott; it starts in the good state."""

    def __init__(self, model: GilbertElliott, random: Random) -> None:
        self._model = model
        self._random = random
        self._is_bad = False

    def __call__(self) -> bool:
        """Whether the next frame is lost: first the state changes, then it decides."""
        model, draw = self._model, self._random.randrange
        change = model.to_good if self._is_bad else model.to_bad
        self._is_bad ^= draw(PER_BILLION) < change
        return draw(PER_BILLION) < (model.bad_loss if self._is_bad else model.good_loss)


class PatternChance:
    """Frame by frame as it is written, over and over."""

    def __init__(self, pattern: LossPattern) -> None:
        self._lost = pattern.lost
        self._next = 0

    def __call__(self) -> bool:
        """Whether the next frame is lost."""
        is_lost = bool(self._lost[self._next])
        self._next = (self._next + 1) % len(self._lost)
        return is_lost


def make_loss(loss: Loss, random: Random) -> Fate:
    """Return what decides whether a frame is lost."""
    match loss:
        case RandomLoss(correlation=0):
            return Chance(loss.loss, random)
        case RandomLoss():
            return CorrelatedChance(loss, random)
        case GilbertElliott():
            return BurstyChance(loss, random)
        case LossPattern():
            return PatternChance(loss)


class DelayProcess:
    """How long each frame is under way.

    Args:
        delay: the model.
        random: the generator.
    """

    def __init__(self, delay: Delay, random: Random) -> None:
        self._delay = delay
        self._random = random
        self._correlation = delay.correlation / PER_BILLION
        self._innovation = sqrt(1.0 - self._correlation**2)
        self._state = _normal(random)

    def next_ns(self) -> int:
        """Return the delay of the next frame, never negative."""
        delay = self._delay
        if not delay.jitter_ns:
            return delay.delay_ns
        noise = _normal(self._random)
        self._state = self._correlation * self._state + self._innovation * noise
        return max(0, delay.delay_ns + round(delay.jitter_ns * deviation(delay, self._state)))


def deviation(delay: Delay, normal: float) -> float:
    """Return a deviation from the mean in units of the jitter.

    Args:
        delay: which distribution.
        normal: a value of the standard normal distribution, whose quantile is taken.
    """
    if delay.distribution is Distribution.NORMAL:
        return normal
    quantile = 0.5 * erfc(-normal / sqrt(2.0))
    quantile = min(max(quantile, _LEAST_QUANTILE), 1.0 - _LEAST_QUANTILE)
    if delay.distribution is Distribution.UNIFORM:
        return 2.0 * quantile - 1.0
    if delay.distribution is Distribution.PARETO:
        value: float = (1.0 - quantile) ** (-1.0 / _PARETO_SHAPE)
        return (value - _PARETO_MEAN) / _PARETO_DEVIATION
    return delay.table[int(quantile * len(delay.table))] / _TABLE_UNITS


def _normal(random: Random) -> float:
    """Return a value of the standard normal distribution.

    By inversion: `Random.random` alone is promised to be the same in every version of Python.
    """
    return _NORMAL.inv_cdf(max(random.random(), _LEAST_QUANTILE))
