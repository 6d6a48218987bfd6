"""What the private daemon of a link is told: shaper.toml with `up` and `down`. Pure."""

from __future__ import annotations

from shapecfg.run.link_plan import DOWN, INSIDE, UP, WAY_OUT, Direction, RunMachine, Wishes
from shaper.desired import line_syntax
from shaper.desired.trace_syntax import write_trace
from shaper.line_options import LineOptions
from shaper.trace import Trace

_FRAME_BYTES = 1514

# Chosen.
_QUEUE_SECONDS = 2  # of the rate
_MIN_FRAMES, _MAX_FRAMES = 250, 10_000


def shaper_toml(machine: RunMachine, wishes: Wishes) -> str:
    """Return the configuration of the private daemon."""
    lines = ["shapers = 0"]
    for name, master, direction in (
        (UP, WAY_OUT, wishes.up),
        (DOWN, INSIDE, wishes.down),
    ):
        lines += [
            f"[device.{name}]",
            f'master = "{master}"',
            f'speed = "{direction.speed_bits}bit"',
            "up = true",
            *_queue(machine, direction),
            *_line(direction.line),
            *_trace(direction.trace),
        ]
    return "\n".join(lines) + "\n"


def _queue(machine: RunMachine, direction: Direction) -> list[str]:
    """Return the queue of a direction, as TOML.

    The TCP of pasta has no congestion control, and takes no segments out of order: a lost frame
    costs it all that follow. So what it sends and is sent waits instead, in a queue that holds
    all that `inner_sysctls` lets be under way.
    """
    if machine.recovers:
        return []
    frames = direction.speed_bits * _QUEUE_SECONDS // (8 * _FRAME_BYTES)
    return ['queue = "fifo"', f"limit = {min(max(frames, _MIN_FRAMES), _MAX_FRAMES)}"]


def _line(line: LineOptions) -> list[str]:
    """Return what frames meet, as TOML."""
    if line.is_default:
        return []
    return [f'{key} = "{value}"' for key, value in line_syntax.write_line(line).items()]


def _trace(trace: Trace | None) -> list[str]:
    """Return what the rate follows, as TOML; its lines need no escapes."""
    return [] if trace is None else [f'trace = """\n{write_trace(trace)}"""']
