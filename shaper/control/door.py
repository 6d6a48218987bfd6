"""The door: lets clients in, and makes room where there is none.

Each user has so many places and may come so often (`places.py`); root is always let in. Where
descriptors are short, the largest crowd loses a client to the next one.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from shaper.control.access import ROOT, Peer
from shaper.control.closer import Closer
from shaper.control.connection import Connection
from shaper.control.listener import ControlListener, is_short_of_descriptors
from shaper.control.places import Pace, Places
from shaper.control.system import System
from shaper.errors import ShaperError

# Specified: docs/protocol.md.
PRIVILEGED_SUFFIX = ".admin"

# Chosen.
_CLIENTS_A_ROUND = 64
_ROUND_SECONDS = 0.001
_LOOK_SECONDS = 1.0  # how often clients that keep us waiting are looked for
_PAUSE_SECONDS = 0.1  # after a client could not be accepted

_log = logging.getLogger(__name__)


class Door:
    """The listening sockets, and the clients that were let in; iterates over these.

    Args:
        path: of the socket for everyone; that for those who may change things is beside it.
        serve: makes a connection of a client.
        complain: logs what a user does.
        system: where sockets are from, and what is known of clients.

    Attributes:
        closer: closes sockets without delay for others.
        system: as given.
    """

    def __init__(
        self,
        path: Path,
        serve: Callable[[socket.socket, Peer], Connection],
        complain: Callable[[int, str], None],
        system: System,
    ) -> None:
        self._path = path
        self.system = system
        self._serve = serve
        self._complain = complain
        self._listeners: list[ControlListener] = []
        self._places: Places[Connection] = Places()
        self._pace = Pace()
        self.closer = Closer()
        self._look: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def remove(self, connection: Connection) -> None:
        """Give the place of a connection to others."""
        self._places.remove(connection)

    def listen(self, gid: int) -> None:
        """Bind; `gid` is the group whose members have a socket beside root.

        Raises Busy when another daemon answers there, and KernelRefused.
        """
        self._listeners.append(ControlListener(self._path, system=self.system))
        own = self._path.with_name(self._path.name + PRIVILEGED_SUFFIX)
        try:
            self._listeners.append(ControlListener(own, gid, self.system))
        except ShaperError as error:
            _log.warning("no socket for those who may change things alone: %s", error)

    def let_in(self, gid: int) -> None:
        """Give the second socket to another group."""
        for listener in self._listeners:
            if listener.is_privileged:
                try:
                    listener.let_in(gid)
                except ShaperError as error:
                    _log.warning("members of group %d use the common socket: %s", gid, error)

    def open(self) -> None:
        """Let clients in from now on."""
        for listener in self._listeners:
            self._watch(listener)

    def _watch(self, listener: ControlListener) -> None:
        asyncio.get_running_loop().add_reader(listener, self._on_clients, listener)

    def close(self) -> None:
        """Let nobody in any more, and remove the sockets."""
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners.clear()
        if self._look is not None:
            self._look.cancel()

    def _on_clients(self, listener: ControlListener) -> None:
        """Take those that wait, and pause when that has taken too long."""
        began_ns, loop = self.system.used_ns(), asyncio.get_running_loop()
        is_paused, until = False, loop.time() + _ROUND_SECONDS
        try:
            for _ in range(_CLIENTS_A_ROUND):
                if self.closer.is_crowded and not listener.is_privileged:
                    is_paused = True
                    break
                sock = self._take(listener)
                if sock is None:
                    break
                self._admit(sock)
                if loop.time() > until:
                    break
        except OSError as error:
            self._complain(ROOT, f"cannot accept a client: {error.strerror}")
            is_paused = True
        share = listener.share
        share.spend(self.system.used_ns() - began_ns)
        seconds = _PAUSE_SECONDS if is_paused else share.wait(loop.time())
        if seconds > 0:
            loop.remove_reader(listener)
            loop.call_later(seconds, self._accept_again, listener)

    def _accept_again(self, listener: ControlListener) -> None:
        if listener in self._listeners:
            listener.restore_reserve()
            self._watch(listener)

    def _take(self, listener: ControlListener) -> socket.socket | None:
        """Return the next client; where descriptors are short, at the cost of another."""
        try:
            return listener.take()
        except OSError as error:
            if not is_short_of_descriptors(error):
                raise
        victim = next(iter(self._places.largest_crowd()), None)
        if victim is not None:
            victim.drop("had to make room: descriptors are short")
            return listener.take()
        sock = listener.take_with_reserve()
        if sock is not None and not self.system.peer_of(sock).is_root:
            self.closer.close(sock)
            listener.restore_reserve()
            raise OSError(errno.EMFILE, "descriptors are short")
        return sock

    def _admit(self, sock: socket.socket) -> None:
        try:
            uid = self.system.uid_of(sock)
            if self._pace.is_too_often(uid, asyncio.get_running_loop().time()):
                self.closer.close(sock)
                return
            peer = self.system.peer_of(sock)
        except OSError:
            self.closer.close(sock)
            return
        if self._places.is_full_for(peer):
            victim = self._places.to_make_room_for(peer)
            if victim is None:
                self._complain(peer.uid, "refused a client: too many are connected")
                self.closer.close(sock)
                return
            victim.drop("had to make room for another")
            if self._places.is_full_for(peer) and not peer.is_root:  # it is still being closed
                self.closer.close(sock)
                return
        self._places.add(self._serve(sock, peer))
        if self._look is None:
            self._look_later()

    def _look_later(self) -> None:
        self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._expire)

    def _expire(self) -> None:
        """Drop clients that keep us waiting."""
        now = asyncio.get_running_loop().time()
        for connection in self._places:
            connection.expire(now)
        self._look = None
        if len(self._places):
            self._look_later()
