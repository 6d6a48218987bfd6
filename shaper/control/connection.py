"""One client: one message at a time in, one answer at a time out.

Nothing is done when the socket has something to say; the connection waits for its turn. In a turn
it takes at most one piece off the socket, answers at most one call, or sends on what is left of an
answer. It does not read while it answers. So a client can make us hold one message and one answer,
and no more, whatever it does; what it sends meanwhile waits in the kernel, at its own cost.

    listening ── readable ──▶ waiting for its turn ──▶ listening      (no whole message yet)
                                                   ──▶ answering ──▶ waiting (there is another)
                                                                 ──▶ listening
                                                   ──▶ sending ── writable ──▶ waiting

Descriptors sent with a message are never taken: `recv` has no room for them, and where the kernel
lets them through to here, a client that sends any is dropped (`closer.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from shaper.control.access import Peer
from shaper.control.closer import accepts_descriptors, bytes_without_descriptors

# Chosen.
MAX_MESSAGE_BYTES = 4 << 20  # of clients that may change things: Restore holds a configuration
MAX_READING_BYTES = 4096  # of clients that may only look
SILENCE_SECONDS = 30.0  # a client that asks nothing for so long may connect again
UNREAD_SECONDS = 5.0  # what waits for longer is not going to be read
_RECEIVE_BYTES = 4096
_SEND_BUFFER_BYTES = 32 * 1024  # in the kernel, for each client


class Owner(Protocol):
    """What a connection asks of the service."""

    def wait_for_turn(self, connection: Connection) -> None:
        """Call `take_turn` when it is this connection's turn."""

    def answer(self, connection: Connection, message: bytes) -> bytes | Answering | None:
        """Return the answer to a message: at once, as work to be done, or none."""

    def has_unread(self, connection: Connection, answer: bytes | None) -> None:
        """Note the answer that waits to be read; None when it has been."""

    def max_message_bytes(self, connection: Connection) -> int:
        """Return how long a message may be."""

    def dropped(self, connection: Connection, reason: str) -> None:
        """Tell why a client is no longer served."""

    def close_socket(self, sock: socket.socket, then: Callable[[], None]) -> None:
        """Close a socket without delay for others, and call back."""

    def ended(self, connection: Connection) -> None:
        """Let go of a connection; its socket is closed."""


class Answering(Protocol):
    """A call that takes its time."""

    is_stream: bool

    async def run(self, send: Callable[[bytes], asyncio.Future[None]]) -> None:
        """Make it; send what it is answered with, each when the one before was taken."""


class Connection:
    """One client.

    Args:
        sock: its socket.
        peer: its credentials.
        owner: whom it belongs to.
    """

    def __init__(self, sock: socket.socket, peer: Peer, owner: Owner) -> None:
        self.peer = peer
        self._socket = sock
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._unsent = memoryview(b"")
        self._taken: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_stream = False
        self._is_waiting = False
        self._is_open = True
        self._may_get_descriptors = accepts_descriptors(sock)
        self._since = self._loop.time()
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._listen()

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self._is_open

    @property
    def is_streaming(self) -> bool:
        """Whether a call with any number of answers is being answered."""
        return self._task is not None and self._is_stream

    @property
    def silent_since(self) -> float | None:
        """Since when nothing has been asked; None while a call waits or is answered."""
        is_busy = self._is_waiting or self._task is not None or bool(self._unsent)
        return None if is_busy else self._since

    def take_turn(self) -> None:
        """Do the next piece of work."""
        self._is_waiting = False
        if not self.is_open:
            return
        try:
            if self._unsent:
                self._send_on()
            else:
                self._read_on()
        except OSError:  # it has gone
            self.end()

    def expire(self, now: float) -> None:
        """Drop a client that has kept us waiting for too long."""
        if not self._is_open:
            return
        if self._unsent:
            if now - self._since >= UNREAD_SECONDS:
                self.drop("does not read its answers")
        elif self.silent_since is not None and now - self._since >= SILENCE_SECONDS:
            self.drop("was silent for too long")

    def drop(self, reason: str) -> None:
        """End the connection because of what the client did."""
        self._owner.dropped(self, reason)
        self.end()

    def end(self) -> None:
        """Close it; a change that has begun is finished, and not answered."""
        if not self.is_open:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._is_open = False
        self._unsent = memoryview(b"")
        self._received.clear()
        self._owner.has_unread(self, None)
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        if self._task is not None and self._is_stream:
            self._task.cancel()
        self._owner.close_socket(self._socket, lambda: self._owner.ended(self))

    def _listen(self) -> None:
        self._loop.add_reader(self._socket, self._on_readable)

    def _on_readable(self) -> None:
        self._loop.remove_reader(self._socket)
        self._wait_for_turn()

    def _on_writable(self) -> None:
        self._loop.remove_writer(self._socket)
        self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._owner.wait_for_turn(self)

    def _read_on(self) -> None:
        """Answer a message that is there, or take a piece of one off the socket."""
        if self._task is not None or b"\0" not in self._received:
            if not self._receive():
                return
            if self._task is not None:  # a stream; whatever comes meanwhile ends it
                self.end()
                return
        message, end, rest = self._received.partition(b"\0")
        if end:
            self._received = rest
            self._answer(bytes(message))
        elif len(message) > self._owner.max_message_bytes(self):
            self.drop("sent a message without an end")
        else:
            self._listen()

    def _receive(self) -> bool:
        try:
            size = self._readable_bytes()
            if size is None:
                self.drop("sent descriptors")
                return False
            received = self._socket.recv(size)
        except (BlockingIOError, InterruptedError):
            self._listen()
            return False
        if not received:
            self.end()
            return False
        self._received += received
        return True

    def _readable_bytes(self) -> int | None:
        """Return how many bytes to read; None where descriptors come with them."""
        if not self._may_get_descriptors:
            return _RECEIVE_BYTES
        return bytes_without_descriptors(self._socket, _RECEIVE_BYTES)

    def _answer(self, message: bytes) -> None:
        if b"\0" not in self._received:
            self._received = bytearray(self._received)  # a long message leaves no room behind
        if len(message) > self._owner.max_message_bytes(self):
            self.drop("sent a message that is too long")
            return
        answer = self._owner.answer(self, message)
        if not self.is_open:
            return
        if answer is None or isinstance(answer, bytes):
            self._send(answer or b"")
            return
        self._is_stream = answer.is_stream
        self._task = self._loop.create_task(answer.run(self._send_and_wait))
        self._task.add_done_callback(self._on_answered)
        if self._is_stream and self._received:
            self.end()
        elif self._is_stream:
            self._listen()  # to see when it leaves

    def _send_and_wait(self, answer: bytes) -> asyncio.Future[None]:
        self._taken = self._loop.create_future()
        if self.is_open:
            try:
                self._send(answer)
            except OSError:
                self.end()
        elif not self._taken.done():
            self._taken.set_result(None)
        return self._taken

    def _on_answered(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # the owner has told it
        if self.is_open and not self._unsent:
            self._next()

    def _send(self, answer: bytes) -> None:
        self._unsent = memoryview(answer)
        self._since = self._loop.time()
        self._send_on()
        if self._unsent:
            self._owner.has_unread(self, answer)

    def _send_on(self) -> None:
        if self._unsent:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        if self._unsent:
            self._loop.add_writer(self._socket, self._on_writable)
            return
        self._unsent = memoryview(b"")
        self._since = self._loop.time()
        self._owner.has_unread(self, None)
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        if self._task is None:
            self._next()

    def _next(self) -> None:
        """Turn to what has come meanwhile, or wait for more."""
        if b"\0" in self._received:
            self._wait_for_turn()
        else:
            self._listen()
