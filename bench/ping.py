"""Round trips: ICMP echo requests at a steady pace, answered by the peer's kernel.

The answer is stamped by the kernel when it comes in, so a processor that is busy with the
traffic measured beside it does not make a round trip look longer than it was.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from dataclasses import dataclass

from bench.lab.law import NS_PER_SECOND
from bench.lab.task import Ready

# Specified by RFC 792 and asm-generic/socket.h.
ECHO_REQUEST = 8
ECHO_REPLY = 0
ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
IP_BYTES = 20  # before it in what a raw socket receives
SO_TIMESTAMPNS = 35
STAMP = struct.Struct("@qq")

# Chosen.
WAIT_S = 0.15  # for answers after the last request
PAYLOAD_BYTES = 8
FRAME_BYTES = 14 + IP_BYTES + ECHO.size + PAYLOAD_BYTES


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def request(identifier: int, sequence: int) -> bytes:
    """Return an echo request, without its IP header."""
    head = ECHO.pack(ECHO_REQUEST, 0, 0, identifier, sequence)
    total = checksum(head + bytes(PAYLOAD_BYTES))
    return ECHO.pack(ECHO_REQUEST, 0, total, identifier, sequence) + bytes(PAYLOAD_BYTES)


@dataclass(frozen=True)
class Echoes:
    """What came back of some pings.

    Attributes:
        round_trips_ns: of those answered, in the order of the answers.
        lost: requests that were not answered, or not in time.

    """

    round_trips_ns: list[int]
    lost: int


@dataclass(frozen=True)
class Pinger:
    """Pings an address every `interval_s` for a time, from `delay_s` on."""

    address: str
    seconds: float
    interval_s: float
    delay_s: float = 0.0

    def __call__(self, ready: Ready) -> Echoes:
        """Work (in a task)."""
        sent_ns: dict[int, int] = {}
        round_trips_ns: list[int] = []
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as handle:
            handle.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            handle.connect((self.address, 0))
            handle.setblocking(False)
            ready()
            self._ping(handle, sent_ns, round_trips_ns)
        return Echoes(round_trips_ns, len(sent_ns))

    def _ping(
        self, handle: socket.socket, sent_ns: dict[int, int], round_trips_ns: list[int]
    ) -> None:
        """Send at each turn, and take answers in between and a while after."""
        start_s = time.monotonic() + self.delay_s
        end_s = start_s + self.seconds - self.delay_s
        identifier, sequence = os.getpid() & 0xFFFF, 0
        next_s = start_s
        while (now_s := time.monotonic()) < end_s + WAIT_S:
            if next_s <= now_s < end_s:
                sequence = (sequence + 1) & 0xFFFF
                sent_ns[sequence] = time.time_ns()
                with contextlib.suppress(OSError):
                    handle.send(request(identifier, sequence))
                next_s += self.interval_s
            elif now_s >= end_s and not sent_ns:
                return
            until_s = next_s if next_s < end_s else end_s + WAIT_S
            if select.select([handle], [], [], max(0.0, until_s - time.monotonic()))[0]:
                _take(handle, identifier, sent_ns, round_trips_ns)


def _take(
    handle: socket.socket, identifier: int, sent_ns: dict[int, int], round_trips_ns: list[int]
) -> None:
    """Take the answers that have come."""
    with contextlib.suppress(BlockingIOError):
        while True:
            data, extra, _, _ = handle.recvmsg(256, 64)
            kind, _, _, whose, sequence = ECHO.unpack_from(data, IP_BYTES)
            if kind == ECHO_REPLY and whose == identifier and sequence in sent_ns:
                seconds, nanoseconds = STAMP.unpack(extra[0][2])
                arrived_ns = seconds * NS_PER_SECOND + nanoseconds
                round_trips_ns.append(arrived_ns - sent_ns.pop(sequence))
