"""What the shell offers behind a verb: shapers, masters, settings and their values.

Nothing here may fail or keep anyone waiting: a list that cannot be had is empty.
"""

from __future__ import annotations

import os

from shapecfg.client import CallError, Client
from shaper.desired.profiles import DOWN, PROFILES, UP
from shaper.model import Capture, Queue

# Chosen: a key was pressed, and the user waits.
PROMPT_SECONDS = 0.3

_DEVICES = "/sys/class/net"
_DEFAULT = "default"  # what every key but these takes
_VALUES = {
    "queue": [str(queue) for queue in Queue],
    "profile": [*PROFILES, _DEFAULT],
    "trace": ["none"],
}


def shapers(
    socket_path: str, incomplete: str, *, timeout_seconds: float = PROMPT_SECONDS
) -> list[str]:
    """Return the shapers of the daemon behind the socket whose names begin so."""
    try:
        shown = Client(socket_path, timeout_seconds=timeout_seconds).show()
    except CallError:
        return []
    return _matching([shaper["ifname"] for shaper in shown], incomplete)


def masters(incomplete: str, *, directory: str = _DEVICES) -> list[str]:
    """Return the network devices whose names begin so."""
    try:
        with os.scandir(directory) as entries:
            devices = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
    return _matching(devices, incomplete)


def captures(given: list[str], incomplete: str) -> list[str]:
    """Return what may follow the master of `attach`."""
    return [] if given else _matching([str(capture) for capture in Capture], incomplete)


def settings(keys: list[str], given: list[str], incomplete: str) -> list[str]:
    """Return what may follow the pairs given to `set`: a key not yet there, or its value."""
    if given and given[-1] in keys:
        return _matching(_VALUES.get(given[-1], [_DEFAULT]), incomplete)
    free = [key for key in keys if key not in given]
    directions = [UP, DOWN] if given[-2:-1] == ["profile"] else []
    return _matching([*directions, *free], incomplete)


def profiles(incomplete: str) -> list[str]:
    """Return the links that have a name of their own and begin so."""
    return _matching(list(PROFILES), incomplete)


def asked(socket_path: str, given: list[str], incomplete: str) -> list[str]:
    """Return what may follow the words given to `doctor`: a shaper, or `to` an address."""
    if "to" in given:
        return []
    return [*shapers(socket_path, incomplete), *_matching(["to"], incomplete)]


def _matching(words: list[str], incomplete: str) -> list[str]:
    """Return the words that begin so, without those that no command line takes."""
    return [word for word in words if word.startswith(incomplete) and word.isprintable()]
