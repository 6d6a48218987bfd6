"""Events: what happens to shapers. Pure.

`tell` writes a log record that carries its event. The journal, `Monitor` and the metrics all take
events from these records, so each event is told at one place and in one wording. Events are
recorded whatever the log level is; the level only decides which of them the log prints.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happened. The values are part of the protocol; kinds are only ever added."""

    ADDED = "added"
    DELETED = "deleted"
    ATTACHED = "attached"
    DETACHED = "detached"
    SPEED = "speed"
    OPTIONS = "options"
    RESTORED = "restored"
    CONFIGURED = "configured"
    STATE = "state"
    MASTER = "master"
    ALARM = "alarm"
    ALARM_OVER = "alarm-over"
    FINDING = "finding"
    ABSENT = "absent"
    RETURNED = "returned"
    REMOVED = "removed"
    ROUTE = "route"
    RETAKEN = "retaken"
    FORWARDER_LOST = "forwarder-lost"
    FORWARDER_REPLACED = "forwarder-replaced"


_LEVELS = {
    Kind.MASTER: logging.WARNING,
    Kind.ALARM: logging.WARNING,
    Kind.ALARM_OVER: logging.WARNING,
    Kind.FINDING: logging.WARNING,
    Kind.ABSENT: logging.WARNING,
    Kind.REMOVED: logging.WARNING,
    Kind.ROUTE: logging.WARNING,
    Kind.RETAKEN: logging.WARNING,
    Kind.FORWARDER_LOST: logging.ERROR,
}

LOGGER = logging.getLogger(__name__)
LOGGER.setLevel(logging.INFO)


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        kind: what happened.
        ifname: the shaper; empty for an event of the whole daemon.
        master: the master of the shaper; empty without one.
        uid: the user that asked for it; None if no user did.
    """

    kind: Kind
    ifname: str = ""
    master: str = ""
    uid: int | None = None


def tell(event: Event, text: str, *words: object) -> None:
    """Log an event; `text` and `words` make the sentence, as in `logging`."""
    level = _LEVELS.get(event.kind, logging.INFO)
    LOGGER.log(level, text, *words, extra={"event": event}, stacklevel=2)


def event_of(record: logging.LogRecord) -> Event | None:
    """Return the event that a log record carries; None for any other record."""
    event = getattr(record, "event", None)
    return event if isinstance(event, Event) else None
