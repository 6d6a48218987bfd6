"""What the kernel counted for each device: one read of /proc/net/dev for all of them."""

from __future__ import annotations

from pathlib import Path

_PATH = Path("/proc/self/net/dev")  # of the network namespace this process is in
_HEADER_LINES = 2
_TX_DROPPED_FIELD = 11  # eight fields of receiving, then bytes, packets, errors, dropped


def tx_dropped() -> dict[str, int]:
    """Return, by device, the frames dropped before the device took them: a full ring, mostly."""
    dropped = {}
    for line in _PATH.read_text().splitlines()[_HEADER_LINES:]:
        ifname, _, fields = line.partition(":")
        dropped[ifname.strip()] = int(fields.split()[_TX_DROPPED_FIELD])
    return dropped
