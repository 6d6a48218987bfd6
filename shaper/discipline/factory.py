"""Which discipline a setting asks for, and how one takes over from another without loss.

A new queue is one more case of `_make`. A stage behind the gate is put around what it returns.
"""

from __future__ import annotations

from typing import assert_never

from shaper.discipline import ticks
from shaper.discipline.base import Discipline
from shaper.discipline.classic import Classic
from shaper.discipline.costed import CostedGate
from shaper.discipline.fifo import Fifo
from shaper.discipline.fq_codel import FqCodel
from shaper.discipline.gate import Gate
from shaper.discipline.linked import Linked
from shaper.model import Queue, Settings


def make_discipline(
    old: Discipline | None, before: Settings | None, settings: Settings, now_ns: int, key: bytes
) -> Discipline:
    """Return the discipline for new settings: `old` itself if it can change, or its heir.

    Args:
        old: the discipline so far, with the settings `before`; None for a first one.
        before: what `old` was told.
        settings: what is wanted now.
        now_ns: the time of the change.
        key: random bytes, for the hash of flows.
    """
    if isinstance(old, Linked):
        old.reconfigure(_heir(old.inner, before, settings, now_ns, key), settings)
        return old
    heir = _heir(old, before, settings, now_ns, key)
    return heir if settings.line.is_default else Linked(heir, settings)


def _heir(
    old: Discipline | None, before: Settings | None, settings: Settings, now_ns: int, key: bytes
) -> Discipline:
    """Return what decides when frames leave, whatever is behind it."""
    if isinstance(old, Gate) and before is not None and _is_same_kind(before, settings):
        old.configure(settings, now=ticks.from_ns(now_ns, before.ticks_per_second))
        return old
    now = ticks.from_ns(now_ns, settings.ticks_per_second)
    if isinstance(old, Classic) and before is not None and _changes_only_rate(before, settings):
        old.set_rate(settings.rate_bits, now=now)
        return old
    if old is None or before is None:
        return _make(settings, now, now, key)
    opens_ns = ticks.to_ns(old.opens_at(), before.ticks_per_second)
    heir = _make(settings, now, ticks.from_ns(opens_ns, settings.ticks_per_second), key)
    heir.inherit(old.drain(), now=now)
    return heir


def _is_same_kind(before: Settings, settings: Settings) -> bool:
    is_costed = CostedGate.is_wanted
    return before.queue is settings.queue and is_costed(before) == is_costed(settings)


def _changes_only_rate(before: Settings, settings: Settings) -> bool:
    return before.queue is settings.queue and before.ticks_per_second == settings.ticks_per_second


def _make(settings: Settings, now: int, opens_at: int, key: bytes) -> Discipline:
    gate = CostedGate if CostedGate.is_wanted(settings) else Gate
    match settings.queue:
        case Queue.FIFO:
            return gate(Fifo(settings, now=now), settings, now=now, opens_at=opens_at)
        case Queue.FQ_CODEL:
            queue = FqCodel(settings, now=now, key=key)
            return gate(queue, settings, now=now, opens_at=opens_at)
        case Queue.CLASSIC:
            return Classic(
                rate_bits=settings.rate_bits,
                hz=settings.ticks_per_second,
                now=now,
                opens_at=opens_at,
            )
        case _:
            assert_never(settings.queue)
