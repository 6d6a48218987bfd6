"""The latest events, numbered, for any number of readers.

Every event has a serial number. `Show` answers with the number of the last one, and a reader that
asks for what came after it misses nothing. The last 1024 are held; a reader that is further
behind is told of the gap. Readers take batches out of them, so one that is slow holds up
neither the daemon nor other readers, and costs no memory but its last batch.

The first number is the time of the start in microseconds, so that numbers grow over a restart of
the daemon too, and a reader that comes back after one is told of the gap.

The interface description is made from the types here, so annotations are not postponed.
"""

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator
from itertools import islice
from typing import TypedDict

from shaper.events import LOGGER, Kind, event_of

# Specified: docs/protocol.md.
MOST_EVENTS = 1024
BATCH_EVENTS = 64
HEARTBEAT_SECONDS = 30.0

_MICROSECONDS = 1_000_000


class EventObject(TypedDict):
    """An event: its number, when it was (microseconds since the epoch), and what it was."""

    serial: int
    time_us: int
    event: str
    ifname: str | None
    link: str | None
    uid: int | None
    sentence: str


class EventsObject(TypedDict):
    """Some events, the number to go on from, and whether events before them were missed."""

    events: list[EventObject]
    serial: int
    gap: bool


class LatestEvents(logging.Handler):
    """The latest events.

    Args:
        serial: the number before that of the first event.

    Attributes:
        serial: the number of the last event.
    """

    def __init__(self, serial: int) -> None:
        super().__init__()
        self.serial = serial
        self._events: deque[EventObject] = deque(maxlen=MOST_EVENTS)
        self._counts: Counter[str] = Counter()
        self._waiting: set[asyncio.Future[None]] = set()

    def open(self) -> None:
        """Take in events from now on."""
        LOGGER.addHandler(self)

    def close(self) -> None:
        """Take in no more."""
        LOGGER.removeHandler(self)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Take in the event of a log record, and wake the readers."""
        event = event_of(record)
        if event is None:
            return
        self.serial += 1
        self._counts[event.kind] += 1
        self._events.append(
            EventObject(
                serial=self.serial,
                time_us=round(record.created * _MICROSECONDS),
                event=event.kind,
                ifname=event.ifname or None,
                link=event.master or None,
                uid=event.uid,
                sentence=record.getMessage(),
            )
        )
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def counts(self) -> dict[str, int]:
        """Return how many events of each kind there were since the daemon started."""
        return {kind.value: self._counts[kind] for kind in Kind}

    def batch(self, after: int) -> EventsObject:
        """Return the events after a number, as many as fit into a batch."""
        oldest = self.serial - len(self._events)
        is_known = oldest <= after <= self.serial
        begin = after - oldest if is_known else 0
        events = list(islice(self._events, begin, begin + BATCH_EVENTS))
        return EventsObject(events=events, serial=oldest + begin + len(events), gap=not is_known)

    async def follow(self, after: int | None) -> AsyncIterator[EventsObject]:
        """Return batches as events happen, for ever.

        The first comes at once, whether or not there are events, and one without any at least
        every `HEARTBEAT_SECONDS`.

        Args:
            after: the number of the last event that is known; None: only new ones count.
        """
        batch = self.batch(self.serial if after is None else after)
        while True:
            yield batch
            if batch["serial"] == self.serial:
                await self._news()
            batch = self.batch(batch["serial"])

    async def _news(self) -> None:
        """Wait for an event, or until a heartbeat is due."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(future, HEARTBEAT_SECONDS)
        finally:
            self._waiting.discard(future)
