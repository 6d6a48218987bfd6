"""UDP: datagrams by the hundred a system call, paced or not, and a sink that costs nothing."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.lab.filters import INSTRUCTION, RETURN, attach
from bench.lab.flow import Flow, Sent
from bench.lab.law import BITS_PER_BYTE, NS_PER_SECOND
from bench.lab.namespaces import Namespace
from bench.lab.task import Ready
from shaper.forwarder.sendmmsg import Headers

Target = tuple[str, int]  # address and port

# Specified by asm-generic/socket.h.
SO_SNDBUFFORCE = 32

# Chosen.
BATCH = 64  # datagrams a system call
SEND_BUFFER_BYTES = 16 << 20  # a full queue drops, as at a router, and no sender waits
PACE_S = 0.0005  # how long a sender that is ahead of its pace sleeps, at least


class Volley:
    """A connected socket, and one payload ready to be sent many times in one system call."""

    def __init__(self, target: Target, frame_bytes: int) -> None:
        flow = Flow("udp", *target)
        self._socket = flow.socket()
        with contextlib.suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES)
        self._socket.connect(target)
        self._payload = ctypes.create_string_buffer(flow.payload_bytes(frame_bytes))
        self._headers = Headers(BATCH)
        for at in range(BATCH):
            self._headers.addresses[at] = ctypes.addressof(self._payload)
            self._headers.lengths[at] = len(self._payload)

    def fire(self, count: int) -> int:
        """Send up to `count` (and BATCH) datagrams and return how many went."""
        return self._headers.send(self._socket.fileno(), min(count, BATCH))[0]

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

    @property
    def _cost(self) -> int:
        """What a frame takes of pace times nanoseconds."""
        return self.frame_bytes * BITS_PER_BYTE * NS_PER_SECOND

    def due(self, elapsed_ns: int) -> int:
        """Return how many should have been sent by now, the first one after the delay."""
        if elapsed_ns < self.delay_ns:
            return 0
        return 1 + self.pace_bits * (elapsed_ns - self.delay_ns) // self._cost

    def due_ns(self, count: int) -> int:
        """Return when another one is due after `count` of them."""
        earned_ns = -(-count * self._cost // self.pace_bits) if self.pace_bits else 0
        return self.delay_ns + earned_ns


@dataclass(frozen=True)
class Blaster:
    """Sends datagrams on all its courses for a time."""

    courses: Sequence[Course]
    seconds: float

    def __call__(self, ready: Ready) -> Sent:
        """Work (in a task)."""
        volleys = [Volley(course.target, course.frame_bytes) for course in self.courses]
        sent = [0] * len(volleys)
        ready()
        start_ns = time.monotonic_ns()
        while (elapsed_ns := time.monotonic_ns() - start_ns) < self.seconds * NS_PER_SECOND:
            if not self._fire(volleys, sent, elapsed_ns):
                time.sleep(self._pause_s(sent, elapsed_ns))
        return Sent(0, sum(sent), 0, "", time.process_time())

    def _fire(self, volleys: Sequence[Volley], sent: list[int], elapsed_ns: int) -> bool:
        """Send what is due on every course; return whether any is not ahead of its pace."""
        is_behind = False
        for at, (course, volley) in enumerate(zip(self.courses, volleys, strict=True)):
            wanted = course.due(elapsed_ns) - sent[at] if course.pace_bits else BATCH
            if wanted > 0:
                sent[at] += volley.fire(wanted)
                is_behind = is_behind or wanted >= BATCH
        return is_behind

    def _pause_s(self, sent: Sequence[int], elapsed_ns: int) -> float:
        """Return how long nothing is due."""
        next_ns = min(
            course.due_ns(count) for course, count in zip(self.courses, sent, strict=True)
        )
        return max(PACE_S, (next_ns - elapsed_ns) / NS_PER_SECOND)


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
