"""Round trips: ICMP echo requests at a steady pace, answered by the peer's kernel.

The answer is stamped by the kernel when it comes in, so a processor that is busy with the
traffic measured beside it does not make a round trip look longer than it was.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from bench.lab.law import NS_PER_SECOND
from bench.lab.task import Ready

# Specified by RFC 792 and asm-generic/socket.h.
ECHO_REQUEST = 8
ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
SO_TIMESTAMPNS = 35
STAMP = struct.Struct("@qq")
# Specified by icmp(7): which groups may open an echo socket, in each network namespace.
GROUPS = Path("/proc/sys/net/ipv4/ping_group_range")

# Chosen.
WAIT_S = 0.15  # for answers after the last request
PAYLOAD_BYTES = 8
FRAME_BYTES = 14 + 20 + ECHO.size + PAYLOAD_BYTES


@dataclass(frozen=True)
class Echoes:
    """What came back of some pings."""

    round_trips_ns: list[int]  # of those answered, in the order of the answers
    lost: int  # requests that were not answered, or not in time


@dataclass(frozen=True)
class Pinger:
    """Pings an address every `interval_s` for a time, from `delay_s` on."""

    address: str
    seconds: float
    interval_s: float
    delay_s: float = 0.0

    def __call__(self, ready: Ready) -> Echoes:
        """Work (in a task)."""
        GROUPS.write_text("0 0", encoding="ascii")
        sent_ns: dict[int, int] = {}
        round_trips_ns: list[int] = []
        # The kernel fills in checksum and identifier, and hands over answers to these alone.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as handle:
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
        next_s = time.monotonic() + self.delay_s
        end_s = next_s + self.seconds - self.delay_s
        sequence = 0
        while (now_s := time.monotonic()) < end_s + WAIT_S:
            if next_s <= now_s < end_s:
                sequence = (sequence + 1) & 0xFFFF
                sent_ns[sequence] = time.time_ns()
                with contextlib.suppress(OSError):
                    handle.send(ECHO.pack(ECHO_REQUEST, 0, 0, 0, sequence) + bytes(PAYLOAD_BYTES))
                next_s += self.interval_s
            elif now_s >= end_s and not sent_ns:
                return
            until_s = next_s if next_s < end_s else end_s + WAIT_S
            if select.select([handle], [], [], max(0.0, until_s - time.monotonic()))[0]:
                round_trips_ns += _take(handle, sent_ns)


def _take(handle: socket.socket, sent_ns: dict[int, int]) -> list[int]:
    """Return the round trips of the answers that have come."""
    round_trips_ns = []
    with contextlib.suppress(BlockingIOError):
        while True:
            data, extra, _, _ = handle.recvmsg(256, 64)
            *_, sequence = ECHO.unpack_from(data)
            if sequence in sent_ns:
                seconds, nanoseconds = STAMP.unpack(extra[0][2])
                arrived_ns = seconds * NS_PER_SECOND + nanoseconds
                round_trips_ns.append(arrived_ns - sent_ns.pop(sequence))
    return round_trips_ns
