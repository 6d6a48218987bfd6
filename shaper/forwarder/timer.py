"""One timer in nanoseconds: a timerfd of CLOCK_MONOTONIC, armed with absolute times.

An epoll timeout counts whole milliseconds and asyncio rounds up to them; a timerfd with epoll
fires within tens of microseconds. `os.timerfd_create` exists from Python 3.13 on, so the calls go
through ctypes (timerfd_create(2)).
"""

from __future__ import annotations

import ctypes
import os

# Specified: include/uapi/linux/timerfd.h, time.h.
_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1
_NANOSECONDS = 1_000_000_000

_libc = ctypes.CDLL(None, use_errno=True)
# Called once a round, and it waits for nothing: without letting go of the interpreter's lock.
_timerfd_settime = ctypes.PyDLL(None).timerfd_settime


class Timer:
    """A one-shot timer that an epoll can wait for. Raises OSError where the kernel refuses."""

    def __init__(self) -> None:
        self._descriptor = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        # An itimerspec: seconds and nanoseconds of the interval, which stay 0, and of the time.
        self._setting = (ctypes.c_int64 * 4)()
        self._words = memoryview(self._setting).cast("B").cast("q")
        self._pointer = ctypes.byref(self._setting)
        self._armed_ns: int | None = None

    def fileno(self) -> int:
        """Return the descriptor; it is readable once the armed time has passed."""
        return int(self._descriptor)

    def arm(self, deadline_ns: int | None) -> None:
        """Fire at this time of CLOCK_MONOTONIC, at once if it has passed; None: never."""
        if deadline_ns == self._armed_ns:
            return
        self._armed_ns = deadline_ns
        if deadline_ns is None:
            deadline_ns = 0
        elif deadline_ns < 1:  # zero disarms: the clock's origin becomes the time just after it
            deadline_ns = 1
        words = self._words
        words[2] = deadline_ns // _NANOSECONDS
        words[3] = deadline_ns % _NANOSECONDS
        _timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, self._pointer, None)

    def fired(self) -> None:
        """Note that the timer went off; it must be armed anew, which also clears readiness."""
        self._armed_ns = 0
