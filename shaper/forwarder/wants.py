"""What a path waits for, and when it runs next.

When the TAP is watched. An idle path waits for its TAP. A backlogged one is driven by its deadline
alone when that is at most two jiffies away: what comes before it cannot leave before it, and is
read then, unless it is of a sparse flow, which rings (see `bell_pull`). And one whose discipline
is full does not read at all (see `intake`).
"""

from __future__ import annotations

from typing import NamedTuple

from shaper.discipline import ticks
from shaper.discipline.base import Discipline
from shaper.model import Settings

# Chosen: up to how near a departure the TAP is left alone. Delays seem so much shorter to CoDel,
# of which the target is never less.
_PATIENCE_JIFFIES = 2


class Wants(NamedTuple):
    """What a path waits for: whatever comes first."""

    deadline_ns: int | None = None  # to run at this time
    wants_frames: bool = False  # to run when the TAP is readable
    wants_room: bool = False  # to be unblocked and run when the master's socket is writable


_new_wants = tuple.__new__  # a NamedTuple's own constructor is a call more

NOTHING = Wants()
FRAMES = Wants(wants_frames=True)
ROOM = Wants(wants_room=True)


def until_departure(
    discipline: Discipline, settings: Settings, now_ns: int, *, listens: bool
) -> Wants:
    """Return what to wait for: a departure, rounded up to the next step of the clock, if any.

    `listens` says whether frames may come, and are to be waited for.
    """
    deadline = discipline.deadline()
    if deadline is None:
        return FRAMES if listens else NOTHING
    step_ns = discipline.step_ns
    earliest_ns = ticks.to_ns(deadline, settings.ticks_per_second)
    if earliest_ns < now_ns + step_ns:
        earliest_ns = now_ns + step_ns
    deadline_ns = -(-earliest_ns // step_ns) * step_ns
    imminent_ns = now_ns + _PATIENCE_JIFFIES * settings.jiffy_ns
    is_imminent = deadline_ns <= imminent_ns and not discipline.is_prompt
    return _new_wants(Wants, (deadline_ns, listens and not is_imminent, False))
