"""The channel: how supervisor and forwarder talk, and how descriptors change hands.

One SOCK_SEQPACKET datagram is one message: a JSON object. The supervisor sends orders, with a
serial number each and up to one descriptor beside it; the forwarder carries them out in turn and
sends a `Done` for each, in the same order. Of its own accord it sends notices. Descriptors go one
way only: the supervisor makes no room for any, so the kernel closes those that a forwarder sends.

The supervisor believes nothing that it is told: whatever is not exactly a message of the right
kind raises `Malformed`. A shaper goes by its slot on the board: names can change.

End of file means that the other side is gone.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, NamedTuple, get_args

from shaper.line_options import (
    Cells,
    Cost,
    Delay,
    Distribution,
    GilbertElliott,
    LineOptions,
    Loss,
    LossPattern,
    RandomLoss,
)
from shaper.model import Framing, Queue, Settings
from shaper.trace import Playback, Trace

MESSAGE_BYTES = 4096  # the longest is a configure, of about 250
_MAX_ERRNO = 4095  # specified: include/linux/err.h
_FAILURE_CHARACTERS = 500  # chosen: of what a forwarder says of a failure, so much is passed on


@dataclass(frozen=True)
class Rings:
    """Before the first order: the descriptor is the rows of a place's rings (`ring_rows`)."""

    place: int


@dataclass(frozen=True)
class Bells:
    """Before the first order: the descriptor is what rings for a place's rings (`bell`)."""

    place: int


@dataclass(frozen=True)
class Begin:
    """The first order; the descriptor is the board. The forwarder then confines itself."""

    pulse: int  # the row of the forwarder's pulse


@dataclass(frozen=True)
class Open:
    """Start a path; the descriptor is the TAP."""

    slot: int


@dataclass(frozen=True)
class Configure:
    """Take a new rate, queue, limit, bucket or HZ; None: no speed.

    What is too long is in the descriptor beside it (`bulk`).
    """

    slot: int
    settings: Settings | None


@dataclass(frozen=True)
class Bind:
    """Send to a master; the descriptor is the packet socket."""

    slot: int
    framing: Framing
    is_captured: bool = False  # what was taken from a device: its ARP and the like pass
    removed_bytes: int = 0  # of each frame's header, taken off behind the socket
    is_tunnel: bool = False  # frames may come back: they are watched for it


@dataclass(frozen=True)
class Unbind:
    """Hold what waits: the master is down or gone."""

    slot: int


@dataclass(frozen=True)
class Absorb:
    """Read the TAP's ring empty, which is about to shrink."""

    slot: int


@dataclass(frozen=True)
class Flush:
    """Drop what waits."""

    slot: int


@dataclass(frozen=True)
class Close:
    """End a path."""

    slot: int


@dataclass(frozen=True)
class Ping:
    """Do nothing but answer."""


@dataclass(frozen=True)
class Serve:
    """Stand by no longer: shapers of a place follow."""

    place: int


@dataclass(frozen=True)
class Done:
    """The answer to an order: it was carried out, or it failed for the reason given."""

    serial: int
    failed: str | None = None


@dataclass(frozen=True)
class ReadFailed:
    """A notice: reading a TAP failed, for the first time after it had worked."""

    slot: int
    number: int  # errno


@dataclass(frozen=True)
class LoopFound:
    """A notice: what a shaper sends comes back to it."""

    slot: int


Order = (
    Rings
    | Bells
    | Begin
    | Open
    | Configure
    | Bind
    | Unbind
    | Absorb
    | Flush
    | Close
    | Ping
    | Serve
)
Notice = ReadFailed | LoopFound
Report = Done | Notice

_ORDERS: dict[str, type[Order]] = {kind.__name__: kind for kind in get_args(Order)}


class Malformed(ValueError):
    """What came from the other side is no message."""


class ReceivedOrder(NamedTuple):
    """An order as the forwarder gets it."""

    serial: int
    order: Order
    descriptor: int | None


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends, of the supervisor and of the forwarder."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def send_order(
    end: socket.socket, serial: int, order: Order, descriptor: int | None = None
) -> None:
    """Send an order. Raises OSError (EPIPE, EAGAIN) when the other side is gone or full."""
    fields = {"order": type(order).__name__, "serial": serial, **vars(order)}
    payload = json.dumps(fields, default=_fields).encode()  # settings are fields of their own
    if descriptor is None:
        end.send(payload)
    else:
        socket.send_fds(end, [payload], [descriptor])


def _fields(value: Any) -> dict[str, Any]:
    """Return what is in a message of something that is no plain value.

    Of what is too long for it that is how many there are.
    """
    if isinstance(value, LossPattern):
        return {"frames": len(value.lost)}
    if isinstance(value, Delay):
        return {**vars(value), "table": len(value.table)}
    if isinstance(value, Playback):
        trace = value.trace
        return {
            "began_us": value.began_us,
            "length_us": trace.length_us,
            "repeats": trace.repeats,
            "steps": len(trace.starts_us),
        }
    return {each.name: getattr(value, each.name) for each in dataclass_fields(value)}


def receive_order(end: socket.socket) -> ReceivedOrder | None:
    """Return the next order, or None when the supervisor is gone."""
    payload, descriptors, _, _ = socket.recv_fds(end, MESSAGE_BYTES, 1)
    if not payload:
        return None
    fields = json.loads(payload)
    kind, serial = _ORDERS[fields.pop("order")], fields.pop("serial")
    if kind is Configure:
        fields["settings"] = _settings(fields["settings"])
    elif kind is Bind:
        fields["framing"] = Framing(fields["framing"])
    return ReceivedOrder(serial, kind(**fields), descriptors[0] if descriptors else None)


def send_report(end: socket.socket, report: Report) -> None:
    """Send an answer or a notice. Raises OSError when the supervisor is gone."""
    end.send(json.dumps({"report": type(report).__name__, **asdict(report)}).encode())


def receive_report(end: socket.socket) -> Report | None:
    """Return the next answer or notice, or None when the forwarder is gone.

    Raises Malformed, or OSError (EAGAIN when nothing waits).
    """
    payload = end.recv(MESSAGE_BYTES)
    if not payload:
        return None
    try:
        return _report(json.loads(payload))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(f"{payload[:60]!r}") from error


def _report(fields: dict[str, Any]) -> Report:
    match fields:
        case {"report": "Done", "serial": int(serial), "failed": None}:
            return Done(serial)
        case {"report": "Done", "serial": int(serial), "failed": str(failed)}:
            return Done(serial, _words(failed))
        case {"report": "ReadFailed", "slot": int(slot), "number": int(number)} if (
            0 < number <= _MAX_ERRNO
        ):
            return ReadFailed(slot, number)
        case {"report": "LoopFound", "slot": int(slot)}:
            return LoopFound(slot)
        case _:
            raise ValueError("no report")


def _words(said: str) -> str:
    """Return what a forwarder says as a log and a terminal may have it: on one line, and short."""
    return "".join(each if each.isprintable() else "?" for each in said[:_FAILURE_CHARACTERS])


def _settings(packed: dict[str, Any] | None) -> Settings | None:
    if packed is None:
        return None
    line, playback = _line(packed["line"]), packed["playback"]
    return Settings(
        **{
            **packed,
            "queue": Queue(packed["queue"]),
            "line": line,
            "playback": None if playback is None else _playback(playback),
        }
    )


def _playback(packed: dict[str, Any]) -> Playback:
    """Return a trace of which the number of steps is known alone, until `bulk.unpack`."""
    unknown = range(packed["steps"])
    trace = Trace(unknown, unknown, packed["length_us"], packed["repeats"])
    return Playback(trace, packed["began_us"])


def _line(packed: dict[str, Any]) -> LineOptions:
    delay, loss = packed["delay"], packed["loss"]
    distribution, table = Distribution(delay["distribution"]), (0,) * delay["table"]
    return LineOptions(
        **{
            **packed,
            "cost": Cost(**{**packed["cost"], "cells": Cells(packed["cost"]["cells"])}),
            "delay": Delay(**{**delay, "distribution": distribution, "table": table}),
            "loss": None if loss is None else _loss(loss),
        }
    )


def _loss(packed: dict[str, Any]) -> Loss:
    if "frames" in packed:
        return LossPattern(bytes(packed["frames"]))
    return GilbertElliott(**packed) if "to_bad" in packed else RandomLoss(**packed)
