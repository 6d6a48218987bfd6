"""What of a shaper's settings is too long for a message: it goes in memory, as a descriptor.

The steps of a trace, the table of a distribution and the pattern of a loss, one behind the other.
The message says how many there are of each, so its receiver has settings of the right lengths,
empty until `unpack`.
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

from shaper.line_options import LineOptions, LossPattern
from shaper.model import Settings
from shaper.trace import Playback

_STEP, _QUANTILE, _FRAME = "Q", "h", "B"


def is_needed(settings: Settings | None) -> bool:
    """Whether there is anything beside the message."""
    if settings is None:
        return False
    has_pattern = isinstance(settings.line.loss, LossPattern)
    return bool(settings.playback or settings.line.delay.table or has_pattern)


def pack(settings: Settings) -> int:
    """Return a descriptor of memory, which is the caller's to close. Raises OSError."""
    descriptor = os.memfd_create("settings", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        if settings.playback is not None:
            _write(file, _STEP, settings.playback.trace.starts_us)
            _write(file, _STEP, settings.playback.trace.rates_bits)
        _write(file, _QUANTILE, settings.line.delay.table)
        if isinstance(settings.line.loss, LossPattern):
            _write(file, _FRAME, settings.line.loss.lost)
    return descriptor


def unpack(settings: Settings, descriptor: int) -> Settings:
    """Return settings with what is in a descriptor. Raises OSError where that is too little."""
    memory = _Memory(descriptor)
    playback = settings.playback
    if playback is not None:
        playback = _filled(playback, memory)
    line = settings.line
    table = tuple(memory.take(_QUANTILE, len(line.delay.table)))
    line = replace(line, delay=replace(line.delay, table=table))
    return replace(settings, playback=playback, line=_with_pattern(line, memory))


def unpack_beside(settings: Settings, descriptor: int | None) -> Settings:
    """Return settings with what is in the descriptor that came beside them, which is closed.

    Raises OSError, also where none came.
    """
    if descriptor is None:
        raise OSError("no room for another descriptor (ulimit -n), of a trace, table or pattern")
    try:
        return unpack(settings, descriptor)
    finally:
        os.close(descriptor)


def _filled(playback: Playback, memory: _Memory) -> Playback:
    steps = len(playback.trace.starts_us)
    starts, rates = memory.take(_STEP, steps), memory.take(_STEP, steps)
    return replace(playback, trace=replace(playback.trace, starts_us=starts, rates_bits=rates))


def _with_pattern(line: LineOptions, memory: _Memory) -> LineOptions:
    if not isinstance(line.loss, LossPattern):
        return line
    return replace(line, loss=LossPattern(memory.take(_FRAME, len(line.loss.lost)).tobytes()))


def _write(file: BinaryIO, kind: str, values: Sequence[int]) -> None:
    file.write(array(kind, values).tobytes())


class _Memory:
    """Reads one part behind the other."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._offset = 0

    def take(self, kind: str, count: int) -> array[int]:
        """Return the next values."""
        values: array[int] = array(kind)
        size = count * values.itemsize
        values.frombytes(os.pread(self._descriptor, size, self._offset))
        if len(values) != count:
            raise OSError(
                errno.EIO, f"{len(values)} values beside a message, and {count} were said"
            )
        self._offset += size
        return values
