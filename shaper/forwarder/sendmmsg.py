"""Many messages in one system call: sendmmsg(2), which the socket module does not have.

The headers are laid out once. A send fills in nothing but the address and length of each frame,
which stays where it was read to.
"""

from __future__ import annotations

import ctypes
import socket

# It never waits, so there is nothing for other threads to do meanwhile: the lock is kept.
_sendmmsg = ctypes.PyDLL(None, use_errno=True).sendmmsg
_MSG_DONTWAIT = int(socket.MSG_DONTWAIT)

# Where CPython keeps the bytes of a `bytes` object: behind its header, and a NUL behind them.
# Asking ctypes for the address instead costs half a microsecond a frame.
_BYTES_OFFSET = bytes.__basicsize__ - 1
_PROBE = b"where the bytes are"
assert ctypes.string_at(id(_PROBE) + _BYTES_OFFSET, len(_PROBE)) == _PROBE


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iovec", ctypes.POINTER(_Iovec)),
        ("iovec_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Mmsghdr(ctypes.Structure):
    _fields_ = [("header", _Msghdr), ("sent_bytes", ctypes.c_uint)]


class Headers:
    """The headers of `size` messages to a connected or bound socket.

    Attributes:
        addresses: where each message lies; the caller keeps the memory alive.
        lengths: how many bytes each has.
    """

    def __init__(self, size: int) -> None:
        self._iovecs = (_Iovec * size)()
        self._headers = (_Mmsghdr * size)()
        for header, iovec in zip(self._headers, self._iovecs, strict=True):
            header.header.iovec = ctypes.pointer(iovec)
            header.header.iovec_count = 1
        self._first = ctypes.byref(self._headers)
        words = memoryview(self._iovecs).cast("B").cast("Q")
        self.addresses = words[0::2]
        self.lengths = words[1::2]

    def send(self, descriptor: int, count: int) -> tuple[int, int]:
        """Send the first `count`; return how many were, and the errno that stopped it or 0.

        It never waits, whatever others made of the socket. The error is that of the first message
        that was not sent.
        """
        first, sent = self._first, 0
        while True:
            done: int = _sendmmsg(descriptor, first, count - sent, _MSG_DONTWAIT)
            if done < 0:
                return sent, ctypes.get_errno()
            sent += done
            if sent >= count:
                return sent, 0
            first = ctypes.byref(self._headers, sent * ctypes.sizeof(_Mmsghdr))


class Messages:
    """Room for `size` messages, each a `bytes` object: immutable, so it stays where it is."""

    def __init__(self, size: int) -> None:
        self._headers = Headers(size)

    def send(self, descriptor: int, batch: list[bytes]) -> tuple[int, int]:
        """Send at most `size` messages, as `Headers.send` does; `batch` keeps them alive."""
        headers = self._headers
        addresses, lengths, count = headers.addresses, headers.lengths, 0
        for data in batch:
            addresses[count] = id(data) + _BYTES_OFFSET
            lengths[count] = len(data)
            count += 1
        return headers.send(descriptor, count)
