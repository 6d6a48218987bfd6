"""Many messages in one system call: sendmmsg(2), which the socket module does not have.

The headers are laid out once. A send fills in nothing but the address and length of each frame,
which stays where it was read to: `bytes` objects are immutable, and `batch` holds them until the
call returns.
"""

from __future__ import annotations

import ctypes
from array import array

_libc = ctypes.CDLL(None, use_errno=True)


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


class Messages:
    """Room for `size` messages to a connected or bound socket."""

    def __init__(self, size: int) -> None:
        self._pointers = (ctypes.c_char_p * size)()
        self._iovecs = (_Iovec * size)()
        self._headers = (_Mmsghdr * size)()
        for header, iovec in zip(self._headers, self._iovecs, strict=True):
            header.header.iovec = ctypes.pointer(iovec)
            header.header.iovec_count = 1
        # The same memory as words: every second word of the iovecs is an address.
        self._addresses = memoryview(self._pointers).cast("B").cast("Q")
        self._words = memoryview(self._iovecs).cast("B").cast("Q")

    def send(self, descriptor: int, batch: list[bytes]) -> tuple[int, int]:
        """Send at most `size` messages; return how many were, and the errno that stopped it or 0.

        The error is that of the first message that was not sent.
        """
        count = len(batch)
        self._pointers[:count] = [*batch]
        self._words[0 : 2 * count : 2] = self._addresses[:count]
        self._words[1 : 2 * count : 2] = memoryview(array("Q", map(len, batch)))
        sent = 0
        while sent < count:
            first = ctypes.byref(self._headers, sent * ctypes.sizeof(_Mmsghdr))
            done = _libc.sendmmsg(descriptor, first, count - sent, 0)
            if done < 0:
                return sent, ctypes.get_errno()
            sent += done
        return sent, 0
