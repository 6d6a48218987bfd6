"""What a run was, as a line for people and as JSON for programs."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import Any

from shapecfg.reply import Shaper
from shaper.units import format_measured_rate

_NANOSECONDS_PER_MS = 1_000_000
_PREFIXES = ("B", "kB", "MB", "GB", "TB")
# What the namespace between says for itself; the neighbours of the command are known.
_NOT_TRAFFIC = ("neighbour", "protocol")


@dataclass(frozen=True)
class Ended:
    """How a command ended: with a status, or by a signal."""

    status: int
    signal: int | None
    seconds: float


def line(down: Shaper, up: Shaper) -> str:
    """Return the summary of both directions, in one line."""
    return f"{_direction('down', down)}; {_direction('up', up)}"


def document(command: tuple[str, ...], ended: Ended, down: Shaper, up: Shaper) -> str:
    """Return an object with the end of the command and what `show` has of both shapers."""
    told: dict[str, Any] = {
        "command": list(command),
        "exit_status": ended.status,
        "signal": None if ended.signal is None else signal.Signals(ended.signal).name,
        "seconds": round(ended.seconds, 3),
    }
    for name, shaper in (("down", down), ("up", up)):
        told[name] = {"options": shaper["options"], "stats": shaper["stats"]}
    return json.dumps(told) + "\n"


def _direction(name: str, shaper: Shaper) -> str:
    stats = shaper["stats"]
    words = [f"{name} {_bytes(stats['sent_bytes'])}"]
    if stats["achieved_bits"] is not None:
        words.append(f"at {format_measured_rate(stats['achieved_bits'])} while busy")
    dropped = sum(n for reason, n in stats["dropped"].items() if reason not in _NOT_TRAFFIC)
    text = f"{' '.join(words)}, {dropped} dropped"
    if stats["delay_p99_ns"] is not None:
        text += f", delay p99 {stats['delay_p99_ns'] / _NANOSECONDS_PER_MS:.1f} ms"
    return text


def _bytes(count: int) -> str:
    """Return a number of bytes, in steps of a thousand as file transfers are told."""
    value = float(count)
    for prefix in _PREFIXES:
        if value < 1000 or prefix == _PREFIXES[-1]:
            break
        value /= 1000
    return f"{count} B" if prefix == "B" else f"{value:.1f} {prefix}"
