"""Netlink transport: a request and its whole answer.

A request is carried out while it is sent (net/netlink/af_netlink.c, netlink_unicast_kernel): when
`send` returns, the answer waits to be received, and there is nothing that an event loop could do
better meanwhile. One that passes through asyncio takes five times as long.

An answer is either complete or an error. A dump during which the kernel's table changed may lack
entries (NLM_F_DUMP_INTR): it is asked for again. So is one that did not fit the buffer. After any
failure to receive, the socket is replaced, so that no half of an answer is left on it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

from shaper.kernel.netlink_messages import (
    NLMSG_HEADER,
    Message,
    attributes,
    decode_one,
    split_with_flags,
)

# Specified: include/uapi/linux/netlink.h; bits/socket.h.
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP_INTR = 0x10
_NLM_F_DUMP = 0x300
_NLM_F_ACK_TLVS = 0x200
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSGERR_ATTR_MSG = 1
_ERROR_NUMBER = struct.Struct("=i")  # negative; 0 acknowledges; the request's header follows

# The flags of every request, and of one for everything there is.
REQUEST = _NLM_F_REQUEST | _NLM_F_ACK
DUMP = _NLM_F_REQUEST | _NLM_F_DUMP

# Chosen.
DATAGRAM_BYTES = 1 << 16
_MOST_DATAGRAM_BYTES = 1 << 22  # a device with hundreds of virtual functions has some 100 kB
_ANSWER_SECONDS = 5  # it is there at once, or something is wrong
_ATTEMPTS = 20  # at a dump that is interrupted


def open_socket() -> socket.socket:
    """Open a socket for requests to rtnetlink."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    opened = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    # Strict checking lets the kernel filter a dump, so that a large routing table is not read.
    opened.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
    # What the kernel says of a refusal beside its number, and not the request again.
    opened.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
    opened.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
    opened.settimeout(_ANSWER_SECONDS)
    return opened


class Wire:
    """A rtnetlink socket for requests.

    Args:
        opener: opens the socket, and another one after a failure.
    """

    def __init__(self, opener: Callable[[], socket.socket] = open_socket) -> None:
        self._open = opener
        self._socket = opener()
        self._serial = 0
        self._size = DATAGRAM_BYTES

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, kind: int, flags: int, request: Message | bytes) -> list[Message]:
        """Return the messages of the answer to a request, or to one of which this is the body.

        Raises OSError, with the kernel's errno, and its words if it has some; EAGAIN for a table
        that changed throughout.
        """
        for _ in range(_ATTEMPTS):
            answer = self._ask_once(kind, flags, request)
            if answer is not None:
                return answer
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _ask_once(self, kind: int, flags: int, request: Message | bytes) -> list[Message] | None:
        """Return an answer, or None for one that is not complete."""
        self._serial += 1
        if isinstance(request, bytes):
            length = NLMSG_HEADER.size + len(request)
            data = NLMSG_HEADER.pack(length, kind, flags, self._serial, 0) + request
        else:
            request["header"] |= {"type": kind, "flags": flags, "sequence_number": self._serial}
            request.encode()
            data = request.data
        self._socket.send(data)
        found: list[Message] = []
        is_complete = True
        while True:
            data = self._receive()
            if len(data) == self._size:
                self._grow()
                return None
            for kind, answer_flags, serial, start, end in split_with_flags(data):
                if serial != self._serial:  # of a request that was given up
                    continue
                is_complete &= not answer_flags & _NLM_F_DUMP_INTR
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    told = data[start:end] if answer_flags & _NLM_F_ACK_TLVS else b""
                    _raise_error(data, start, told if kind == _NLMSG_ERROR else b"")
                    return found if is_complete else None
                found += decode_one(kind, data, start, end)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(self._size)
        except OSError:
            self._reopen()
            raise

    def _grow(self) -> None:
        """Make room for a datagram that may have been cut off."""
        self._reopen()
        if self._size >= _MOST_DATAGRAM_BYTES:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        self._size *= 2

    def _reopen(self) -> None:
        self._socket.close()
        self._socket = self._open()


def _raise_error(data: bytes, start: int, told: bytes) -> None:
    (number,) = _ERROR_NUMBER.unpack_from(data, start)
    if number:
        header = _ERROR_NUMBER.size + NLMSG_HEADER.size
        words = dict(attributes(told, header, len(told))).get(_NLMSGERR_ATTR_MSG, b"")
        text = words.rstrip(b"\0").decode(errors="replace").rstrip(".")
        raise OSError(-number, text or os.strerror(-number))
