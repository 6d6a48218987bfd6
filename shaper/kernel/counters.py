"""What the kernel counted for each device: one read of /proc/net/dev for all of them."""

from __future__ import annotations

import functools
import os

_PATH = "/proc/self/net/dev"  # of the network namespace this process is in
_HEADER_LINES = 2
_TX_DROPPED_FIELD = 11  # eight fields of receiving, then bytes, packets, errors, dropped
_READ_BYTES = 1 << 16


def tx_dropped() -> dict[str, int]:
    """Return, by device, the frames dropped before the device took them: a full ring, mostly."""
    return dropped_in(_read())


def dropped_in(text: bytes) -> dict[str, int]:
    """Return the same from what /proc/net/dev says."""
    dropped = {}
    for line in text.split(b"\n")[_HEADER_LINES:-1]:
        ifname, _, fields = line.partition(b":")  # any bytes but this, blanks and slashes
        name = ifname.strip().decode(errors="surrogateescape")
        dropped[name] = int(fields.split()[_TX_DROPPED_FIELD])
    return dropped


@functools.cache
def _descriptor() -> int:
    """Open the file once: it is wanted when there is no descriptor left, too."""
    return os.open(_PATH, os.O_RDONLY | os.O_CLOEXEC)


def _read() -> bytes:
    parts: list[bytes] = []
    offset = 0
    while part := os.pread(_descriptor(), _READ_BYTES, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
