"""What goes on when a shaper is asked for again: its trace, and what chance has begun with."""

from __future__ import annotations

import secrets
from dataclasses import replace

from shaper.model import Spec


def going_on(spec: Spec, before: Spec | None) -> Spec:
    """Return a shaper whose trace goes on, if it is the one that it had before."""
    playback, known = spec.options.playback, before.options.playback if before else None
    if playback is None or known is None or playback.began_us or known.trace != playback.trace:
        return spec
    return replace(spec, options=replace(spec.options, playback=known))


def drawn(spec: Spec, before: Spec | None) -> Spec:
    """Return a shaper whose link, where chance has a part in it, has a seed: the one it had."""
    line = spec.options.line
    if line.seed or not line.has_chance:
        return spec
    known = before.options.line if before is not None else line
    is_same = replace(known, seed=0) == line and known.seed
    line = replace(line, seed=known.seed if is_same else 1 + secrets.randbits(31))
    return replace(spec, options=replace(spec.options, line=line))


def begun(spec: Spec, now_us: int) -> Spec:
    """Return a shaper whose trace has begun: now, if it had not."""
    playback = spec.options.playback
    if playback is None or playback.began_us:
        return spec
    options = replace(spec.options, playback=replace(playback, began_us=now_us))
    return replace(spec, options=options)
