"""Whose call is next, and how much of the processor callers without rights may use. Pure.

Root's calls come first. The others are taken in turn between users, so that one with many
connections waits as long as one with a single connection. A connection has one call in progress,
so it is in the queue at most once, and the queue is never longer than there are connections.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

_ROOT = 0
_NANOSECONDS = 1_000_000_000

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits, by user."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[T]] = {}

    def add(self, uid: int, what: T) -> None:
        """Let something wait for the turn of its user."""
        self._waiting.setdefault(uid, deque()).append(what)

    def discard(self, uid: int, what: T) -> None:
        """Let something wait no longer, if it does."""
        queue = self._waiting.get(uid, deque())
        if what in queue:
            queue.remove(what)
            if not queue:
                del self._waiting[uid]

    def take(self, *, only_root: bool) -> T | None:
        """Return what is next; None if nothing waits, or nothing of root's if only that counts."""
        if _ROOT in self._waiting:
            return self._take_of(_ROOT)
        if only_root or not self._waiting:
            return None
        return self._take_of(next(iter(self._waiting)))

    def _take_of(self, uid: int) -> T:
        """Take the user's first, and put the user behind all others."""
        queue = self._waiting.pop(uid)
        what = queue.popleft()
        if queue:
            self._waiting[uid] = queue
        return what

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    @property
    def has_root(self) -> bool:
        """Whether something of root's waits."""
        return _ROOT in self._waiting


class Share:
    """A part of the processor: what has been used must be earned before more is.

    Args:
        fraction: of one processor.
        saved_ns: what can be earned in advance.
    """

    def __init__(self, fraction: float, saved_ns: int) -> None:
        self._fraction = fraction
        self._saved_ns = saved_ns
        self._balance_ns = float(saved_ns)
        self._at: float | None = None

    def spend(self, used_ns: int) -> None:
        """Pay for time that was used."""
        self._balance_ns -= used_ns

    def wait(self, now: float) -> float:
        """Return in how many seconds there is something to spend; 0 if there is at `now`."""
        if self._at is not None:
            earned_ns = (now - self._at) * self._fraction * _NANOSECONDS
            self._balance_ns = min(self._balance_ns + earned_ns, self._saved_ns)
        self._at = now
        if self._balance_ns > 0:
            return 0.0
        return (1 - self._balance_ns) / self._fraction / _NANOSECONDS
