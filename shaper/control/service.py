"""The control socket: takes calls in turn, answers them, and drops misbehaving clients.

What a client without rights can do is bounded: the places it has (`door.py`), the message and
the answer it makes us hold (`connection.py`), the time it makes us spend (`turns.py`: a quarter of
one processor for all of them, taken in turn between users) and the lines it makes us log
(`complaints.py`: one a minute). Root is served first and may always connect. No frame passes
through this process.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncvarlink import VarlinkErrorReply

from shaper.control import dispatch, interface, refusals
from shaper.control.access import Peer, gid_of, may_change
from shaper.control.complaints import Complaints
from shaper.control.connection import (
    MAX_MESSAGE_BYTES,
    MAX_READING_BYTES,
    Answering,
    Connection,
)
from shaper.control.dispatch import Call, Calls, NotVarlink
from shaper.control.door import Door
from shaper.control.latest_events import LatestEvents
from shaper.control.places import Unread
from shaper.control.system import LINUX_SYSTEM, System
from shaper.control.turns import Share, Turns
from shaper.control.work import Work
from shaper.errors import Busy, KernelRefused, NotPermitted, ShaperError

# Chosen.
_READING_SHARE = 0.25  # of a processor, for all callers but root together
_SAVED_NS = 4_000_000
MAX_STREAMS_OF_ONE = 16  # of one user other than root
# Then the event loop looks at everything else, root's newest connection above all.
_TURNS_A_ROUND = 16
_ROUND_SECONDS = 0.001
_SHARED_SECONDS = 0.2  # how old an answer may be that several callers are given

_log = logging.getLogger(__name__)


def _is_no_forwarder(_: int) -> bool:
    return False


class Service:
    """The listening socket and all clients.

    Args:
        path: where it is bound.
        group: whose members may change things.
        shapers: what calls are answered with.
        is_forwarder: whether a process is one of ours, which may change nothing.
        system: where sockets are from, and what is known of clients.
    """

    def __init__(
        self,
        path: Path,
        group: str,
        shapers: interface.ShaperCommands,
        is_forwarder: Callable[[int], bool] = _is_no_forwarder,
        system: System = LINUX_SYSTEM,
    ) -> None:
        self.path = path
        self.group = group
        self._latest = LatestEvents(time.time_ns() // 1000)
        self._latest.open()
        self._calls = Calls(shapers, self._latest)
        self._is_forwarder = is_forwarder
        self._door = Door(path, self._serve, self._complain, system)
        self._unread: Unread[Connection] = Unread()
        self._turns: Turns[Connection] = Turns()
        self._reading_share = Share(_READING_SHARE, _SAVED_NS)
        self._complaints = Complaints()
        self._shared: dict[str, tuple[float, bytes]] = {}
        self._round: asyncio.Handle | None = None  # the next one, once it is due

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._door)

    def listen(self) -> None:
        """Bind; calls wait until `accept`.

        Raises Busy when another daemon answers there, and KernelRefused.
        """
        self._door.listen(self._own_gid())

    def change_group(self, group: str) -> None:
        """Let members of another group change things from now on, and no others."""
        if group != self.group:
            self.group = group
            self._door.let_in(self._own_gid())

    def _own_gid(self) -> int:
        gid = gid_of(self.group)
        return os.getegid() if gid is None else gid

    def accept(self) -> None:
        """Answer calls from now on."""
        self._door.open()

    def close(self) -> None:
        """Stop accepting, end the connections, remove the socket."""
        self._door.close()
        self._latest.close()
        for connection in self._door:
            connection.end()
        if self._round is not None:
            self._round.cancel()

    # Connections.

    def _serve(self, sock: socket.socket, peer: Peer) -> Connection:
        return Connection(sock, peer, self)

    def close_socket(self, sock: socket.socket, then: Callable[[], None]) -> None:
        """Close a socket without delay for others, and call back."""
        self._door.closer.close(sock, then)

    def ended(self, connection: Connection) -> None:
        """Let go of a connection."""
        self._door.remove(connection)
        self._turns.discard(connection.peer.uid, connection)

    def dropped(self, connection: Connection, reason: str) -> None:
        """Tell why a client is no longer served."""
        self._complain(connection.peer.uid, f"dropped a client: it {reason}")

    def has_unread(self, connection: Connection, answer: bytes | None) -> None:
        """Note what waits to be read; where that is too much, drop the most patient client."""
        if answer is None:
            self._unread.remove(connection)
        elif not connection.peer.is_root:
            while (slow := self._unread.add(connection, answer)) is not None:
                slow.drop("does not read its answers")

    def _complain(self, uid: int, sentence: str) -> None:
        """Log what a user does, once a minute."""
        left_out = self._complaints.admit(uid, asyncio.get_running_loop().time())
        if left_out is None:
            return
        more = f" ({left_out} more such lines were left out)" if left_out else ""
        _log.warning("uid %d: %s%s", uid, sentence, more)

    # Turns.

    def wait_for_turn(self, connection: Connection) -> None:
        """Call `take_turn` when it is this connection's turn."""
        self._turns.add(connection.peer.uid, connection)
        if self._round is not None and connection.peer.is_root:
            self._round.cancel()
            self._round = None
        if self._round is None:
            self._round = asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        loop = asyncio.get_running_loop()
        self._round = None
        wait, until = 0.0, loop.time() + _ROUND_SECONDS
        for _ in range(_TURNS_A_ROUND):
            now = loop.time()
            wait = self._reading_share.wait(now)
            if now > until:
                break
            connection = self._turns.take(only_root=wait > 0)
            if connection is None:
                break
            self._take_turn(connection)
        if self._turns.is_empty or self._round is not None:
            return
        soon = self._turns.has_root or wait <= 0
        self._round = (
            loop.call_soon(self._take_turns) if soon else loop.call_later(wait, self._take_turns)
        )

    def _take_turn(self, connection: Connection) -> None:
        began_ns = self.used_ns()
        try:
            connection.take_turn()
        except Exception as fault:
            self._tell_fault(connection.peer, "a connection", fault)
            connection.end()
        if not connection.peer.is_root:
            self._reading_share.spend(self.used_ns() - began_ns)

    # Calls.

    def max_message_bytes(self, connection: Connection) -> int:
        """Return how long a message may be."""
        return MAX_MESSAGE_BYTES if self._may_change(connection.peer) else MAX_READING_BYTES

    def _may_change(self, peer: Peer) -> bool:
        return may_change(peer, self.group, self._is_forwarder)

    def answer(self, connection: Connection, message: bytes) -> bytes | Answering | None:
        """Return the answer to a message: at once, as work to be done, or none."""
        try:
            received = dispatch.decode(message)
        except NotVarlink as error:
            connection.drop(f"sent what is not varlink ({error})")
            return None
        is_oneway = received.get("oneway") is True
        try:
            call = self._permitted(self._calls.find(received), connection.peer)
            if call.is_stream:
                self._refuse_crowd_of_streams(connection)
                if is_oneway:
                    return None
            if not call.is_prompt:
                return Work(self, call, connection.peer)
            answer = self._prompt_answer(call, connection.peer)
        except Exception as error:
            answer = self.error_answer(error, connection.peer, str(received.get("method"))[:80])
        return None if is_oneway else answer

    def _permitted(self, call: Call, peer: Peer) -> Call:
        if not call.is_reading and not self._may_change(peer):
            name = call.name.rpartition(".")[2]
            raise NotPermitted(
                f"{name} is for root and members of group {self.group} (you are uid {peer.uid})"
            )
        return call

    def _refuse_crowd_of_streams(self, connection: Connection) -> None:
        """Raise Busy where a user other than root has too many streams already."""
        uid = connection.peer.uid
        count = sum(each.is_streaming and each.peer.uid == uid for each in self._door)
        if count >= MAX_STREAMS_OF_ONE and not connection.peer.is_root:
            raise Busy(f"uid {uid} has {count} monitors already (end one of them)")

    def used_ns(self) -> int:
        """Return what this thread has used of the processor."""
        return self._door.system.used_ns()

    async def pay(self, peer: Peer, used_ns: int) -> None:
        """Charge a caller other than root for an answer of a stream, and wait until it is paid."""
        if peer.is_root:
            return
        self._reading_share.spend(used_ns)
        while (seconds := self._reading_share.wait(asyncio.get_running_loop().time())) > 0:
            await asyncio.sleep(seconds)

    def _prompt_answer(self, call: Call, peer: Peer) -> bytes:
        """Make a call; what is the same for everybody is made once for several, but for root."""
        if peer.is_root or not call.asks_for_all:
            return call.answer()
        now = asyncio.get_running_loop().time()
        until, answer = self._shared.get(call.name, (now, b""))
        if now >= until:
            answer = call.answer()
            self._shared[call.name] = (now + _SHARED_SECONDS, answer)
        return answer

    def forget_shared(self) -> None:
        """Answer anew from now on: something has been changed."""
        self._shared.clear()

    def error_answer(self, error: Exception, peer: Peer, what: str) -> bytes:
        """Turn refusals of ours into those that travel; what is left is a fault, for the log."""
        if isinstance(error, VarlinkErrorReply):
            return dispatch.error_answer(error)
        if not isinstance(error, ShaperError):
            self._tell_fault(peer, what, error)
            error = KernelRefused(f"the daemon failed ({error!r}): see its log", errno.EIO)
        return dispatch.error_answer(refusals.reply(error))

    def _tell_fault(self, peer: Peer, what: str, fault: Exception) -> None:
        self._complain(peer.uid, f"{what} failed: {fault!r}{_place(fault)}")
        _log.debug("%s failed", what, exc_info=fault)


def _place(fault: Exception) -> str:
    """Return where in the code it came up; the whole way there is logged at level debug."""
    trace: Any = fault.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
