"""The line of a link: a process between two TAP devices that delays and loses what passes.

It takes the place of the veth pair where a delay or a loss is asked for. Frames down have left the
bucket of their shaper when they enter it, frames up come to theirs behind it.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
import struct
import time
from dataclasses import dataclass
from typing import NoReturn

from shaper.discipline.line import Line
from shaper.forwarder.timer import Timer
from shaper.packet.frame import VNET_HEADER_BYTES, Frame

# Specified: include/uapi/linux/if_tun.h.
_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFREQ = struct.Struct("16sH22x")

# Specified by IEEE 802.3: the bit of a destination's first byte.
_MULTICAST = 1

# Chosen.
_FRAME_BYTES = 1 << 16
_BATCH = 64
_COUNTS = struct.Struct("=4Q")  # lost and overflown, down and up


@dataclass(frozen=True)
class Lost:
    """What a line did not let through: as it was told to, and for want of room."""

    loss: int
    line: int


class Counters:
    """Counters in memory that the line and the keeper share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def publish(self, down: Line, up: Line) -> None:
        """Tell what both directions have lost so far."""
        _COUNTS.pack_into(self._memory, 0, down.lost, down.overflown, up.lost, up.overflown)

    def read(self) -> tuple[Lost, Lost]:
        """Return what is lost, down and up."""
        counts = _COUNTS.unpack_from(self._memory, 0)
        return Lost(*counts[:2]), Lost(*counts[2:])


class Pump:
    """Both directions of a line.

    Args:
        ends: the TAP devices, that of the outer namespace first.
        down: what happens to frames from the outer to the inner one.
        up: and back.
        counters: where losses are told.
    """

    def __init__(self, ends: tuple[int, int], down: Line, up: Line, counters: Counters) -> None:
        outer, inner = ends
        self._ways = ((outer, inner, down), (inner, outer, up))
        self._lines = down, up
        self._counters = counters
        self._timer = Timer()
        self._epoll = select.epoll()
        for descriptor in (outer, inner, self._timer.fileno()):
            os.set_blocking(descriptor, False)
            self._epoll.register(descriptor, select.EPOLLIN)

    def run(self) -> NoReturn:
        """Let frames pass for ever. Raises OSError when a device goes."""
        while True:
            if any(descriptor == self._timer.fileno() for descriptor, _ in self._epoll.poll()):
                self._timer.fired()
            self._pass()

    def _pass(self) -> None:
        for source, sink, line in self._ways:
            frames = _read(source)
            now_ns = time.monotonic_ns()
            for frame in (*line.enter(frames, now_ns), *line.leave(now_ns)):
                _write(sink, frame)
        self._counters.publish(*self._lines)
        deadlines = [at for line in self._lines if (at := line.next_ns()) is not None]
        self._timer.arm(min(deadlines) if deadlines else None)


def open_tap(ifname: str) -> int:
    """Make a device that is gone with the descriptor, in this namespace. Raises OSError."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(ifname.encode(), flags))
    return descriptor


def _read(descriptor: int) -> list[Frame]:
    frames: list[Frame] = []
    try:
        while len(frames) < _BATCH:
            data = os.read(descriptor, _FRAME_BYTES)
            # What a station says to all of its link is not the command's, and may come at any
            # time: it must not change what chance has for the frames behind it.
            if not data[VNET_HEADER_BYTES] & _MULTICAST:
                frames.append(Frame(data, len(data) - VNET_HEADER_BYTES, 1))
    except BlockingIOError:
        pass
    return frames


def _write(descriptor: int, frame: Frame) -> None:
    with contextlib.suppress(OSError):  # a device that is down: as on any cable
        os.write(descriptor, frame.data)
