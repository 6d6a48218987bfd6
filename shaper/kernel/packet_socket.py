"""Packet sockets: how frames enter the master's own transmit queue. See packet(7).

The socket receives nothing (protocol 0) and takes the virtio-net header that the TAP gave, so that
an offload frame goes from TAP to master without being touched. The master's qdisc is not bypassed:
the 1996 driver went through the master's queue too.
"""

from __future__ import annotations

import errno
import socket

from shaper.errors import KernelRefused, NotPermitted

# Specified: include/uapi/linux/if_packet.h.
_SOL_PACKET = 263
_PACKET_VNET_HDR = 15


def open_packet_socket(ifname: str) -> socket.socket:
    """Return a socket whose frames leave through the device of this name.

    Raises:
        NotPermitted: without CAP_NET_RAW.
        KernelRefused: anything else, ENODEV and ENETDOWN included.
    """
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError as error:
        raise NotPermitted("may not open a packet socket: CAP_NET_RAW is needed") from error
    try:
        sock.setblocking(False)
        sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        sock.bind((ifname, 0))
    except OSError as error:
        sock.close()
        raise KernelRefused(
            f"cannot send through {ifname}: {error.strerror}", error.errno or errno.EIO
        ) from error
    return sock
