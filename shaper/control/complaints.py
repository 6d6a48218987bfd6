"""What is logged of callers: once a minute for each user, and of few users in a minute. Pure."""

from __future__ import annotations

# Chosen.
_INTERVAL_SECONDS = 60.0
_MAX_USERS = 16  # in an interval; all beyond them share one line


class Complaints:
    """Counts what is not logged, and says when something may be."""

    def __init__(self) -> None:
        self._until: dict[int | None, float] = {}  # None: all other users
        self._suppressed: dict[int | None, int] = {}

    def admit(self, uid: int, now: float) -> int | None:
        """Return how many lines were left out if this one may be logged; None if it may not."""
        who = self._slot(uid, now)
        if now < self._until.get(who, now):
            self._suppressed[who] = self._suppressed.get(who, 0) + 1
            return None
        self._until[who] = now + _INTERVAL_SECONDS
        return self._suppressed.pop(who, 0)

    def _slot(self, uid: int, now: float) -> int | None:
        """Return under whom a user is counted; the table has an end, and users need have none."""
        if uid in self._until or len(self._until) < _MAX_USERS:
            return uid
        for known in [each for each, until in self._until.items() if until <= now]:
            if known not in self._suppressed:
                del self._until[known]
        return uid if len(self._until) < _MAX_USERS else None
