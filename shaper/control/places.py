"""Who may be connected: a number of places for each user, a number for all, and root always.

Where there is no place, the connection that has been silent for longest makes room: one of the
same user, or of the user that has most. So neither a crowd that connects and says nothing, nor
many users at once, can keep anybody out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from shaper.control.access import Peer

# Chosen.
MAX_PLACES = 512
MAX_PLACES_OF_ONE = 64  # of one user other than root
MAX_CONNECTS_A_SECOND = 200  # of one user other than root; a shell loop makes twenty
MAX_UNREAD_BYTES = 8 * 2**20  # of all answers that wait to be read; shared ones count once


class ConnectedClient(Protocol):
    """What has to be known of a connection."""

    @property
    def peer(self) -> Peer:
        """Who it is."""

    @property
    def silent_since(self) -> float | None:
        """Since when nothing has been asked, in the event loop's time; None in a call."""


C = TypeVar("C", bound=ConnectedClient)


class Places(Generic[C]):
    """The connections there are."""

    def __init__(self) -> None:
        self._of: dict[int, set[C]] = {}

    def __iter__(self) -> Iterator[C]:
        """Go through all of them; they may end meanwhile."""
        return iter([each for clients in self._of.values() for each in clients])

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(map(len, self._of.values()))

    def add(self, client: C) -> None:
        """Give a place away."""
        self._of.setdefault(client.peer.uid, set()).add(client)

    def remove(self, client: C) -> None:
        """Take a place back."""
        clients = self._of.get(client.peer.uid, set())
        clients.discard(client)
        if not clients:
            self._of.pop(client.peer.uid, None)

    def is_full_for(self, peer: Peer) -> bool:
        """Whether a client has to make room first; never for root."""
        if peer.is_root:
            return False
        return self._has_all(peer) or self._others() >= MAX_PLACES

    def to_make_room_for(self, peer: Peer) -> C | None:
        """Return the client to drop for a newcomer, or None."""
        if self._has_all(peer):
            return _most_silent(self._of[peer.uid])
        crowd = self.largest_crowd()
        if len(crowd) <= len(self._of.get(peer.uid, ())) + 1:
            return None
        return _most_silent(crowd) or next(iter(crowd))

    def largest_crowd(self) -> set[C]:
        """Return the connections of the user, other than root, that has most."""
        crowds = [clients for uid, clients in self._of.items() if uid != 0]
        return max(crowds, key=len, default=set())

    def _has_all(self, peer: Peer) -> bool:
        return len(self._of.get(peer.uid, ())) >= MAX_PLACES_OF_ONE

    def _others(self) -> int:
        return len(self) - len(self._of.get(0, ()))


class Pace:
    """How often a user connects: turning one away costs a fifth of letting one in."""

    def __init__(self) -> None:
        self._second = -1
        self._counts: Counter[int] = Counter()

    def is_too_often(self, uid: int, now: float) -> bool:
        """Count a connection; whether it is one too many. Root's never are."""
        if int(now) != self._second:
            self._second = int(now)
            self._counts.clear()
        self._counts[uid] += 1
        return self._counts[uid] > MAX_CONNECTS_A_SECOND and uid != 0


class Unread(Generic[C]):
    """The answers that wait to be read by clients other than root."""

    def __init__(self) -> None:
        self._waiting: dict[C, bytes] = {}
        self._uses: Counter[int] = Counter()
        self._total_bytes = 0

    def add(self, client: C, answer: bytes) -> C | None:
        """Keep an answer for a client; return whose answer is to be given up for it, if any is."""
        self.remove(client)
        self._waiting[client] = answer
        self._uses[id(answer)] += 1
        if self._uses[id(answer)] == 1:
            self._total_bytes += len(answer)
        first = next(iter(self._waiting))
        return first if self._total_bytes > MAX_UNREAD_BYTES and first is not client else None

    def remove(self, client: C) -> None:
        """Forget what a client has read, or never will."""
        answer = self._waiting.pop(client, None)
        if answer is None:
            return
        self._uses[id(answer)] -= 1
        if not self._uses[id(answer)]:
            del self._uses[id(answer)]
            self._total_bytes -= len(answer)


def _most_silent(clients: set[C]) -> C | None:
    silent = [each for each in clients if each.silent_since is not None]
    return min(silent, key=lambda each: each.silent_since or 0.0, default=None)
