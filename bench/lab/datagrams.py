"""UDP: datagrams by the hundred a system call, paced or not, and a sink that costs nothing."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.lab.filters import INSTRUCTION, RETURN, attach
from bench.lab.flow import Flow, Load
from bench.lab.law import NS_PER_SECOND, UNITS_PER_BYTE
from bench.lab.namespaces import Namespace
from bench.lab.pump import PumpSource
from shaper.forwarder.sendmmsg import Headers

Target = tuple[str, int]  # address and port

# Specified by asm-generic/socket.h.
SO_SNDBUFFORCE = 32

# Chosen.
BATCH = 64  # datagrams a system call
SEND_BUFFER_BYTES = 16 << 20  # a full queue drops, as at a router, and no sender waits
PACE_S = 0.0005  # how long a sender that is ahead of its pace sleeps, at least


class Volley:
    """A socket, and one payload ready to be sent many times in one system call."""

    def __init__(
        self, target: Target, frame_bytes: int, buffer_bytes: int = SEND_BUFFER_BYTES
    ) -> None:
        flow = Flow("udp", *target)
        self._target: Target | None = target  # None once it is connected
        self._socket = flow.socket()
        if buffer_bytes:
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, buffer_bytes)
        self.payload_bytes = flow.payload_bytes(frame_bytes)
        self._payload = ctypes.create_string_buffer(self.payload_bytes)
        self._headers = Headers(BATCH)
        for at in range(BATCH):
            self._headers.addresses[at] = ctypes.addressof(self._payload)
            self._headers.lengths[at] = self.payload_bytes

    def fire(self, count: int) -> int:
        """Send up to `count` (and BATCH) datagrams and return how many went.

        Raises:
            OSError: none of them did.

        """
        if self._target:
            self._socket.connect(self._target)
            self._target = None
        sent, number = self._headers.send(self._socket.fileno(), min(count, BATCH))
        if number and not sent:
            raise OSError(number, os.strerror(number))
        return sent

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@dataclass(frozen=True)
class Course:
    """Where datagrams of one size go, and how fast."""

    target: Target
    frame_bytes: int
    pace_bits: int  # on the wire; 0: as fast as it goes
    delay_ns: int = 0  # until the first one

    def due(self, elapsed_ns: int) -> int:
        """Return how many should have been sent by now, the first one after the delay."""
        if elapsed_ns < self.delay_ns:
            return 0
        return 1 + self.pace_bits * (elapsed_ns - self.delay_ns) // (
            self.frame_bytes * UNITS_PER_BYTE
        )

    def due_ns(self, count: int) -> int:
        """Return when another one is due after `count` of them."""
        units = count * self.frame_bytes * UNITS_PER_BYTE
        return self.delay_ns + (-(-units // self.pace_bits) if self.pace_bits else 0)


def flooding(seconds: float) -> Load:
    """Return a load that lasts so long and whose sender no queue holds up."""
    return Load(seconds, send_buffer_bytes=SEND_BUFFER_BYTES)


class Datagrams(PumpSource):
    """Sends datagrams on all its courses, for a time or up to a number of bytes."""

    def __init__(self, courses: Sequence[Course], load: Load) -> None:
        super().__init__(load)
        self._courses = courses
        self._counts = [0] * len(courses)

    def _send(self) -> None:
        size = self._load.send_buffer_bytes
        volleys = [Volley(each.target, each.frame_bytes, size) for each in self._courses]
        total = self._load.total_bytes or math.inf
        while (left_s := self._left_s()) > 0 and self._sent.payload_bytes < total:
            if not self._fire(volleys, total):
                time.sleep(min(left_s, self._pause_s()))

    def _fire(self, volleys: Sequence[Volley], total: float) -> bool:
        """Send what is due on every course; return whether any is not ahead of its pace."""
        is_behind, elapsed_ns = False, self._elapsed_ns()
        for at, (course, volley) in enumerate(zip(self._courses, volleys, strict=True)):
            wanted = course.due(elapsed_ns) - self._counts[at] if course.pace_bits else BATCH
            left = math.ceil(min(BATCH, (total - self._sent.payload_bytes) / volley.payload_bytes))
            if wanted <= 0:
                continue
            try:
                sent = volley.fire(min(wanted, left))
            except OSError as error:  # of one course: the others go on
                self._note(error)
                continue
            self._counts[at] += sent
            self._sent.units += sent
            self._sent.payload_bytes += sent * volley.payload_bytes
            is_behind = is_behind or wanted >= BATCH
        return is_behind

    def _pause_s(self) -> float:
        """Return how long nothing is due."""
        due_ns = (each.due_ns(n) for each, n in zip(self._courses, self._counts, strict=True))
        return max(PACE_S, (min(due_ns) - self._elapsed_ns()) / NS_PER_SECOND)


class Pit:
    """Takes datagrams to a target and drops them in the kernel, without waking anybody.

    Without any socket there the kernel would answer that the port is unreachable.
    """

    def __init__(self, namespace: Namespace, target: Target) -> None:
        with namespace.enter():
            self._socket = Flow("udp", *target).socket()
        attach(self._socket, INSTRUCTION.pack(RETURN, 0, 0, 0))
        self._socket.bind(target)

    def close(self) -> None:
        """Stop taking."""
        self._socket.close()
