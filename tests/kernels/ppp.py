"""PPP over Ethernet between two namespaces, with a session and units but without negotiation.

The kernel's part of PPPoE is a socket that is told the session and becomes a channel; a unit of
/dev/ppp, the network device, is connected to it (Documentation/networking/ppp_generic.rst).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from bench.lab.namespaces import Namespace

# Specified by include/uapi/linux/if_pppox.h, ppp-ioctl.h and ppp_defs.h.
AF_PPPOX = 24
PX_PROTO_OE = 0
SOCKADDR_PPPOX = struct.Struct("=HIH6s16s")
PPPIOCNEWUNIT = 0xC004743E
PPPIOCGCHAN = 0x80047437
PPPIOCATTCHAN = 0x40047438
PPPIOCCONNECT = 0x4004743A
PPPIOCSNPMODE = 0x4008744B
PPP_IP, PPP_IPV6 = 0x21, 0x57
NPMODE_PASS = 0

SESSION = 7  # chosen

_libc = ctypes.CDLL(None, use_errno=True)


class Session:
    """One end of a session: the device `ppp0` in a namespace; a context manager.

    Args:
        namespace: where it is.
        device: the Ethernet device below it.
        remote: the link-layer address of the other end's.

    Raises:
        OSError: the kernel has no PPPoE.

    """

    def __init__(self, namespace: Namespace, device: str, remote: bytes) -> None:
        self._open = contextlib.ExitStack()
        with namespace.enter(), contextlib.ExitStack() as undoing:
            channel = undoing.enter_context(_connect(device, remote))
            unit, attached = (undoing.enter_context(_ppp()) for _ in range(2))
            number = _ask(channel.fileno(), PPPIOCGCHAN)
            index = _ask(unit.fileno(), PPPIOCNEWUNIT, -1)
            _ask(attached.fileno(), PPPIOCATTCHAN, number)
            _ask(attached.fileno(), PPPIOCCONNECT, index)
            for protocol in (PPP_IP, PPP_IPV6):
                fcntl.ioctl(unit, PPPIOCSNPMODE, struct.pack("=ii", protocol, NPMODE_PASS))
            self._open = undoing.pop_all()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def _connect(device: str, remote: bytes) -> socket.socket:
    sock = socket.socket(AF_PPPOX, socket.SOCK_STREAM, PX_PROTO_OE)
    address = SOCKADDR_PPPOX.pack(
        AF_PPPOX, PX_PROTO_OE, socket.htons(SESSION), remote, device.encode()
    )
    if _libc.connect(sock.fileno(), address, len(address)) != 0:
        number = ctypes.get_errno()
        sock.close()
        raise OSError(number, f"PPPoE over {device}: {os.strerror(number)}")
    return sock


def _ppp() -> contextlib.closing[object] | object:
    return Path("/dev/ppp").open("r+b", buffering=0)


def _ask(descriptor: int, request: int, value: int = 0) -> int:
    argument = bytearray(struct.pack("=i", value))
    fcntl.ioctl(descriptor, request, argument)
    (answer,) = struct.unpack("=i", argument)
    return int(answer)


def obstacle() -> str | None:
    """Return why there can be no session on this kernel, or None."""
    try:
        socket.socket(AF_PPPOX, socket.SOCK_STREAM, PX_PROTO_OE).close()
        Path("/dev/ppp").open("r+b", buffering=0).close()
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        return f"needs PPPoE in the kernel, and /dev/ppp ({name}: {error.strerror})"
    return None
