"""The forwarder's loop: one epoll for TAPs, masters, the timer and the channel.

The clock is read once a round and passed down. Deadlines wait in a heap; an entry that its path
has outlived is recognised by no longer being that path's deadline, and is passed over.

Orders are taken one a round, so that however many wait, frames do not wait for more than one. A
TAP that cannot be read is left alone for a while; the supervisor is told.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import socket
import time
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from shaper.channel import bulk, messages
from shaper.channel.bell import Bell
from shaper.channel.board import WORD_BYTES, Board
from shaper.channel.messages import (
    Absorb,
    Begin,
    Bells,
    Bind,
    Close,
    Configure,
    Done,
    Flush,
    LoopFound,
    Open,
    Order,
    Ping,
    ReadFailed,
    ReceivedOrder,
    Rings,
    Serve,
    Unbind,
)
from shaper.channel.ring_rows import RingRows
from shaper.forwarder.absence import Absence
from shaper.forwarder.edges import TapSource, make_sink
from shaper.forwarder.path import Path
from shaper.forwarder.slots import Slots
from shaper.forwarder.timer import Timer
from shaper.forwarder.wants import Wants

# Chosen: a run takes less, unless it is a long one or the processor was lost in it.
_LATE_NS = 250_000
_KEY_BYTES = 16  # chosen: too many to guess, so that no flow can be made to collide

# A TAP that could not be read is tried again after a pause, and after one twice as long each time.
_FIRST_PAUSE_NS, _LONGEST_PAUSE_NS = 10_000_000, 1_000_000_000

_READABLE = int(select.EPOLLIN)  # a TAP; anything else is about a socket
_WITH_DESCRIPTOR = (Rings, Bells, Begin, Open, Bind)


class Pause(NamedTuple):
    """How long a TAP is left alone."""

    pause_ns: int
    until_ns: int


class Loop:
    """Runs paths until the supervisor is gone.

    Args:
        end: the forwarder's end of the channel.
        on_board: called when the board is there, and all that will ever be opened is open.
        on_serve: called when it stands by no longer.
        slots: where batches are read to.
    """

    def __init__(
        self,
        end: socket.socket,
        on_board: Callable[[], None] = lambda: None,
        on_serve: Callable[[], None] = lambda: None,
        slots: Slots | None = None,
    ) -> None:
        self._end = end
        self._on_board = on_board
        self._on_serve = on_serve
        self._board: Board | None = None
        self._pulse = memoryview(bytearray(WORD_BYTES)).cast("Q")  # until the board is there
        self.paths: dict[int, Path] = {}  # by slot; read-only outside this class
        self._rings = RingRows()
        self._bell: Bell | None = None
        self._pauses: dict[Path, Pause] = {}
        self._by_descriptor: dict[int, Path] = {}
        self._watched: dict[int, int] = {}
        self._wants: dict[Path, Wants] = {}  # what each answered last
        self._deadlines: list[tuple[int, int, Path]] = []
        self._tie_breaker = count()
        self._is_running = True
        self._is_due = False  # a deadline has come: look for events, and do not wait for them
        self._slots = slots or Slots()
        self._key = os.urandom(_KEY_BYTES)
        self._timer = Timer()
        self._absence = Absence()
        self._epoll = select.epoll()
        self._epoll.register(self._timer.fileno(), select.EPOLLIN)
        self._epoll.register(end.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Forward until end of file on the channel."""
        now_ns = time.monotonic_ns()
        while self._is_running:
            began_ns, ended_ns = now_ns, time.monotonic_ns()
            events = self._epoll.poll(0 if self._is_due else None)
            now_ns = time.monotonic_ns()
            found: list[Path] = []
            for descriptor, event in events:
                path = self._by_descriptor.get(descriptor)
                if path is None:
                    self._attend(descriptor, now_ns)
                else:
                    if event != _READABLE:
                        path.unblock()
                    self._run(path, now_ns)
                    found.append(path)
            self._run_due(now_ns)
            if found:  # now that what is due has left
                away_ns = self._absence.before(
                    began_ns=began_ns, ended_ns=ended_ns, woke_ns=now_ns
                )
                for path in found:
                    path.missed(away_ns)
            self._arm(now_ns)

    def _arm(self, now_ns: int) -> None:
        """Set the timer for the next deadline; one that has come already needs none."""
        deadline_ns = self._deadlines[0][0] if self._deadlines else None
        self._is_due = deadline_ns is not None and deadline_ns <= now_ns
        if not self._is_due:
            self._timer.arm(deadline_ns)

    def _attend(self, descriptor: int, now_ns: int) -> None:
        if descriptor == self._timer.fileno():
            self._timer.fired()
        elif descriptor == self._end.fileno():
            self._obey(now_ns)
        elif self._bell is not None and descriptor == self._bell.fileno():
            self._answer(self._bell, now_ns)

    def _answer(self, bell: Bell, now_ns: int) -> None:
        """Run the paths to which frames of sparse flows have come."""
        for row, at_ns in bell.take():
            if (path := self.paths.get(row)) is not None:
                path.rang(at_ns, now_ns)
                self._run(path, now_ns)

    def _run_due(self, now_ns: int) -> None:
        """Run each path that is due, once: what is due again waits a round."""
        due = []
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now_ns:
            deadline_ns, _, path = heapq.heappop(deadlines)
            if path.queued_ns == deadline_ns:
                path.queued_ns = None
            wants = self._wants.get(path)
            if wants is not None and wants.deadline_ns == deadline_ns:
                del self._wants[path]
                due.append(path)
        for path in due:
            self._run(path, now_ns)

    def _run(self, path: Path, now_ns: int) -> None:
        if self._pauses and path in self._pauses and now_ns >= self._pauses[path].until_ns:
            path.source.is_gone = False
        wants = path.run(now_ns)
        self._pulse[0] = after_ns = time.monotonic_ns()
        if after_ns - now_ns > _LATE_NS:
            path.left_late(after_ns)
        if path.watch is not None and path.watch.has_news:
            path.watch.has_news = False
            self._report(LoopFound(self._slot_of(path)))
        if path.source.is_gone or self._pauses:
            wants = self._pause(path, wants, now_ns)
        if wants is self._wants.get(path):
            return  # its deadline waits in the heap, and its descriptors are watched
        self._wants[path] = wants
        deadline_ns = wants.deadline_ns
        if deadline_ns is not None and deadline_ns != path.queued_ns:
            heapq.heappush(self._deadlines, (deadline_ns, next(self._tie_breaker), path))
            path.queued_ns = deadline_ns
        interest = wants.wants_frames + 2 * wants.wants_room
        if interest != path.interest:
            path.interest = interest
            self._watch(path, wants)

    def _pause(self, path: Path, wants: Wants, now_ns: int) -> Wants:
        """Leave a TAP that cannot be read alone for a while, longer each time; tell of it once."""
        source, pause = path.source, self._pauses.get(path)
        if not source.is_gone:
            if pause is not None:
                del self._pauses[path]
                source.is_failing = False
            return wants
        if pause is None:
            pause = Pause(_FIRST_PAUSE_NS, now_ns + _FIRST_PAUSE_NS)
            self._report(ReadFailed(self._slot_of(path), source.failure))
        elif now_ns >= pause.until_ns:
            pause_ns = min(2 * pause.pause_ns, _LONGEST_PAUSE_NS)
            pause = Pause(pause_ns, now_ns + pause_ns)
        self._pauses[path] = pause
        deadline_ns = min(wants.deadline_ns or pause.until_ns, pause.until_ns)
        return wants._replace(wants_frames=False, deadline_ns=deadline_ns)

    def _slot_of(self, path: Path) -> int:
        return next(slot for slot, each in self.paths.items() if each is path)

    def _watch(self, path: Path, wants: Wants) -> None:
        self._set_interest(path.source.fileno(), select.EPOLLIN if wants.wants_frames else 0, path)
        if path.sink is not None:
            interest = select.EPOLLOUT if wants.wants_room else 0
            self._set_interest(path.sink.fileno(), interest, path)

    def _set_interest(self, descriptor: int, interest: int, path: Path) -> None:
        """Change what epoll reports; error conditions alone must not wake an unwanted path."""
        before = self._watched.get(descriptor, 0)
        if before == interest:
            return
        if before:
            self._epoll.unregister(descriptor)
            del self._watched[descriptor], self._by_descriptor[descriptor]
        if interest:
            self._epoll.register(descriptor, interest)
            self._watched[descriptor] = interest
            self._by_descriptor[descriptor] = path

    def _obey(self, now_ns: int) -> None:
        try:
            received = messages.receive_order(self._end)
        except OSError:
            received = None
        if received is None:
            self._is_running = False
            return
        self._report(Done(received.serial, self._attempt(received, now_ns)))

    def _report(self, report: messages.Report) -> None:
        try:
            messages.send_report(self._end, report)
        except OSError:
            self._is_running = False

    def _attempt(self, received: ReceivedOrder, now_ns: int) -> str | None:
        """Carry an order out; return why it failed."""
        order, descriptor = received.order, received.descriptor
        try:
            self._apply(order, descriptor, now_ns)
        except Exception as error:  # the supervisor decides what to make of it
            if descriptor is not None and not self._has_taken(descriptor):
                with contextlib.suppress(OSError):  # a sink that no path took has
                    os.close(descriptor)
            return str(error) or repr(error)
        return None

    def _has_taken(self, descriptor: int) -> bool:
        """Whether a path uses a descriptor, although what came after in its order failed."""
        edges = (edge for path in self.paths.values() for edge in (path.source, path.sink))
        return any(edge is not None and edge.fileno() == descriptor for edge in edges)

    def _apply(self, order: Order, descriptor: int | None, now_ns: int) -> None:
        if descriptor is None and isinstance(order, _WITH_DESCRIPTOR):
            verb = type(order).__name__.lower()
            raise OSError(f"no room for another descriptor (ulimit -n), to {verb}")
        match order:
            case Ping():
                return
            case Serve(place):
                self._rings.keep(place)
                self._on_serve()
            case Rings(place):
                assert descriptor is not None
                self._rings.add(place, descriptor)
            case Bells(place):
                assert descriptor is not None
                self._rings.add_bell(place, descriptor)
            case Begin(pulse):
                assert descriptor is not None
                self._board = Board(descriptor)
                self._pulse = self._board.row(pulse)
                self._on_board()
            case Open(slot):
                assert descriptor is not None
                self._open(slot, descriptor)
            case Close(slot):
                self._close(slot)
            case _:
                self._change(order, descriptor, now_ns)

    def _open(self, slot: int, descriptor: int) -> None:
        """Start a path, replacing the one on the TAP that was opened before."""
        assert self._board is not None
        if slot in self.paths:
            self._close(slot)
        source = TapSource(descriptor, self._slots)
        if self._bell is None and self._rings.bell is not None:
            self._bell = self._rings.bell
            self._bell.begin()
            self._epoll.register(self._bell.fileno(), select.EPOLLIN)
        rows = self._board.row(slot), self._key, self._rings.row(slot)
        self.paths[slot] = Path(source, *rows, has_bell=self._bell is not None)

    def _close(self, slot: int) -> None:
        path = self.paths.pop(slot)
        self._pauses.pop(path, None)
        self._forget(path)
        path.close()

    def _change(
        self,
        order: Configure | Bind | Unbind | Absorb | Flush,
        descriptor: int | None,
        now_ns: int,
    ) -> None:
        path = self.paths[order.slot]
        match order:
            case Configure(_, settings):
                if settings is not None and bulk.is_needed(settings):
                    settings = bulk.unpack_beside(settings, descriptor)
                path.configure(settings, now_ns)
            case Absorb():
                path.absorb()
            case Flush():
                path.flush()
            case Bind():
                assert descriptor is not None
                self._forget(path)
                path.bind(make_sink(order, descriptor), is_tunnel=order.is_tunnel)
            case Unbind():
                self._forget(path)
                path.bind(None)
        self._run(path, now_ns)

    def _forget(self, path: Path) -> None:
        """Stop watching a path's descriptors, before any of them is closed."""
        self._wants.pop(path, None)
        path.interest = 0
        self._set_interest(path.source.fileno(), 0, path)
        if path.sink is not None:
            self._set_interest(path.sink.fileno(), 0, path)
