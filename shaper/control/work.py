"""Calls that take their time: changes, and streams of events.

A change is told once it is made, as an event. An answer of a stream is charged to the share of the
processor that callers without rights have; the next one is made when it has been paid.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from asyncvarlink.interface import AnnotatedResult

from shaper.control.access import Peer
from shaper.control.dispatch import Call
from shaper.events import tell

_log = logging.getLogger(__name__)


class Host(Protocol):
    """What a call asks of the service."""

    def used_ns(self) -> int:
        """Return what this thread has used of the processor."""

    async def pay(self, peer: Peer, used_ns: int) -> None:
        """Charge a caller for an answer of a stream, and wait until it is paid."""

    def error_answer(self, error: Exception, peer: Peer, what: str) -> bytes:
        """Return a refusal or a fault as it travels."""

    def forget_shared(self) -> None:
        """Answer anew from now on: something has been changed."""


class Work:
    """A call that takes its time, or has many answers."""

    def __init__(self, service: Host, call: Call, peer: Peer) -> None:
        self.is_stream = call.is_stream
        self._service = service
        self._call = call
        self._peer = peer

    async def run(self, send: Callable[[bytes], asyncio.Future[None]]) -> None:
        """Make it, and send its answers."""
        try:
            async for result in self._call.results():
                began_ns = self._service.used_ns()
                self._after()
                self._tell(result)
                answer = self._call.encoded(result)
                used_ns = self._service.used_ns() - began_ns
                if not self._call.is_oneway:
                    await send(answer)
                if self.is_stream:
                    await self._service.pay(self._peer, used_ns)
        except Exception as error:
            self._after()
            answer = self._service.error_answer(error, self._peer, self._call.name)
            if not self._call.is_oneway:
                await send(answer)

    def _tell(self, result: AnnotatedResult) -> None:
        """Tell what people have changed."""
        event = self._call.event(self._peer.uid, result)
        if event is not None:
            tell(event, "uid %d: %s", self._peer.uid, self._call.words)
        elif not self._call.is_reading:
            _log.info("uid %d: %s", self._peer.uid, self._call.words)

    def _after(self) -> None:
        if not self._call.is_reading:
            self._service.forget_shared()
