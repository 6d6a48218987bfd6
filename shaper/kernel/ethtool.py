"""What ethtool(8) shows: the speed a device reports, and its offloads. An ioctl each.

Any socket serves as a handle for it, so it is one of a family that the daemon needs anyway.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import socket
import struct

# Specified: include/uapi/linux/sockios.h, ethtool.h.
_SIOCETHTOOL = 0x8946
_ETHTOOL_SSET = 0x00000002
_ETHTOOL_VALUES = {"tx": 0x16, "tso": 0x1E, "gso": 0x23}
_ETHTOOL_VALUE = struct.Struct("=II")
_DUPLEX_FULL = 1
_SPEED_UNKNOWN = 0xFFFFFFFF
# struct ethtool_cmd: cmd, supported, advertising, speed, duplex, port, phy_address, transceiver,
# autoneg, mdio_support, maxtxpkt, maxrxpkt, speed_hi, ...
_ETHTOOL_CMD = struct.Struct("=IIIHBBBBBBIIH2xI8x")
_IFREQ = struct.Struct("16sP16x")


def set_speed(ifname: str, speed_mbit: int | None) -> None:
    """Let `ethtool` and /sys/class/net/*/speed show this many Mbit/s; None: unknown.

    Raises OSError.
    """
    speed = _SPEED_UNKNOWN if speed_mbit is None else min(speed_mbit, _SPEED_UNKNOWN - 1)
    command = bytearray(
        _ETHTOOL_CMD.pack(
            _ETHTOOL_SSET, 0, 0, speed & 0xFFFF, _DUPLEX_FULL, 0, 0, 0, 0, 0, 0, 0, speed >> 16, 0
        )
    )
    _request(ifname, command)


def offloads_off(ifname: str) -> tuple[str, ...]:
    """Return the offloads of sending that are off, as `ethtool -K` calls them."""
    off = []
    for name, number in _ETHTOOL_VALUES.items():
        value = bytearray(_ETHTOOL_VALUE.pack(number, 0))
        with contextlib.suppress(OSError):
            _request(ifname, value)
            if not _ETHTOOL_VALUE.unpack(value)[1]:
                off.append(name)
    return tuple(off)


def _request(ifname: str, command: bytearray) -> None:
    holder = (ctypes.c_char * len(command)).from_buffer(command)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        name = ifname.encode(errors="surrogateescape")
        request = _IFREQ.pack(name, ctypes.addressof(holder))
        fcntl.ioctl(sock, _SIOCETHTOOL, request)
