"""The control socket: listens, knows who asks, and drops whoever misbehaves.

A client that sends nothing, half a message, more than a message may have, or that never reads its
answers is dropped. It holds up nobody: each connection has its own buffer and its own deadline,
and no frame passes through this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import stat
from pathlib import Path

from asyncvarlink import (
    FileDescriptorArray,
    VarlinkInterfaceRegistry,
    VarlinkInterfaceServerProtocol,
    VarlinkMethodCall,
    VarlinkMethodReply,
    VarlinkTransport,
)
from asyncvarlink.serviceinterface import VarlinkServiceInterface

from shaper import __version__
from shaper.control import interface
from shaper.control.access import Peer, may_change, peer_of
from shaper.errors import Busy, KernelRefused, NotPermitted, ShaperError

# Chosen.
_MAX_MESSAGE_BYTES = 64 * 1024  # the longest sensible call is under 300 bytes
_MAX_UNREAD_REPLIES = 64
_MAX_CONNECTIONS = 256
_MAX_CONNECTIONS_OF_ONE = 32  # of one user other than root: nobody may take every place
_PAUSE_SECONDS = 1.0  # after a client could not be accepted
_SILENCE_SECONDS = 30.0  # a client that asks nothing for so long may connect again
_BACKLOG = 1024  # a crowd that comes at once is sorted out by `_has_room_for`, not turned away

_log = logging.getLogger(__name__)


class _Connection(VarlinkInterfaceServerProtocol):
    """One client: its rights, how much it has sent, how much it has left unread."""

    def __init__(self, service: Service, peer: Peer) -> None:
        super().__init__(service.registry)
        self._service = service
        self.peer = peer
        self._pending_bytes = 0
        self._unread_replies = 0
        self._deadline: asyncio.TimerHandle | None = None
        self.transport: VarlinkTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock."""
        super().connection_made(transport)
        assert isinstance(transport, VarlinkTransport)
        self.transport = transport
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()
        self._service.forget(self)

    def message_received(self, data: bytes, fds: FileDescriptorArray | None) -> None:
        """Take bytes off the socket, unless a message grows beyond all reason."""
        _, separator, rest = data.rpartition(b"\0")
        self._pending_bytes = len(rest) if separator else self._pending_bytes + len(data)
        if self._pending_bytes > _MAX_MESSAGE_BYTES:
            self.drop("sent a message without an end")
            return
        if separator:
            self._expect()
        try:
            super().message_received(data, fds)
        except RecursionError as error:
            self.drop(f"sent what is not varlink ({error})")

    def error_received(self, err: Exception, data: bytes, fds: FileDescriptorArray | None) -> None:
        """Drop a client that speaks something else."""
        self.drop(f"sent what is not varlink ({err})")

    def call_received(
        self, call: VarlinkMethodCall, fds: FileDescriptorArray | None
    ) -> asyncio.Future[None] | None:
        """Check the caller's rights before the method is looked at."""
        is_reading = (
            call.method in interface.READING_METHODS
            or call.method_interface == interface.READING_INTERFACE
        )
        if not is_reading and not may_change(self.peer, self._service.group):
            raise interface.reply(
                NotPermitted(
                    f"{call.method_name} is for root and members of group "
                    f"{self._service.group} (you are uid {self.peer.uid})"
                )
            )
        received: asyncio.Future[None] | None = super().call_received(call, fds)
        return received

    def handle_call_exception(self, exc: BaseException, oneway: bool) -> None:
        """Turn our refusals into theirs; what is left is a fault of ours, for the log."""
        if isinstance(exc, ShaperError):
            raise interface.reply(exc)
        _log.error("a call failed", exc_info=exc)
        raise interface.reply(
            KernelRefused(f"the daemon failed ({exc!r}): see its log", errno.EIO)
        )

    def send_reply(
        self, reply: VarlinkMethodReply, fds: list[int] | None = None, autoclose: bool = True
    ) -> asyncio.Future[None]:
        """Send an answer, and count it until it has been taken."""
        sent = super().send_reply(reply, fds, autoclose)
        self._unread_replies += 1
        sent.add_done_callback(self._on_taken)
        if self._unread_replies > _MAX_UNREAD_REPLIES:
            self.drop("does not read its answers")
        return sent

    def drop(self, reason: str) -> None:
        """End the connection now."""
        _log.info("dropped a client of uid %d: it %s", self.peer.uid, reason)
        if self.transport is not None:
            self.transport.abort()

    def _on_taken(self, _: asyncio.Future[None]) -> None:
        self._unread_replies -= 1
        if self.transport is not None and not self.transport.is_closing():
            self._expect()

    def _expect(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(
            _SILENCE_SECONDS, self.drop, "was silent for too long"
        )


class Service:
    """The listening socket.

    Args:
        path: where it is bound.
        group: whose members may change things.
        shapers: what calls are answered with.
    """

    def __init__(self, path: Path, group: str, shapers: interface.Shapers) -> None:
        self.path = path
        self.group = group
        self.registry = VarlinkInterfaceRegistry()
        self.registry.register_interface(
            VarlinkServiceInterface(
                vendor="shaper",
                product="shaperd",
                version=__version__,
                url="",
                registry=self.registry,
            )
        )
        self.registry.register_interface(interface.ShaperInterface(shapers))
        self._connections: set[_Connection] = set()
        self._socket: socket.socket | None = None

    def listen(self) -> None:
        """Bind; calls wait until `accept`.

        Raises Busy when another daemon answers there, and KernelRefused.
        """
        _refuse_if_answered(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(self.path)
            listener.bind(str(self.path))
            # Reading is open to everyone, as `ip link show` is; changing is checked by call.
            self.path.chmod(0o666)
        except OSError as error:
            listener.close()
            raise KernelRefused(
                f"cannot listen on {self.path}: {error.strerror or error}",
                error.errno or errno.EIO,
            ) from error
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        self._socket = listener

    def accept(self) -> None:
        """Answer calls from now on."""
        assert self._socket is not None
        asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Stop accepting, end the connections, remove the socket."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        with contextlib.suppress(OSError):
            self.path.unlink()
        for connection in tuple(self._connections):
            if connection.transport is not None:
                connection.transport.close()

    def forget(self, connection: _Connection) -> None:
        """Let go of a connection that has ended."""
        self._connections.discard(connection)

    def _accept(self) -> None:
        assert self._socket is not None
        try:
            sock, _ = self._socket.accept()
        except OSError as error:
            # EMFILE, most likely: the client still waits, and would be reported again at once.
            _log.warning("cannot accept a client: %s", error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.call_later(_PAUSE_SECONDS, self._accept_again)
            return
        peer = peer_of(sock)
        if not self._has_room_for(peer):
            _log.warning("refused a client of uid %d: too many are connected", peer.uid)
            sock.close()
            return
        connection = _Connection(self, peer)
        self._connections.add(connection)
        VarlinkTransport(asyncio.get_running_loop(), sock, sock, connection)

    def _accept_again(self) -> None:
        if self._socket is not None:
            self.accept()

    def _has_room_for(self, peer: Peer) -> bool:
        """Whether one more may connect; root always may, or a crowd could lock it out."""
        if peer.uid == 0:
            return True
        of_one = sum(connection.peer.uid == peer.uid for connection in self._connections)
        return len(self._connections) < _MAX_CONNECTIONS and of_one < _MAX_CONNECTIONS_OF_ONE


def _refuse_if_answered(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            pass  # somebody listens there, and has a crowd waiting
        except OSError:
            return
    raise Busy(f"another shaperd answers on {path} (stop it, or choose another --socket)")


def _remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that died; anything else that lies there is left."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
