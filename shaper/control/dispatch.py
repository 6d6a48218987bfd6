"""A message in, answers out: what varlink is, which method is meant, and how it is answered.

A message is whatever a client sent. It becomes a `Call`, an error to be answered with, or
`NotVarlink`; nothing else can come of it. The types and their conversion are asyncvarlink's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from asyncvarlink import (
    GenericVarlinkErrorReply,
    TypedVarlinkErrorReply,
    VarlinkErrorReply,
    VarlinkInterfaceRegistry,
    VarlinkMethodCall,
    VarlinkMethodReply,
)
from asyncvarlink.conversion import ConversionError
from asyncvarlink.interface import AnnotatedResult, VarlinkMethodSignature
from asyncvarlink.serviceinterface import InvalidParameter, VarlinkServiceInterface

from shaper import __version__
from shaper.control import interface
from shaper.control.latest_events import LatestEvents
from shaper.events import Event
from shaper.names import check_texts

_ENCODER = json.JSONEncoder(separators=(",", ":"))  # to ASCII, so any string can be sent
_WORD_CHARACTERS = 64  # chosen: of each parameter that is logged


class NotVarlink(Exception):
    """A message that is none: its sender speaks another protocol."""


@dataclass(frozen=True)
class Call:
    """One call, with everything found that it takes to make it.

    Attributes:
        name: the method's, with its interface.
        is_oneway: whether no answer is wanted.
    """

    name: str
    is_oneway: bool
    _parameters: dict[str, Any]
    _method: Callable[..., Any]
    _signature: VarlinkMethodSignature

    @property
    def is_reading(self) -> bool:
        """Whether every user may make it."""
        own, _, _ = self.name.rpartition(".")
        return self.name in interface.READING_METHODS or own == interface.READING_INTERFACE

    @property
    def is_prompt(self) -> bool:
        """Whether it is answered at once, without waiting for anything."""
        return not (self._signature.asynchronous or self._signature.more)

    @property
    def is_stream(self) -> bool:
        """Whether it has any number of answers."""
        return bool(self._signature.more)

    @property
    def asks_for_all(self) -> bool:
        """Whether it is the same call whoever makes it, so that an answer can be shared."""
        return not any(value is not None for value in self._parameters.values())

    @property
    def words(self) -> str:
        """What is asked for, on one line for the log."""
        given = {key: value for key, value in self._parameters.items() if value is not None}
        said = [f"{key}={str(value)[:_WORD_CHARACTERS]!r}" for key, value in given.items()]
        return " ".join([self.name.rpartition(".")[2], *said])

    def event(self, uid: int, result: AnnotatedResult) -> Event | None:
        """Return the event that this call of a user is, once it was made; None if it is none."""
        kind = interface.EVENTS.get(self.name)
        if kind is None:
            return None
        named = {**result.parameters, **self._parameters}
        ifname = named.get("ifname") or result.parameters.get("ifname") or ""
        return Event(kind, ifname, named.get("master") or "", uid)

    def answer(self) -> bytes:
        """Make a prompt call. Raises whatever the method does."""
        return self.encoded(self._method(**self._parameters))

    async def results(self) -> AsyncIterator[AnnotatedResult]:
        """Make a call; each result is made when the one before was taken."""
        if not self._signature.more:
            result = self._method(**self._parameters)
            yield await result if self._signature.asynchronous else result
            return
        async with aclosing(self._method(**self._parameters)) as results:
            async for each in results:
                yield each

    def encoded(self, result: AnnotatedResult) -> bytes:
        """Return a result as it travels."""
        shapers = result.parameters.get("shapers")
        shortened = {**result.parameters, "shapers": shapers[:1]} if shapers else result.parameters
        parameters = self._signature.return_type.tojson(shortened)
        assert isinstance(parameters, dict)
        if shapers:
            # Plain values already, all made in one place, so the types of the first are looked at
            # alone: to go through a thousand takes 0.1 s, for which no other call is answered.
            parameters["shapers"] = shapers
        reply = VarlinkMethodReply(
            parameters, continues=result.continues, extensions=result.extensions
        )
        return encoded(reply)


class Calls:
    """The methods there are.

    Args:
        shapers: what calls of org.shaper are answered with.
        latest: the latest events.
    """

    def __init__(self, shapers: interface.ShaperCommands, latest: LatestEvents) -> None:
        self._registry = VarlinkInterfaceRegistry()
        self._registry.register_interface(
            VarlinkServiceInterface(
                vendor="shaper",
                product="shaperd",
                version=__version__,
                url="",
                registry=self._registry,
            )
        )
        self._registry.register_interface(interface.ShaperInterface(shapers, latest))

    def find(self, received: dict[str, Any]) -> Call:
        """Return the call that an object is. Raises VarlinkErrorReply or InvalidValue."""
        try:
            call = VarlinkMethodCall.fromjson(received)
        except (TypeError, ValueError):
            raise GenericVarlinkErrorReply("invalid.asyncvarlink.ProtocolViolation") from None
        method, signature = self._registry.lookup_method(call)
        try:
            check_texts(call.parameters, bytes_in=("ifname",))
            _refuse_truth_values(call.parameters)
            parameters = signature.parameter_type.fromjson(call.parameters)
        except ConversionError as error:
            name = str(error.location[0]) if error.location else "parameters"
            raise InvalidParameter(parameter=name) from None
        return Call(call.method, call.oneway, parameters, method, signature)


def decode(message: bytes) -> dict[str, Any]:
    """Return the object that a message is. Raises NotVarlink."""
    try:
        received = json.loads(message.decode())
    except (ValueError, RecursionError) as error:
        raise NotVarlink(str(error)) from None
    if not isinstance(received, dict):
        raise NotVarlink("it is no JSON object")
    return received


def encoded(reply: VarlinkMethodReply) -> bytes:
    """Return an answer as it travels."""
    return _ENCODER.encode(reply.tojson()).encode() + b"\0"


def error_answer(error: VarlinkErrorReply | TypedVarlinkErrorReply) -> bytes:
    """Return an error as it travels."""
    return encoded(error.toreply())


def _refuse_truth_values(parameters: dict[str, Any]) -> None:
    """Refuse true and false, which Python takes for 1 and 0; no parameter of ours is one."""
    for name, value in parameters.items():
        if isinstance(value, bool):
            raise ConversionError.expected("a number or a string", value, [name])
