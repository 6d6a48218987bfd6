"""The channel: how supervisor and forwarder talk, and how descriptors change hands.

One SOCK_SEQPACKET datagram is one message: a JSON object, with up to one descriptor beside it.
The supervisor asks and the forwarder answers each message with `{"serial": n}`, and with
`"failed": text` beside it if the message could not be obeyed. The supervisor's messages:

    board                         descriptor: the memory of the counters
    open      slot                descriptor: the TAP
    configure slot, settings      a new rate, queue, limit, bucket or HZ; null: no speed
    bind      slot, has_header    descriptor: the packet socket of the master
              ... is_captured     what was taken from a device: its ARP and the like pass
              ... is_tap          descriptor: the TAP itself, as the frames were received
    unbind    slot                hold what waits: the master is down or gone
    absorb    slot                read the TAP's ring empty, which is about to shrink
    flush     slot                drop what waits
    close     slot
    ping

A shaper goes by its slot on the board: names can change.

End of file means that the other side is gone.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict
from typing import Any

from shaper.model import Queue, Settings

MESSAGE_BYTES = 4096  # the longest is a configure, of about 250

Message = dict[str, Any]


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends, of the supervisor and of the forwarder."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def send(end: socket.socket, message: Message, descriptor: int | None = None) -> None:
    """Send one message. Raises OSError (EPIPE, EAGAIN) when the other side is gone or stuck."""
    payload = json.dumps(message).encode()
    if descriptor is None:
        end.send(payload)
    else:
        socket.send_fds(end, [payload], [descriptor])


def receive(end: socket.socket) -> tuple[Message, int | None] | None:
    """Return the next message and its descriptor, or None when the other side is gone."""
    payload, descriptors, _, _ = socket.recv_fds(end, MESSAGE_BYTES, 1)
    if not payload:
        return None
    return json.loads(payload), descriptors[0] if descriptors else None


def pack_settings(settings: Settings | None) -> Message | None:
    """Return settings as they travel."""
    return None if settings is None else asdict(settings)


def unpack_settings(packed: Message | None) -> Settings | None:
    """Return the settings that `pack_settings` was given."""
    if packed is None:
        return None
    return Settings(**{**packed, "queue": Queue(packed["queue"])})
