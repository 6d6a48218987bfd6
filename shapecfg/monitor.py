"""Events as lines: for people with a clock time, for programs as JSON objects."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator

from shapecfg.reply import EventRecord, Events, printable

_GAP = "some events were missed: see shapecfg show for how things are now"
_MICROSECONDS = 1_000_000


def lines(
    batches: Iterable[Events], ifnames: Collection[str] = (), *, is_json: bool = False
) -> Iterator[str]:
    """Return a line for each event.

    Args:
        batches: the events.
        ifnames: only those of these shapers, and those of the whole daemon; all if there are none.
        is_json: lines are JSON objects.
    """
    for batch in batches:
        if batch["gap"]:
            yield json.dumps({"event": "gap", "sentence": _GAP}) if is_json else _GAP
        for event in batch["events"]:
            if not ifnames or event["ifname"] in (None, *ifnames):
                yield json.dumps(event) if is_json else _line(printable(event))


def _line(event: EventRecord) -> str:
    seconds, microseconds = divmod(event["time_us"], _MICROSECONDS)
    clock = time.strftime("%H:%M:%S", time.localtime(seconds))
    device = event["ifname"] or "shaperd"
    if event["link"] is not None:
        device += f"@{event['link']}"
    return f"{clock}.{microseconds // 1000:03} {device} {event['event']}: {event['sentence']}"
