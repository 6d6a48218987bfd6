"""Packet sockets: how frames enter the master's own transmit queue. See packet(7).

The socket receives nothing (protocol 0) and takes the virtio-net header that the TAP gave, so that
an offload frame goes from TAP to master without being touched. The master's qdisc is not bypassed:
the 1996 driver went through the master's queue too.

Its holder cannot make it a listener either. Bound anew, to ETH_P_ALL, it would hear the wire, so a
filter drops whatever would be received, and the filter is locked in place.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from shaper.errors import KernelRefused, NotPermitted
from shaper.model import Framing

# Specified: include/uapi/linux/if_packet.h.
_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
# Specified: include/uapi/asm-generic/socket.h, filter.h (struct sock_fprog, sock_filter).
_SO_ATTACH_FILTER = 26
_SO_LOCK_FILTER = 44
_BPF_RET_K = 0x06
_DROP_ALL = struct.pack("=HBBI", _BPF_RET_K, 0, 0, 0)  # accept 0 bytes of each frame

_SOCKADDR_LL = struct.Struct("=HHiHBB8x")  # family, protocol, index, type, kind, address length

_libc = ctypes.CDLL(None, use_errno=True)


def open_packet_socket(
    ifname: str, framing: Framing = Framing.ETHERNET, ifindex: int | None = None
) -> socket.socket:
    """Return a socket that sends through one device, and through no other ever.

    It is bound by index, as another device may get the name at any moment, and it is looked at
    afterwards whether that index still bears the name, as an index may be given away too.

    Args:
        ifname: what the device is called.
        framing: what frames it takes.
        ifindex: its index; None: that which bears the name now.

    A cooked one takes bare packets, without a virtio-net header, which the kernel allows only
    where it is told the whole frame (packet(7)).

    Raises:
        NotPermitted: without CAP_NET_RAW.
        KernelRefused: anything else, ENODEV and ENETDOWN included.
    """
    is_cooked = framing is Framing.COOKED
    kind = socket.SOCK_DGRAM if is_cooked else socket.SOCK_RAW
    try:
        sock = socket.socket(socket.AF_PACKET, kind, 0)
    except PermissionError as error:
        raise NotPermitted("cannot open a packet socket: needs CAP_NET_RAW") from error
    try:
        sock.setblocking(False)
        _deafen(sock)
        if not is_cooked:
            sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        if ifindex is None:
            ifindex = socket.if_nametoindex(ifname)
        _bind(sock, ifindex)
        if (bound := _name_of(ifindex)) != ifname or not is_bound_to(sock, ifindex):
            raise OSError(errno.ESTALE, f"device {ifindex} is called {bound or 'nothing'} now")
    except OSError as error:
        sock.close()
        raise KernelRefused(
            f"cannot send through {ifname}: {error.strerror}", error.errno or errno.EIO
        ) from error
    return sock


def is_bound_to(sock: socket.socket, ifindex: int) -> bool:
    """Whether a packet socket leads to this device; the kernel unbinds it when the device goes."""
    address, length = ctypes.create_string_buffer(_SOCKADDR_LL.size), ctypes.c_uint32()
    length.value = _SOCKADDR_LL.size
    # `socket.getsockname` tells a name alone, and fails for one that is not UTF-8.
    if _libc.getsockname(sock.fileno(), address, ctypes.byref(length)) != 0:
        return False
    return bool(_SOCKADDR_LL.unpack(address.raw)[2] == ifindex)


def _name_of(ifindex: int) -> str:
    """Return what a device is called now; empty if there is none."""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return ""


def _bind(sock: socket.socket, ifindex: int) -> None:
    """Bind to a device by index; `socket.bind` takes a name alone. Raises OSError."""
    address = _SOCKADDR_LL.pack(socket.AF_PACKET, 0, ifindex, 0, 0, 0)
    if _libc.bind(sock.fileno(), address, len(address)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _deafen(sock: socket.socket) -> None:
    """Let the socket receive nothing, whatever it is bound to, for as long as it is open."""
    program = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program))
    )
    sock.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
