"""The states of a path and what leads from one to another, as docs/design.md draws it."""

from __future__ import annotations

from enum import Enum


class PathState(Enum):
    """What a path does with frames."""

    IDLE = "idle"  # no speed or no master: nothing moves
    CLEAR = "clear"  # nothing waits: conforming frames bypass the queue
    QUEUED = "queued"  # frames go through the queue
    BLOCKED = "blocked"  # the master's socket is full: frames wait until it is writable
    HELD = "held"  # the master was not there: frames wait, and the next run tries it


class PathEvent(Enum):
    """What changes the state of a path."""

    COMPLETED = "configured and bound"
    DEPRIVED = "speed or master taken away"
    ABSORBED = "ring read ahead of its turn"
    EXCEEDED = "more came than may leave at once"
    EMPTIED = "nothing waits any more"
    FILLED = "socket of the master full"
    WRITABLE = "socket of the master writable"
    REFUSED = "master down or gone"
    RETRIED = "run again"


_ANY = tuple(PathState)

# Event: the states in which it counts, and the state it leads to. In others it changes nothing.
TRANSITIONS: dict[PathEvent, tuple[tuple[PathState, ...], PathState]] = {
    PathEvent.COMPLETED: (_ANY, PathState.HELD),
    PathEvent.DEPRIVED: (_ANY, PathState.IDLE),
    PathEvent.ABSORBED: ((PathState.CLEAR,), PathState.QUEUED),
    PathEvent.EXCEEDED: ((PathState.CLEAR,), PathState.QUEUED),
    PathEvent.EMPTIED: ((PathState.QUEUED,), PathState.CLEAR),
    PathEvent.FILLED: ((PathState.QUEUED,), PathState.BLOCKED),
    PathEvent.WRITABLE: ((PathState.BLOCKED,), PathState.QUEUED),
    PathEvent.REFUSED: ((PathState.QUEUED,), PathState.HELD),
    PathEvent.RETRIED: ((PathState.HELD,), PathState.QUEUED),
}


def follow(state: PathState, event: PathEvent) -> PathState:
    """Return the state after an event."""
    sources, target = TRANSITIONS[event]
    return target if state in sources else state
