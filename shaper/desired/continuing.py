"""What a shaper keeps when it is configured again: where its trace is, and its seed."""

from __future__ import annotations

import secrets
from dataclasses import replace

from shaper.model import Spec


def going_on(spec: Spec, before: Spec | None) -> Spec:
    """Return a spec in which the trace of `before` goes on, if it is the same trace."""
    playback, known = spec.options.playback, before.options.playback if before else None
    if playback is None or known is None or playback.began_us or known.trace != playback.trace:
        return spec
    return replace(spec, options=replace(spec.options, playback=known))


def drawn(spec: Spec, before: Spec | None) -> Spec:
    """Return a spec with a seed, if its link draws: that of `before` if the link is the same."""
    line = spec.options.line
    if line.seed or not line.has_chance:
        return spec
    known = before.options.line if before is not None else line
    is_same = replace(known, seed=0) == line and known.seed
    line = replace(line, seed=known.seed if is_same else 1 + secrets.randbits(31))
    return replace(spec, options=replace(spec.options, line=line))


def begun(spec: Spec, now_us: int) -> Spec:
    """Return a spec in which the trace has begun: at `now_us`, unless it had before."""
    playback = spec.options.playback
    if playback is None or playback.began_us:
        return spec
    options = replace(spec.options, playback=replace(playback, began_us=now_us))
    return replace(spec, options=options)
